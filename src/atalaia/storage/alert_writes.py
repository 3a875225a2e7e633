"""Alert transitions of one group: every step to alert_events, the sum of them to alerts."""

from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import asyncpg
import attrs
import msgspec

from atalaia.model.alert import Transition
from atalaia.model.ids import TenantNo
from atalaia.ports import CommitItem

_ALERT = {
    "tenant_id": "int4", "alert_id": "uuid", "rule_no": "int4", "rule_version": "int4",
    "sensor_id": "int4", "severity": "text", "state": "text", "cleared_at": "timestamptz",
    "cleared_arrival": "timestamptz", "cleared_value": "float8", "clear_reason": "text",
    "opened_at": "timestamptz", "opened_arrival": "timestamptz", "opened_value": "float8",
    "evidence": "text",
}  # fmt: skip
_NAMES = ", ".join(_ALERT)
_ARRAYS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_ALERT.values(), 1))
_INSERT = (
    f"INSERT INTO alerts ({_NAMES}) SELECT {_NAMES}::jsonb FROM unnest({_ARRAYS})"  # noqa: S608 - ours
    f" WITH ORDINALITY AS new ({_NAMES}, nr) ORDER BY nr"
)


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
    await connection.execute(
        "INSERT INTO alert_events"
        " (tenant_id, alert_id, arrival, ordinal, kind, at, severity, value)"
        " SELECT * FROM unnest($1::int4[], $2::uuid[], $3::timestamptz[], $4::int4[], $5::text[],"
        " $6::timestamptz[], $7::text[], $8::float8[])",
        *_columns(_steps(items)),
    )


def _columns(rows: Iterable[tuple[object, ...]]) -> Iterator[list[object]]:
    """One statement for all rows: what it takes to send one for each is more than to store it."""
    return (list(column) for column in zip(*rows, strict=True))


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
    await connection.execute(
        "UPDATE alerts a SET severity = c.severity, state = c.state, cleared_at = c.cleared_at,"
        " cleared_arrival = c.cleared_arrival, cleared_value = c.cleared_value,"
        " clear_reason = c.clear_reason"
        " FROM unnest($1::int4[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[],"
        " $6::timestamptz[], $7::float8[], $8::text[])"
        " AS c (tenant_id, alert_id, severity, state, cleared_at, cleared_arrival, cleared_value,"
        " clear_reason) WHERE a.tenant_id = c.tenant_id AND a.alert_id = c.alert_id",
        *_columns((c.tenant_no, c.last.alert_id, c.last.severity, *_ending(c)) for c in changes),
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
                msgspec.json.encode(opened.evidence).decode(),
            )
        )
    if not rows:
        return
    await connection.execute(_INSERT, *_columns(rows))


def _ending(change: _Change) -> tuple[object, ...]:
    """(state, cleared_at, cleared_arrival, cleared_value, clear_reason)."""
    cleared = change.cleared
    if cleared is None:
        return ("open", None, None, None, None)
    return ("cleared", cleared.at, cleared.arrived, cleared.value, cleared.reason)
