"""Alerts, and what they were opened on."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http.openapi.ids import SENSOR
from atalaia.http.openapi.operation import (
    Answer,
    Example,
    Operation,
    Page,
    Parameter,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import NAME, PAGES, SINCE, UNTIL, one_of
from atalaia.http.openapi.parameters import UUID as ID
from atalaia.model.alert import SEVERITIES

Severity = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*SEVERITIES]})]


class RuleOfAlert(msgspec.Struct):
    """As it was when the alert opened."""

    id: UUID
    name: str
    version: int


class Evidence(msgspec.Struct):
    """An aggregate as it stood."""

    expression: str
    value: Annotated[float | None, said("Null: unknown.")]


class Alert(msgspec.Struct):
    """An alert of a rule at a sensor. Times are those of readings; `_arrival`: when they came."""

    id: UUID
    rule: RuleOfAlert
    sensor: str
    severity: Severity
    state: Literal["open", "cleared"]
    opened_at: Time
    opened_arrival: Time
    opened_value: float | None
    cleared_at: Time | None
    cleared_arrival: Time | None
    cleared_value: float | None
    clear_reason: (
        Literal["condition", "rule_changed", "rule_disabled", "rule_deleted", "sensor_deleted"]
        | None
    )
    evidence: Annotated[list[Evidence], said("The newest.")]


class Step(msgspec.Struct):
    """A step in the life of an alert."""

    kind: Literal["opened", "raised", "lowered", "cleared"]
    at: Time
    arrival: Time
    severity: Severity
    value: float | None


class Comparison(msgspec.Struct):
    """A comparison of a condition."""

    clause: Annotated[str, said("`when`, `clear when` or a severity.")]
    text: str
    expression: Annotated[str, said("The side that looks at readings.")]
    value: float | None
    operator: str
    threshold: float | None
    needs: Annotated[bool, said("What the condition wants it to be.")]
    truth: Annotated[bool | None, said("Null: unknown.")]


class OpeningRule(msgspec.Struct):
    """The rule as it judged."""

    version: int
    text: str


class Weighed(msgspec.Struct):
    """An aggregate of the condition."""

    expression: str
    metric: str
    window: str
    value: float | None


class Samples(msgspec.Struct):
    """The readings of a metric in its longest window."""

    metric: str
    window: str
    since: Annotated[Time, said("Left out.")] = msgspec.field(name="from")
    until: Annotated[Time, said("Included.")] = msgspec.field(name="to")
    count: int
    late: Annotated[int, said("That came late, and were not judged.")]
    points: Annotated[list[tuple[Time, float]], said("120 at most.")]


class Silence(msgspec.Struct):
    """Of a rule of silence."""

    since: Time
    deadline: Time
    clock: Literal["arrival"]


class Opening(msgspec.Struct):
    """What an alert was opened on. It never changes."""

    rule: OpeningRule
    aggregates: list[Weighed]
    comparisons: list[Comparison]
    samples: list[Samples]
    late: int
    silence: Silence | None
    sparkline: Annotated[str | None, said("SVG.")]


class AlertInFull(Alert):
    """An alert with its history."""

    history: list[Step]
    opening: Annotated[Opening | None, said("Null for alerts from before it was kept.")]


ALERTS = Subject(
    "Alerts",
    "What rules found.",
    {
        "GET /v1/alerts": Operation(
            "listAlerts",
            "Alerts, the newest opening first",
            parameters=[
                *PAGES,
                Parameter("state", "In this state alone.", one_of("open", "cleared")),
                Parameter("severity", "Of this severity alone.", one_of(*SEVERITIES)),
                Parameter("sensor", "Of this sensor alone.", NAME),
                Parameter("rule", "Of the rule with this id alone.", ID),
                SINCE,
                UNTIL,
            ],
            answers={200: Answer("A page of them.", Page[Alert], headers=["Link"])},
            examples=[
                Example(
                    "open",
                    "Open ones of a sensor",
                    query={"state": "open", "sensor": SENSOR, "count": "true"},
                ),
                Example("wrong", "No such state", query={"state": "ajar"}, status=400),
            ],
        ),
        "GET /v1/alerts/<alert>": Operation(
            "readAlert",
            "An alert, its history, and what it was opened on",
            answers={200: Answer("The alert.", AlertInFull)},
            examples=[Example("one", "An alert")],
        ),
        "GET /v1/alerts/<alert>/sparkline.svg": Operation(
            "readSparkline",
            "The readings that an alert was opened on, as a picture",
            answers={200: Answer("SVG, 240 by 48.", content_types=["image/svg+xml"])},
            errors={404: "No such alert, or one without readings."},
            examples=[Example("one", "A picture")],
        ),
    },
)
