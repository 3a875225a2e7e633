"""Steps of alerts, made of what the rules found."""

from uuid import UUID, uuid5

from atalaia.model.alert import Evidence, Opening, Transition, TransitionKind
from atalaia.model.ids import Micros, SensorNo
from atalaia.rules.program import ActiveRule
from atalaia.rules.syntax import SEVERITY_ORDER

ALERT_NAMESPACE = UUID("6f5f6d0e-2f0b-5a3e-9d7c-2a8f1c4be1a7")


def alert_id(tenant_id: UUID, rule: ActiveRule, sensor_id: UUID, opened: int) -> UUID:
    """The id of the alert of a rule at a sensor that opened at this time."""
    name = f"{tenant_id}/{rule.rule_id}/{rule.version}/{sensor_id}/{opened}"
    return uuid5(ALERT_NAMESPACE, name)


def make_transition(
    kind: TransitionKind,
    *,
    tenant_id: UUID,
    rule: ActiveRule,
    sensor_no: SensorNo,
    sensor_id: UUID,
    level: int,
    opened: int,
    at: int,
    arrived: Micros,
    evidence: tuple[Evidence, ...] = (),
    opening: Opening | None = None,
) -> Transition:
    """One step. level: of SEVERITY_ORDER; what is cleared is so by its condition."""
    return Transition(
        kind=kind,
        alert_id=alert_id(tenant_id, rule, sensor_id, opened),
        rule_no=rule.rule_no,
        rule_version=rule.version,
        sensor_no=sensor_no,
        severity=SEVERITY_ORDER[level],
        at=Micros(at),
        arrived=arrived,
        value=evidence[0].value if evidence else None,
        evidence=evidence,
        reason="condition" if kind == "cleared" else None,
        opening=opening,
    )
