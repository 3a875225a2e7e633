"""Readings that their tenant no longer wants: deleted a day of some series at a time.

Only what is rolled up goes, in order of time, and how far is written beside the mark in the same
transaction: before that, readings are not complete, and no cell is made from them. Two clocks have
to agree that they are too old: the one of the newest arrival, and the database's.
"""

import asyncpg
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US, HOUR_US
from atalaia.storage.readings import first_ts_aio

STEP_SERIES = 200
STEP_ROWS = 10_000  # some tenth of a second


async def delete_expired_aio(
    connection: asyncpg.Connection, mark: asyncpg.Record, last_received: int
) -> tuple[int, bool]:
    """The next part of what is to go: how many were deleted, and whether there may be more."""
    days = await connection.fetchval("SELECT retention_days FROM tenants")
    if days is None:
        return 0, False
    end = min(last_received - days * DAY_US, mark["until"]) // DAY_US * DAY_US
    complete_from, cleared = mark["complete_from"], mark["cleared"]
    if cleared is None:  # no day is under way: which is the next that has any?
        first = await first_ts_aio(connection, complete_from or 0, end)
        if first is None:
            if end > (complete_from or 0):
                await _move_aio(connection, end, None)
            return 0, False
        complete_from, cleared = first // DAY_US * DAY_US + DAY_US, 0
    rows = await connection.fetch(
        "SELECT series_id FROM series WHERE series_id > $1 ORDER BY series_id LIMIT $2",
        cleared,
        STEP_SERIES,
    )
    series = [row["series_id"] for row in rows]
    deleted = await _delete_aio(connection, series, complete_from - DAY_US, complete_from)
    if deleted is None:  # the database does not think that they are too old, or no longer
        return 0, False
    if deleted < STEP_ROWS:
        cleared = series[-1] if len(series) == STEP_SERIES else None
    await _move_aio(connection, complete_from, cleared)
    return deleted, True


async def forget_hours_aio(connection: asyncpg.Connection, pairs: Int64s) -> int:
    """Delete what came for hours of which readings were deleted. pairs: series << 32 | hour."""
    hours = pairs & 0xFFFFFFFF
    deleted = 0
    for hour in np.unique(hours).tolist():
        series = (pairs[hours == hour] >> 32).tolist()
        found = STEP_ROWS
        while found == STEP_ROWS:
            begin = hour * HOUR_US
            found = await _delete_aio(connection, series, begin, begin + HOUR_US) or 0
            deleted += found
    return deleted


async def _delete_aio(
    connection: asyncpg.Connection, series: list[int], begin: int, end: int
) -> int | None:
    """How many were deleted, STEP_ROWS at most; None: they may not be."""
    deleted: int | None = await connection.fetchval(
        "SELECT delete_expired($1, $2, $3, $4)", series, begin, end, STEP_ROWS
    )
    return deleted


async def _move_aio(
    connection: asyncpg.Connection, complete_from: int, cleared: int | None
) -> None:
    await connection.execute(
        "UPDATE rollup_marks SET complete_from = $1, cleared = $2", complete_from, cleared
    )
