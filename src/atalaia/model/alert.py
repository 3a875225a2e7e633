"""Alert transitions: what the fold says happened, before anything is stored or sent."""

from typing import Literal
from uuid import UUID

import attrs

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


@attrs.frozen
class Transition:
    """One step of one alert.

    alert_id: uuid5 over (tenant, rule, version, sensor, opening event time);
    at: event time of the evaluation, UTC epoch µs; arrived: received_at of the batch that
    caused it; value: the first aggregate of the rule's condition (the number people look at).
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
