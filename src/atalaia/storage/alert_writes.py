"""Alert transitions of one group: every step to alert_events, the sum of them to alerts."""

from collections.abc import Iterator, Sequence
from uuid import UUID

import asyncpg
import attrs

from atalaia.model.alert import Transition
from atalaia.model.ids import TenantNo
from atalaia.ports import CommitItem


@attrs.define(eq=False)
class _Change:
    """What one group does to one alert."""

    tenant_no: TenantNo
    opened: Transition | None
    last: Transition

    @property
    def cleared(self) -> Transition | None:
        return self.last if self.last.kind == "cleared" else None


def _changes(items: Sequence[CommitItem]) -> list[_Change]:
    found: dict[tuple[TenantNo, UUID], _Change] = {}
    for item in items:
        for step in item.transitions:
            key = (item.tenant_no, step.alert_id)
            if key in found:
                found[key].last = step
            else:
                opened = step if step.kind == "opened" else None
                found[key] = _Change(item.tenant_no, opened, step)
    return list(found.values())


async def write_alerts_aio(connection: asyncpg.Connection, items: Sequence[CommitItem]) -> None:
    """Open, change and clear alerts. Closings go first: one open alert per rule and sensor."""
    changes = _changes(items)
    if not changes:
        return
    await _update_aio(connection, [change for change in changes if change.opened is None])
    await _insert_aio(connection, [change for change in changes if change.opened is not None])
    steps = list(_steps(items))
    await connection.executemany(
        "INSERT INTO alert_events"
        " (tenant_id, alert_id, arrival, ordinal, kind, at, severity, value)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        steps,
    )


def _steps(items: Sequence[CommitItem]) -> Iterator[tuple[object, ...]]:
    for item in items:
        for ordinal, step in enumerate(item.transitions):
            yield (
                item.tenant_no,
                step.alert_id,
                step.arrived,
                ordinal,
                step.kind,
                step.at,
                step.severity,
                step.value,
            )


async def _update_aio(connection: asyncpg.Connection, changes: list[_Change]) -> None:
    if not changes:
        return
    await connection.executemany(
        "UPDATE alerts SET severity = $3, state = $4, cleared_at = $5, cleared_arrival = $6,"
        " cleared_value = $7, clear_reason = $8 WHERE tenant_id = $1 AND alert_id = $2",
        [(c.tenant_no, c.last.alert_id, c.last.severity, *_ending(c)) for c in changes],
    )


async def _insert_aio(connection: asyncpg.Connection, changes: list[_Change]) -> None:
    """Cleared ones first, in the order they were judged: the open one is the newest."""
    rows = []
    for change in changes:
        opened = change.opened
        if opened is None:
            raise AssertionError("an alert is inserted by its opening")
        rows.append(
            (
                change.tenant_no,
                opened.alert_id,
                opened.rule_no,
                opened.rule_version,
                opened.sensor_no,
                change.last.severity,
                *_ending(change),
                opened.at,
                opened.arrived,
                opened.value,
                [attrs.asdict(atom) for atom in opened.evidence],
            )
        )
    await connection.executemany(
        "INSERT INTO alerts (tenant_id, alert_id, rule_no, rule_version, sensor_id, severity,"
        " state, cleared_at, cleared_arrival, cleared_value, clear_reason,"
        " opened_at, opened_arrival, opened_value, evidence)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        rows,
    )


def _ending(change: _Change) -> tuple[object, ...]:
    """(state, cleared_at, cleared_arrival, cleared_value, clear_reason)."""
    cleared = change.cleared
    if cleared is None:
        return ("open", None, None, None, None)
    return ("cleared", cleared.at, cleared.arrived, cleared.value, cleared.reason)
