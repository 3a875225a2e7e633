"""Alert transitions: what the fold says happened, before anything is stored or sent."""

from typing import Literal
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.ids import Micros, RuleNo, SensorNo

TransitionKind = Literal["opened", "raised", "lowered", "cleared"]
CloseReason = Literal[
    "condition", "rule_changed", "rule_disabled", "rule_deleted", "sensor_deleted"
]
SEVERITIES = ("info", "warning", "critical")


@attrs.frozen
class Evidence:
    """One aggregate of the rule as it stood at the transition; value None means unknown."""

    expression: str
    value: float | None


POINT = np.dtype([("ts", "<i8"), ("value", "<f8")])
"""A reading as it is kept in evidence."""


@attrs.frozen
class Weighed:
    """One aggregate of a condition at its judgement; value None means unknown."""

    expression: str
    metric: str
    window_us: int
    value: float | None


@attrs.frozen
class Comparison:
    """One comparison of a condition at its judgement; None means unknown.

    clause: `when`, `clear when`, or the severity whose condition it belongs to. expression, value:
    the side that looks at readings, with the operator as seen from there. needs: what the condition
    wants it to be, false below a `not`.
    """

    clause: str
    text: str
    expression: str
    value: float | None
    operator: str
    threshold: float | None
    needs: bool
    truth: bool | None


@attrs.frozen
class Samples:
    """The readings of one metric in (at - window, at] as they stood at the judgement.

    count: how many there were; points: of dtype POINT, thinned out where there were many.
    """

    metric: str
    window_us: int
    count: int
    points: bytes = attrs.field(repr=False)

    def pairs(self) -> list[tuple[int, float]]:
        """(ts, value), ascending."""
        return np.frombuffer(self.points, POINT).tolist()  # type: ignore[no-any-return]


@attrs.frozen
class Silence:
    """Since when nothing had arrived, and when that was too long; both by arrival."""

    since: Micros
    deadline: Micros


@attrs.frozen
class Opening:
    """What an alert was opened on: a function of the committed readings, kept for good.

    text: of the rule as it judged. samples: of each metric of the condition, over its longest
    window there. silence: what there is instead for a rule of silence.
    """

    text: str
    weighed: tuple[Weighed, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    samples: tuple[Samples, ...] = ()
    silence: Silence | None = None


@attrs.frozen
class Transition:
    """One step of one alert.

    alert_id: uuid5 over (tenant, rule, version, sensor, opening event time);
    at: event time of the evaluation, UTC epoch µs; arrived: received_at of the batch that
    caused it; value: the first aggregate of the rule's condition (the number people look at);
    opening: with what is opened, and with nothing else.
    """

    kind: TransitionKind
    alert_id: UUID
    rule_no: RuleNo
    rule_version: int
    sensor_no: SensorNo
    severity: str
    at: Micros
    arrived: Micros
    value: float | None
    evidence: tuple[Evidence, ...]
    reason: CloseReason | None = None
    opening: Opening | None = None
