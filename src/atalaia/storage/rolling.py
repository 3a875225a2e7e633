"""The steps that make rollups, each one transaction.

What a step writes follows from the readings alone, so that one that is lost, or done twice, changes
nothing. A note is deleted by the step that has seen its readings.
"""

from collections.abc import Sequence

import asyncpg
import attrs
import numpy as np

from atalaia.buckets.cells import (
    CELL,
    LEVELS_US,
    PACKS_US,
    Cells,
    floor,
    fold_readings,
    raise_cells,
)
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import HOUR_US, Micros, SeriesNo, TenantNo
from atalaia.model.stored import PackSpan, RollStep
from atalaia.storage.database import Database
from atalaia.storage.expiry import delete_expired_aio, forget_hours_aio
from atalaia.storage.readings import first_ts_aio, scan_aio
from atalaia.storage.rollups import packs_aio
from atalaia.storage.state import last_received_aio

STEP_SERIES = 200
STEP_NOTES = 50
STEP_ROWS = 200_000
STEP_TIMEOUT_MS = 60_000
_LOCK = 0x726F6C
_DUE = (
    "SELECT t.tenant_id FROM tenants t LEFT JOIN rollup_marks m USING (tenant_id)"
    " WHERE erasing_at IS NULL AND"
    " (EXISTS (SELECT FROM rollup_notes n WHERE n.tenant_id = t.tenant_id)"
    " OR coalesce(extract(epoch FROM m.until)::int8, 0) * 1000000 + 3600000000 <="
    " (SELECT max(s.received_at) FROM tenant_state s WHERE s.tenant_id = t.tenant_id)"
    " OR now() - (t.retention_days + 1) * interval '1 day'"
    " > coalesce(m.complete_from, '-infinity'))"
    " ORDER BY t.tenant_id"
)


@attrs.frozen(eq=False)
class PostgresRollups:
    """Implements `Rollups`."""

    _database: Database

    async def due(self) -> Sequence[TenantNo]:
        rows = await self._database.as_writer(lambda connection: connection.fetch(_DUE))
        return [TenantNo(row["tenant_id"]) for row in rows]

    async def step(self, tenant_no: TenantNo, keep_since: int) -> RollStep:
        async def work(connection: asyncpg.Connection) -> RollStep:
            return await roll_up_aio(connection, tenant_no, keep_since)

        return await self._database.as_tenant(tenant_no, work, timeout_ms=STEP_TIMEOUT_MS)


async def roll_up_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, keep_since: int
) -> RollStep:
    """Do the next step of this tenant, if there is one. Stored cells from before `keep_since` go.

    Noted hours come first. What arrives meanwhile is noted, and not lost: notes are read before
    readings, and only what was read is deleted.
    """
    # One at a time: a process that is being replaced may still be at it.
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, tenant_no)
    last = await last_received_aio(connection)
    if last is None:
        return RollStep(0, more=False)
    over = last // HOUR_US * HOUR_US
    mark = await connection.fetchrow("SELECT * FROM rollup_marks")
    if mark is None:
        first = await first_ts_aio(connection, 0, over)
        await _set_mark_aio(connection, tenant_no, over if first is None else first, 0)
        return RollStep(0, more=first is not None)
    step = await _noted_aio(connection, tenant_no, mark["until"], mark["complete_from"] or 0)
    if step is not None:
        return step
    if mark["until"] < over:
        return await _next_hour_aio(
            connection, tenant_no, mark["until"], mark["done"], over, keep_since
        )
    deleted, more = await delete_expired_aio(connection, mark, last)
    return RollStep(0, more=more, deleted=deleted)


async def _noted_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, until: int, complete_from: int
) -> RollStep | None:
    """Make the hours of some notes anew. None: there is no note of hours that are rolled up.

    Hours of which readings were deleted stay as they are; what has come for them since goes.
    """
    notes = await connection.fetch(
        "SELECT received_at, series, hours FROM rollup_notes ORDER BY received_at"
    )
    taken: list[Micros] = []
    pairs: list[Int64s] = []
    for note in notes:
        hours = np.frombuffer(note["hours"], "<i4").astype(np.int64)
        if len(taken) < STEP_NOTES and (hours.max() < until // HOUR_US):
            taken.append(note["received_at"])
            pairs.append(np.frombuffer(note["series"], "<i4").astype(np.int64) << 32 | hours)
    if not taken:
        return None
    both = np.unique(np.concatenate(pairs))
    gone = (both & 0xFFFFFFFF) < complete_from // HOUR_US
    deleted = await forget_hours_aio(connection, both[gone])
    both = both[~gone]
    made = 0
    for start in range(0, len(both), STEP_SERIES):
        some = both[start : start + STEP_SERIES]
        series, hours = (some >> 32).astype(np.int32), (some & 0xFFFFFFFF) * HOUR_US
        made += await _make_aio(connection, tenant_no, series, hours, until)
    await connection.execute(
        "DELETE FROM rollup_notes WHERE received_at = ANY($1::timestamptz[])", taken
    )
    return RollStep(made, more=True, deleted=deleted)


async def _next_hour_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    until: int,
    done: int,
    over: int,
    keep_since: int,
) -> RollStep:
    """Roll up the hour that begins at `until` for more series; after the last the mark moves."""
    rows = await connection.fetch(
        "SELECT series_id FROM series WHERE series_id > $1 ORDER BY series_id LIMIT $2",
        done,
        STEP_SERIES,
    )
    series = np.array([row["series_id"] for row in rows], np.int32)
    made = 0
    if len(series):
        hours = np.full(len(series), until, np.int64)
        made = await _make_aio(connection, tenant_no, series, hours, until + HOUR_US)
        for level, pack_us in enumerate(PACKS_US):
            await connection.execute(
                "DELETE FROM rollups WHERE level = $1 AND series_id = ANY($2::int4[]) AND at < $3",
                level,
                series.tolist(),
                max(0, keep_since - pack_us),
            )
    if len(series) == STEP_SERIES:
        await _set_mark_aio(connection, tenant_no, until, int(series[-1]))
        return RollStep(made, more=True)
    following = until + HOUR_US
    if not made and not done:  # over the hours without anything at once
        first = await first_ts_aio(connection, following, over)
        following = _leap(following, over if first is None else first)
    await _set_mark_aio(connection, tenant_no, following, 0)
    return RollStep(made, more=True)


