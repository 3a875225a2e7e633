"""What rules would have done, and why they did not."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec

from atalaia.http import bodies
from atalaia.http.openapi.ids import SENSOR
from atalaia.http.openapi.operation import (
    NDJSON,
    Answer,
    Body,
    Example,
    Operation,
    Parameter,
    Schema,
    Subject,
    Time,
    said,
)
from atalaia.http.openapi.parameters import NAME
from atalaia.http.openapi.problems import Problem
from atalaia.http.openapi.subjects.alerts import Comparison, Severity
from atalaia.http.openapi.subjects.rules import BAD, HOT, TEXT

BACKTEST: dict[str, Schema] = {
    "text": TEXT | {"description": "The rule to try; else the stored one."},
    "rule_id": {"description": "The stored rule to compare it with."},
    "from": {"description": "Since when, included; 7 days before `to`."},
    "to": {"description": "Until when, included; now."},
    "order": {
        "enum": ["event", "arrival"],
        "default": "event",
        "description": "By the readings' time, or as they came.",
    },
    "sweep": {"description": "What to try: every combination is a variant, 50 in all."},
}


class LiveRule(msgspec.Struct):
    """A stored rule."""

    id: UUID
    name: str
    version: int
    enabled: bool


class WeighedComparison(Comparison):
    """A comparison, and how far it is from what it needs to be."""

    distance: Annotated[float | None, said("Positive is still to go.")]
    unknown_because: str | None


class WeighedCondition(msgspec.Struct):
    """A condition as it stands."""

    text: str
    truth: Annotated[bool | None, said("Null: unknown.")]
    comparisons: list[WeighedComparison]


class WeighedLevel(WeighedCondition):
    """The condition of a severity."""

    severity: Severity


class Earliest(msgspec.Struct):
    """No alert opens before."""

    at: Annotated[Time | None, said("Null: it can never be.")]
    note: str | None


class Obstacle(msgspec.Struct):
    """What keeps an alert from opening."""

    code: str
    detail: str


class SilenceSoFar(msgspec.Struct):
    """Of a rule of silence, by arrival."""

    last_heard: Time | None
    since: Time | None
    deadline: Time | None


class Explanation(msgspec.Struct):
    """Why a rule has no alert open at a sensor, or why it has."""

    rule: LiveRule
    sensor: str
    summary: Annotated[str, said("The answer in a sentence.")]
    state: Literal["idle", "pending", "open", "clearing"]
    since: Time | None
    level: Severity | None
    alert_id: UUID | None
    judged_at: Annotated[Time | None, said("Of the newest reading that was judged.")]
    condition: WeighedCondition
    clear_when: WeighedCondition | None
    levels: list[WeighedLevel]
    earliest: Earliest
    suppressed_by: list[Obstacle]
    silence: SilenceSoFar | None


class Busiest(msgspec.Struct):
    """The day with the most alerts."""

    day: str
    opened: int


class Noisy(msgspec.Struct):
    """A sensor with many alerts."""

    sensor: str
    opened: int


class Difference(msgspec.Struct):
    """Beside the live rule."""

    kept: int
    gone: int
    new: int


class TrialAlert(msgspec.Struct):
    """An alert that a variant would have opened."""

    id: Annotated[UUID | None, said("What live gave the same alert.")]
    sensor: str
    severity: Severity
    opened_at: Time
    opened_value: float | None
    cleared_at: Time | None


class Trial(msgspec.Struct):
    """What one variant would have done."""

    holds: Annotated[str, said("How long its condition must hold.")] = msgspec.field(name="for")
    threshold: float | None
    as_written: bool
    live: bool
    opened: int
    open_at_end: int
    flaps: Annotated[int, said("Openings within 10 minutes after a clearing.")]
    per_day: float | None
    busiest_day: Busiest | None
    firing_s: float
    firing_share: Annotated[float | None, said("Of the sensors' time.")]
    severities: dict[str, int]
    sensors_alerting: int
    noisiest: list[Noisy]
    diff: Difference | None
    alerts: Annotated[list[TrialAlert], said("The first ones.")]
    alerts_left_out: int


class BacktestResult(msgspec.Struct):
    """What a rule would have done."""

    rule: str
    live: LiveRule | None
    since: Time = msgspec.field(name="from")
    until: Time = msgspec.field(name="to")
    order: Literal["event", "arrival"]
    sensors: int
    readings: int
    flap_within_s: float
    notes: list[str]
    variants: list[Trial]


class Progress(msgspec.Struct):
    """How far it is, at most twice a second."""

    progress: Annotated[float, msgspec.Meta(ge=0, le=1)]
    readings: int


class Result(msgspec.Struct):
    """The last line."""

    result: BacktestResult


class Failure(msgspec.Struct):
    """The last line, when it failed on the way."""

    error: Problem


TRIALS = Subject(
    "Trials",
    "What rules would have done, and why they did not.",
    {
        "POST /v1/rules/backtest": Operation(
            "backtest",
            "What a rule would have done over stored readings",
            "Changes nothing. The answer is a stream of JSON lines: progress, then one last line "
            "with the result, or with what went wrong.",
            body=Body.of(bodies.BacktestBody, BACKTEST),
            answers={
                200: Answer("Lines.", content_types=[NDJSON], lines=(Progress, Result, Failure))
            },
            errors={
                400: "`bad_sweep`, `backtest_too_large`, `bad_parameter`, or no such body.",
                422: BAD,
                429: "`too_many_backtests`.",
            },
            examples=[
                Example(
                    "sweep",
                    "Two thresholds",
                    body={
                        "text": HOT,
                        "from": "2026-01-31T11:00:00Z",
                        "to": "2026-01-31T13:00:00Z",
                        "sweep": {"threshold": [70, 75]},
                    },
                )
            ],
        ),
        "GET /v1/rules/<rule>/explain": Operation(
            "explainRule",
            "Why a rule has no alert open at a sensor, or why it has",
            parameters=[Parameter("sensor", "The sensor's name.", NAME, required=True)],
            answers={200: Answer("Why.", Explanation)},
            errors={400: "`explain_too_large`, `bad_parameter`."},
            examples=[Example("why", "At a boiler", query={"sensor": SENSOR})],
        ),
    },
)
