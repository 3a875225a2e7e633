"""Reading alerts and their history."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from atalaia.model.ids import Micros
from atalaia.model.views import AlertFilter, AlertStep, AlertView, OpeningView, StreamedStep
from atalaia.storage.evidence import opening_aio

SOURCE = (
    "alerts a JOIN rules r USING (tenant_id, rule_no) JOIN sensors s USING (tenant_id, sensor_id)"
)
CHOSEN = (
    "($1::text IS NULL OR a.state = $1)"
    " AND ($2::text IS NULL OR a.severity = $2)"
    " AND ($3::text IS NULL OR s.name = $3)"
    " AND ($4::uuid IS NULL OR r.rule_id = $4)"
    " AND ($5::timestamptz IS NULL OR a.opened_at > $5)"
    " AND ($6::timestamptz IS NULL OR a.opened_at <= $6)"
)
_SELECT = (
    "SELECT a.alert_id, r.rule_id, r.name AS rule, a.rule_version,"  # noqa: S608 - our own
    " s.name AS sensor, a.severity, a.state, a.opened_at, a.opened_arrival, a.opened_value,"
    " a.cleared_at, a.cleared_arrival,"
    f" a.cleared_value, a.clear_reason, a.evidence FROM {SOURCE}"
)


def _view(row: asyncpg.Record) -> AlertView:
    return AlertView(**dict(row))


async def alerts_aio(
    connection: asyncpg.Connection,
    wanted: AlertFilter,
    before: tuple[Micros, UUID] | None,
    limit: int,
) -> list[AlertView]:
    """Newest opening first, by (opened_at, alert_id) so that pages never overlap."""
    opened, alert_id = before or (None, None)
    rows = await connection.fetch(
        f"{_SELECT} WHERE {CHOSEN}"
        " AND ($7::timestamptz IS NULL OR a.opened_at < $7"
        "      OR (a.opened_at = $7 AND a.alert_id > $8))"
        " ORDER BY a.opened_at DESC, a.alert_id LIMIT $9",
        wanted.state,
        wanted.severity,
        wanted.sensor,
        wanted.rule_id,
        wanted.since,
        wanted.until,
        opened,
        alert_id,
        limit,
    )
    return [_view(row) for row in rows]


async def alert_steps_aio(
    connection: asyncpg.Connection,
    after: tuple[int, int],
    sensors: Sequence[str] | None,
    limit: int,
) -> list[StreamedStep]:
    """Steps beyond this arrival and ordinal, in the order of their commits."""
    arrival, ordinal = after
    rows = await connection.fetch(
        "SELECT e.arrival, e.ordinal, e.alert_id, r.rule_id, r.name AS rule, s.name AS sensor,"
        " e.kind, e.severity, e.value, e.at"
        " FROM alert_events e JOIN alerts a USING (tenant_id, alert_id)"
        " JOIN rules r USING (tenant_id, rule_no) JOIN sensors s USING (tenant_id, sensor_id)"
        " WHERE (e.arrival, e.ordinal) > ($1, $2) AND ($3::text[] IS NULL OR s.name = ANY($3))"
        " ORDER BY e.arrival, e.ordinal LIMIT $4",
        arrival,
        ordinal,
        None if sensors is None else list(sensors),
        limit,
    )
    return [StreamedStep(**dict(row)) for row in rows]


async def alert_aio(
    connection: asyncpg.Connection, alert_id: UUID
) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None] | None:
    """One alert, its steps in the order they were judged, and what it was opened on."""
    row = await connection.fetchrow(_SELECT + " WHERE a.alert_id = $1", alert_id)
    if row is None:
        return None
    steps = await connection.fetch(
        "SELECT kind, at, arrival, severity, value FROM alert_events"
        " WHERE alert_id = $1 ORDER BY arrival, ordinal",
        alert_id,
    )
    opening = await opening_aio(connection, alert_id)
    return _view(row), [AlertStep(**dict(step)) for step in steps], opening