def _leap(begin: int, end: int) -> int:
    """How far the mark may leap over nothing: the last hour of a pack that has begun is stepped
    through, since that makes the pack.
    """
    for pack_us in PACKS_US[1:]:
        if begin % pack_us:
            end = min(end, begin // pack_us * pack_us + pack_us - HOUR_US)
    return max(begin, end)


async def _set_mark_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, until: int, done: int
) -> None:
    await connection.execute(
        "INSERT INTO rollup_marks (tenant_id, until, done) VALUES ($1, $2, $3)"
        " ON CONFLICT (tenant_id) DO UPDATE SET until = excluded.until, done = excluded.done",
        tenant_no,
        until // HOUR_US * HOUR_US,
        done,
    )


async def _make_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    series: Int32s,
    hours: Int64s,
    until: int,
) -> int:
    """Make these hours of these series anew, and every longer pack over them that is complete.

    until: where the rollups end. Returns how many packs were written.
    """
    made = await _minutes_aio(connection, series, hours)
    await _put_aio(connection, tenant_no, 0, made)
    written = len(made)
    touched = np.stack((series.astype(np.int64), hours))
    for level in range(1, len(LEVELS_US)):
        touched[1] = floor(touched[1], PACKS_US[level])
        touched = np.unique(touched[:, touched[1] + PACKS_US[level] <= until], axis=1)
        if not touched.shape[1]:
            break
        spans = [
            PackSpan(level - 1, SeriesNo(number), at, at + PACKS_US[level])
            for number, at in touched.T.tolist()
        ]
        packs = await packs_aio(connection, spans)
        made = {
            (span.series, span.begin): raise_cells(np.frombuffer(pack, CELL), level)
            for span, pack in zip(spans, packs, strict=True)
            if pack
        }
        await _put_aio(connection, tenant_no, level, made)
        written += len(made)
    return written


async def _minutes_aio(
    connection: asyncpg.Connection, series: Int32s, hours: Int64s
) -> dict[tuple[int, int], Cells]:
    """The cells of minutes of these hours that have readings, from those readings."""
    since, until = hours - 1, hours + HOUR_US - 1
    waiting = np.arange(len(series))
    parts: dict[int, list[tuple[Int64s, Floats]]] = {}
    while len(waiting):
        each = max(1, STEP_ROWS // len(waiting))
        rows = await scan_aio(
            connection, series[waiting], since[waiting], until[waiting], arrived=None, each=each
        )
        count = np.bincount(rows.span, minlength=len(waiting))
        end = np.cumsum(count)
        for nr in np.flatnonzero(count).tolist():
            part = slice(end[nr] - count[nr], end[nr])
            parts.setdefault(int(waiting[nr]), []).append((rows.ts[part], rows.value[part]))
        full = count == each
        since[waiting[full]] = rows.ts[end[full] - 1]
        waiting = waiting[full]
    return {
        (int(series[nr]), int(hours[nr])): fold_readings(
            floor(np.concatenate([ts for ts, _ in found]), LEVELS_US[0]),
            np.concatenate([value for _, value in found]),
        )
        for nr, found in parts.items()
    }


async def _put_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    level: int,
    packs: dict[tuple[int, int], Cells],
) -> None:
    if not packs:
        return
    await connection.execute(
        "INSERT INTO rollups (tenant_id, level, series_id, at, cells)"
        " SELECT $1, $2, * FROM unnest($3::int4[], $4::timestamptz[], $5::bytea[])"
        " ON CONFLICT (tenant_id, level, series_id, at) DO UPDATE SET cells = excluded.cells",
        tenant_no,
        level,
        [series for series, _ in packs],
        [at for _, at in packs],
        [cells.tobytes() for cells in packs.values()],
    )
