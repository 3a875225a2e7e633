"""Rollups as they are stored: notes of touched hours, the mark, and packs of cells.

A note is written in the commit that touches an hour which was over when it arrived. What the notes
and the mark do not cover follows from the readings alone.
"""

from collections.abc import Sequence

import asyncpg
import numpy as np

from atalaia.buckets.cells import PACKS_US
from atalaia.model.batch import Int32s
from atalaia.model.ids import HOUR_US, Micros
from atalaia.model.stored import PackSpan, Rolled
from atalaia.ports import CommitItem


async def write_notes_aio(
    connection: asyncpg.Connection, items: Sequence[CommitItem], late: Sequence[int]
) -> None:
    """Note, in the commit itself, which hours it touches that were over when it arrived.

    Live readings are in none. late: how many of each item's old rows were new.
    """
    notes = [
        (item.tenant_no, item.received_at, *packed)
        for item, count in zip(items, late, strict=True)
        if (packed := _touched(item, with_old=count > 0)) is not None
    ]
    if notes:
        await connection.execute(
            "INSERT INTO rollup_notes (tenant_id, received_at, series, hours)"
            " SELECT * FROM unnest($1::int4[], $2::timestamptz[], $3::bytea[], $4::bytea[])",
            *[list(column) for column in zip(*notes, strict=True)],
        )


def _touched(item: CommitItem, *, with_old: bool) -> tuple[bytes, bytes] | None:
    this_hour = item.received_at // HOUR_US * HOUR_US
    pairs = []
    for series, ts in ((item.fresh_series, item.fresh_ts), (item.old_series, item.old_ts)):
        if ts is item.old_ts and not with_old:
            continue
        if len(ts) and ts.min() < this_hour:
            before = ts < this_hour
            pairs.append(series[before].astype(np.int64) << 32 | ts[before] // HOUR_US)
    if not pairs:
        return None
    both = np.unique(np.concatenate(pairs))
    hours = (both & 0xFFFFFFFF).astype("<i4")
    return (both >> 32).astype("<i4").tobytes(), hours.tobytes()


async def rolled_aio(connection: asyncpg.Connection, series: Int32s) -> Rolled:
    """The mark, and the noted hours of these series."""
    mark = await connection.fetchrow("SELECT until, complete_from FROM rollup_marks")
    notes = await connection.fetch("SELECT series, hours FROM rollup_notes")
    numbers = np.frombuffer(b"".join(note["series"] for note in notes), "<i4")
    hours = np.frombuffer(b"".join(note["hours"] for note in notes), "<i4").astype(np.int64)
    asked = np.isin(numbers, series)
    if mark is None:
        return Rolled(Micros(0), numbers[asked].astype(np.int32), hours[asked] * HOUR_US)
    # What was deleted is known by its cells alone.
    asked &= hours >= (mark["complete_from"] or 0) // HOUR_US
    return Rolled(mark["until"], numbers[asked].astype(np.int32), hours[asked] * HOUR_US)


async def packs_aio(connection: asyncpg.Connection, spans: Sequence[PackSpan]) -> list[bytes]:
    """Per span the cells of every pack that it touches, in order of time."""
    found = [b""] * len(spans)
    if not spans:
        return found
    rows = await connection.fetch(
        "SELECT w.nr, string_agg(p.cells, ''::bytea ORDER BY p.at) AS cells"
        " FROM unnest($1::int2[], $2::int4[], $3::timestamptz[], $4::timestamptz[])"
        " WITH ORDINALITY AS w (level, series_id, low, high, nr)"
        " JOIN rollups p ON p.level = w.level AND p.series_id = w.series_id"
        " AND p.at >= w.low AND p.at < w.high GROUP BY w.nr",
        [span.level for span in spans],
        [span.series for span in spans],
        [span.begin // PACKS_US[span.level] * PACKS_US[span.level] for span in spans],
        [span.end for span in spans],
    )
    for row in rows:
        found[row["nr"] - 1] = row["cells"]
    return found
