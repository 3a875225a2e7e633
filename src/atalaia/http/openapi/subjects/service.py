"""Settings of a tenant, how it fares, and the service itself."""

from typing import Annotated, Any, Literal

import msgspec

from atalaia.http import bodies
from atalaia.http.openapi.around import UNCHANGED
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Duration,
    Example,
    Operation,
    Parameter,
    Subject,
    said,
)
from atalaia.http.openapi.parameters import TEXT
from atalaia.http.settings import MAX_DAYS

TO_THE_PAGE = Answer("It is at `/docs`.", headers=["Location"])


class Settings(msgspec.Struct):
    """What a tenant chooses for all of its sensors."""

    lateness: Annotated[Duration, said("How late readings are still judged.")]


class Retention(msgspec.Struct):
    """How long readings are kept."""

    days: Annotated[int | None, said("Null: as long as the service keeps them.")]


class QuotaInForce(msgspec.Struct):
    """What may be sent; null: without a bound."""

    readings_per_s: int | None
    bytes_per_s: int | None
    key_readings_per_s: int | None
    key_bytes_per_s: int | None
    waiting_bytes: Annotated[int | None, said("Of bodies that are not answered.")]
    max_rules: int


class Status(msgspec.Struct):
    """How a tenant fares."""

    processing: Literal["ok", "quarantined"]
    reason: str | None
    retry_after_s: int | None
    unsettled_readings: int
    quota: QuotaInForce


class Alive(msgspec.Struct):
    """It runs."""

    status: Literal["pass"]


class Ready(msgspec.Struct):
    """Whether it serves, and what is missing."""

    status: Literal["pass", "fail"]
    version: str
    checks: Annotated[dict[str, str], said("`ok`, or what is wrong.")]


class Check(msgspec.Struct):
    """One thing that must be well."""

    name: str
    message: str
    status: Literal["pass", "fail"]


class Health(msgspec.Struct):
    """Whether it serves, as InfluxDB's clients read it."""

    status: Literal["pass", "fail"]
    version: str
    checks: list[Check]
    name: str
    message: str


KNOWN = Parameter("If-None-Match", "The `ETag` of what is there already.", TEXT, "header")
LATENESS = {"description": "`0s` to `24h`, for sensors without one of their own."}
KEPT = Answer("How long.", Retention)
CHOSEN = Answer("The settings.", Settings)

SETTINGS = Subject(
    "Settings",
    "What a tenant chooses, and how it fares.",
    {
        "GET /v1/settings": Operation(
            "readSettings",
            "What a tenant chose",
            answers={200: CHOSEN},
            examples=[Example("now", "The settings")],
        ),
        "PATCH /v1/settings": Operation(
            "changeSettings",
            "Change the lateness of all sensors",
            body=Body.of(bodies.SettingsBody, {"lateness": LATENESS}),
            answers={200: CHOSEN},
            errors={409: "`too_much_memory`."},
            examples=[Example("lateness", "Half a minute", body={"lateness": "30s"})],
        ),
        "GET /v1/settings/retention": Operation(
            "readRetention",
            "How long readings are kept",
            answers={200: KEPT},
            examples=[Example("now", "As it is")],
        ),
        "PUT /v1/settings/retention": Operation(
            "setRetention",
            "Keep readings for fewer days than the service",
            "What is deleted cannot be had back.",
            body=Body.of(
                bodies.RetentionBody,
                {
                    "days": {
                        "anyOf": [
                            {"type": "integer", "minimum": 1, "maximum": MAX_DAYS},
                            {"type": "null"},
                        ]
                    }
                },
            ),
            answers={200: KEPT},
            examples=[Example("all", "As long as the service", body={"days": None})],
        ),
        "GET /v1/status": Operation(
            "readStatus",
            "Whether readings are processed, and what may be sent",
            answers={200: Answer("How the tenant fares.", Status)},
            examples=[Example("now", "As it is")],
        ),
    },
)

SERVICE = Subject(
    "Service",
    "For those who run it; no credential is asked for.",
    {
        "GET /health": Operation(
            "health",
            "Whether it serves",
            "In the shape that InfluxDB's clients read.",
            answers={200: Answer("It does.", Health), 503: Answer("It does not.", Health)},
            examples=[Example("now", "All is well")],
        ),
        "GET /health/ready": Operation(
            "ready",
            "Whether it serves",
            answers={200: Answer("It does.", Ready), 503: Answer("It does not.", Ready)},
            examples=[Example("now", "All is well")],
        ),
        "GET /health/live": Operation(
            "live",
            "Whether it runs",
            answers={200: Answer("It does.", Alive)},
            examples=[Example("now", "It does")],
        ),
        "GET /ping": Operation(
            "ping",
            "For InfluxDB's clients",
            answers={204: Answer("It is there.", headers=["X-Influxdb-Version"])},
            examples=[Example("ping", "Is it there?")],
        ),
        "GET /metrics": Operation(
            "metrics",
            "For Prometheus",
            answers={
                200: Answer(
                    "Its text format, or OpenMetrics when asked for.",
                    content_types=["text/plain", "application/openmetrics-text"],
                )
            },
            errors={401: "A token is set, and was not given as `Bearer`."},
            examples=[Example("all", "All of them")],
        ),
        "GET /openapi.json": Operation(
            "openapi",
            "This document",
            parameters=[KNOWN],
            answers={
                200: Answer("OpenAPI 3.1.", dict[str, Any], headers=["ETag"]),
                304: UNCHANGED,
            },
        ),
        "GET /": Operation(
            "root",
            "The way to the page",
            answers={302: TO_THE_PAGE},
            examples=[Example("page", "To the page")],
        ),
        "GET /docs": Operation(
            "docs",
            "This document as a page",
            parameters=[KNOWN],
            answers={
                200: Answer("Swagger UI.", content_types=["text/html"], headers=["ETag"]),
                304: UNCHANGED,
            },
            examples=[Example("page", "The page")],
        ),
        "GET /docs/": Operation(
            "docsAgain",
            "The way to the page",
            answers={302: TO_THE_PAGE},
            examples=[Example("page", "To the page")],
        ),
        "GET /docs/<file>": Operation(
            "docsFile",
            "A file of the page",
            parameters=[KNOWN],
            answers={
                200: Answer(
                    "The file.",
                    content_types=["text/css", "text/javascript", "image/png"],
                    headers=["ETag"],
                ),
                304: UNCHANGED,
            },
            examples=[Example("style", "Its style", path={"file": "page.css"})],
        ),
    },
)
