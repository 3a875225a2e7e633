"""Readings out: as they are, summed up, as a file, as they come."""

from typing import Annotated

import msgspec

from atalaia.buckets.lttb import FEWEST
from atalaia.buckets.table import AGGREGATES, FILLS
from atalaia.http import bodies
from atalaia.http.formats import FORMATS
from atalaia.http.openapi.ids import METRIC, SENSOR
from atalaia.http.openapi.operation import (
    DURATION,
    JSON,
    NDJSON,
    NEXT,
    Answer,
    Body,
    Example,
    Of,
    Operation,
    Parameter,
    Schema,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import (
    BUCKETS,
    CURSOR,
    METRICS,
    PAGES,
    SELECTOR,
    SENSORS,
    SINCE,
    TEXT,
    UNTIL,
    limit,
    one_of,
    some_of,
)
from atalaia.http.params import MAX_READINGS
from atalaia.http.series import MOST_BUCKETS
from atalaia.http.stream import CONTENT_TYPE, KINDS


class Reading(msgspec.Struct):
    """A reading of a series."""

    ts: Time
    value: float
    received_at: Time
    late: Annotated[bool, said("Not judged by rules.")]


class Readings(msgspec.Struct):
    """A part of the readings of a series, by time."""

    data: list[Reading]
    next_cursor: Annotated[str | None, NEXT]


class Latest(msgspec.Struct):
    """The newest readings of a part of a sensor's metrics, by their names."""

    sensor: str
    metrics: dict[str, Reading]
    next_cursor: Annotated[str | None, NEXT]
    total: Annotated[
        int | msgspec.UnsetType, said("Metrics of the sensor; with `count=true` alone.")
    ] = msgspec.UNSET


Column = list[float | None]


class Columns(msgspec.Struct):
    """A series: a column for each aggregate that was asked for, or `value` for points."""

    sensor: str
    metric: str
    ts: Annotated[list[Time], said("Where each bucket begins, or when the reading was.")]
    value: Column | msgspec.UnsetType = msgspec.UNSET
    avg: Column | msgspec.UnsetType = msgspec.UNSET
    min: Column | msgspec.UnsetType = msgspec.UNSET
    max: Column | msgspec.UnsetType = msgspec.UNSET
    sum: Column | msgspec.UnsetType = msgspec.UNSET
    count: Column | msgspec.UnsetType = msgspec.UNSET
    first: Column | msgspec.UnsetType = msgspec.UNSET
    last: Column | msgspec.UnsetType = msgspec.UNSET
    stddev: Column | msgspec.UnsetType = msgspec.UNSET
    p50: Column | msgspec.UnsetType = msgspec.UNSET
    p95: Column | msgspec.UnsetType = msgspec.UNSET


class Summed(msgspec.Struct):
    """Series, by sensor and metric."""

    bucket: Annotated[str | None, said("Null for points.")]
    data: list[Columns]
    next_cursor: Annotated[None, said("Always null: it is all of it.")]


BOUNDS = (
    "`bad_parameter`, `bad_selector`, `too_many_series`, `too_many_buckets`, `too_many_points`, "
)
BOUNDS += "`too_many_readings`."
RANGE = {"from": "2026-01-31T11:00:00Z", "to": "2026-01-31T13:00:00Z"}
QUERY: dict[str, Schema] = {
    "sensors": {"description": "Names or ids."},
    "selector": {"description": "The words after `on` in a rule.", "examples": ["sensors"]},
    "metrics": {"description": "Names."},
    "from": {"description": "Since when, included; a day before `to`."},
    "to": {"description": "Until when, included; the newest reading of them."},
    "bucket": {
        "pattern": DURATION,
        "description": "How long a bucket is, `1ms` to `3660d`; or give `points`.",
    },
    "agg": {
        "anyOf": [{"type": "array", "items": one_of(*AGGREGATES)}, {"type": "null"}],
        "description": "`avg` when not said.",
    },
    "fill": {"enum": [*FILLS, None], "description": "What stands in empty buckets."},
    "tz": {"description": "The time zone of buckets of whole days."},
    "points": {
        "minimum": FEWEST,
        "maximum": MOST_BUCKETS,
        "description": "So many readings that look like all of them.",
    },
}

_NULL: Schema = {"type": "null"}
BUCKET_OR_POINTS: Schema = {
    "oneOf": [
        {
            "required": ["bucket"],
            "properties": {"bucket": {"type": "string"}, "points": _NULL},
        },
        {
            "required": ["points"],
            "properties": {
                "points": {"type": "integer"},
                **dict.fromkeys(("bucket", "agg", "fill", "tz"), _NULL),
            },
        },
    ]
}

READINGS = Subject(
    "Readings out",
    "As they are, summed up, as a file, as they come.",
    {
        "GET /v1/sensors/<sensor>/latest": Operation(
            "readLatest",
            "The newest reading of each metric",
            "A metric whose newest reading was dropped is left out.",
            parameters=PAGES,
            answers={200: Answer("By metric.", Latest, headers=["Link"])},
            examples=[Example("now", "Of a boiler")],
        ),
        "GET /v1/sensors/<sensor>/readings": Operation(
            "readReadings",
            "Readings of a sensor, the oldest first, or summed up",
            "Without `from` the last day of the series. With `bucket` or `points` the answer is "
            "columns.",
            parameters=[
                Parameter(
                    "metric",
                    "Its name; several with commas, for buckets.",
                    METRICS.schema,
                    required=True,
                ),
                SINCE,
                UNTIL,
                limit(MAX_READINGS),
                CURSOR,
                *BUCKETS,
            ],
            answers={
                200: Answer("A page of them, or columns.", (Readings, Summed), headers=["Link"])
            },
            errors={400: BOUNDS, 429: "`busy`, `too_many_queries`."},
            examples=[
                Example("page", "As they are", query={"metric": [METRIC], **RANGE, "limit": 2}),
                Example(
                    "hourly",
                    "Summed up",
                    query={"metric": [METRIC], **RANGE, "bucket": "1h", "agg": ["avg", "max"]},
                ),
            ],
        ),
        "POST /v1/query": Operation(
            "query",
            "Many series, summed up or thinned out",
            body=Body({JSON: Of(bodies.QueryBody, QUERY, BUCKET_OR_POINTS)}),
            answers={200: Answer("Columns.", Summed)},
            errors={400: BOUNDS, 429: "`too_many_queries`."},
            examples=[
                Example(
                    "hourly",
                    "All temperatures by the hour",
                    body={
                        "selector": "sensors",
                        "metrics": [METRIC],
                        **RANGE,
                        "bucket": "1h",
                        "agg": ["avg", "count"],
                    },
                ),
                Example(
                    "points",
                    "For a chart",
                    body={"sensors": [SENSOR], "metrics": [METRIC], **RANGE, "points": 3},
                ),
            ],
        ),
        "GET /v1/export": Operation(
            "exportReadings",
            "Readings as a file",
            "What was committed when it began. When something fails on the way the connection "
            "breaks.",
            parameters=[
                Parameter("from", SINCE.description, SINCE.schema, required=True),
                UNTIL,
                SENSORS,
                METRICS,
                SELECTOR,
                Parameter("format", "What file.", one_of(*FORMATS, default="csv")),
            ],
            answers={
                200: Answer(
                    "The file, in the format that was asked for.",
                    content_types=["text/csv", NDJSON, "application/vnd.apache.parquet"],
                    headers=["Content-Disposition"],
                )
            },
            errors={
                400: "`bad_parameter`, `bad_selector`.",
                429: "`too_many_exports`.",
                501: "`not_installed`: Parquet needs pyarrow there.",
            },
            examples=[Example("csv", "An hour of a boiler", query={**RANGE, "sensor": [SENSOR]})],
        ),
        "GET /v1/stream": Operation(
            "stream",
            "Readings and alerts as they are committed",
            "Server-sent events: `readings`, `alert`, `gap`, and at the end `dropped`, `closing`, "
            "`unavailable` or `unauthenticated`. All goes on after `Last-Event-ID`; `gap` says "
            "which readings are left out.",
            parameters=[
                Parameter("kind", "Which of them; both when not said.", some_of(one_of(*KINDS))),
                Parameter("sensor", "Of these alone.", SENSORS.schema),
                Parameter("metric", "Readings of these alone.", METRICS.schema),
                Parameter(
                    "Last-Event-ID", "The id of the last event that was seen.", TEXT, "header"
                ),
                Parameter("last_event_id", "The same, where no header can be sent.", TEXT),
            ],
            answers={200: Answer("Events, without an end.", content_types=[CONTENT_TYPE])},
            errors={
                403: "`foreign_origin`: with a ticket, by a page that may not.",
                409: "`no_engine`: this process only takes readings.",
                429: "`too_many_streams`.",
            },
            examples=[Example("alerts", "Alerts", query={"kind": ["alerts"]})],
        ),
    },
)
