"""What came when: one packed row per tenant and commit, for whoever was away meanwhile.

No index has `received_at`, since it would cost every reading. A commit notes instead which times
of which series it brought: 12 bytes per series when each has one reading, 24 otherwise, and as
much for each late one. What came since is then read by the key of readings.

Invariant: of what is deleted the newest note stays. So where there is none at or before a moment,
nothing had come until then.
"""

from collections.abc import Sequence

import asyncpg
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import MINUTE_US, Micros
from atalaia.model.stored import Arrivals, Arrived
from atalaia.ports import CommitItem

BACK_US = 15 * MINUTE_US
"""How far back one may look from the newest commit."""
KEPT_US = BACK_US + 5 * MINUTE_US  # what is looked at is not deleted meanwhile
MOST_COMMITS = 20_000
SPANS_AT_ONCE = 5_000

_BY_KEY = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)"
)


async def write_arrivals_aio(
    connection: asyncpg.Connection, items: Sequence[CommitItem], late: Sequence[int]
) -> None:
    """Note what these items bring; of tenants whose state is written whole, forget what is over.

    late: how many of each item's old rows were new.
    """
    notes = [
        (item.tenant_no, item.received_at, *_packed(item, with_old=count > 0))
        for item, count in zip(items, late, strict=True)
        if len(item.fresh_ts) or count
    ]
    if notes:
        await connection.execute(
            "INSERT INTO arrivals (tenant_id, received_at, series, oldest, newest, counts)"
            " SELECT * FROM unnest($1::int4[], $2::int8[], $3::bytea[], $4::bytea[], $5::bytea[],"
            " $6::bytea[])",
            *[list(column) for column in zip(*notes, strict=True)],
        )
    for item in items:
        if item.snapshot:
            await connection.execute(
                "DELETE FROM arrivals WHERE tenant_id = $1 AND received_at < (SELECT"
                " max(received_at) FROM arrivals WHERE tenant_id = $1 AND received_at < $2)",
                item.tenant_no,
                item.received_at - KEPT_US,
            )


def _packed(item: CommitItem, *, with_old: bool) -> tuple[bytes, bytes, bytes, bytes]:
    """Fresh rows are sorted by (series, ts), so that a series is a run of them."""
    ends = np.flatnonzero(item.fresh_series[1:] != item.fresh_series[:-1]) + 1
    if len(item.fresh_ts):
        ends = np.append(ends, len(item.fresh_ts))
    starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    series, counts = item.fresh_series[starts], ends - starts
    oldest, newest = item.fresh_ts[starts], item.fresh_ts[ends - 1]
    if with_old:
        series = np.concatenate((series, item.old_series))
        counts = np.concatenate((counts, np.ones(len(item.old_ts), np.int64)))
        oldest = np.concatenate((oldest, item.old_ts))
        newest = np.concatenate((newest, item.old_ts))
    single = bool((counts == 1).all())
    return (
        series.astype("<i4").tobytes(),
        oldest.astype("<i8").tobytes(),
        b"" if single else newest.astype("<i8").tobytes(),
        b"" if single else counts.astype("<i4").tobytes(),
    )


async def arrivals_aio(
    connection: asyncpg.Connection, after: Micros, until: Micros, most_spans: int
) -> Arrivals:
    """As `Queries.arrivals`: sizes are looked at first, and no more is read than is wanted."""
    over = await connection.fetchval(
        "SELECT max(received_at) FROM arrivals WHERE received_at <= $1", until - BACK_US
    )
    since = max(after, over or 0)
    sizes = await connection.fetch(
        "SELECT received_at, octet_length(series) / 4 AS spans FROM arrivals"
        " WHERE received_at > $1 AND received_at <= $2 ORDER BY received_at DESC LIMIT $3",
        since,
        until,
        MOST_COMMITS + 1,
    )
    left = most_spans
    for place, size in enumerate(sizes):
        left -= left + 1 if size["spans"] is None else size["spans"]
        if left < 0 or place == MOST_COMMITS:
            since = size["received_at"]
            break
    rows = await connection.fetch(
        "SELECT received_at, series, oldest, newest, counts FROM arrivals"
        " WHERE received_at > $1 AND received_at <= $2 ORDER BY received_at",
        since,
        until,
    )
    spans = [len(row["series"]) // 4 for row in rows]
    return Arrivals(
        after=Micros(since),
        received=np.repeat(np.array([row["received_at"] for row in rows], np.int64), spans),
        series=np.frombuffer(b"".join(row["series"] for row in rows), "<i4").astype(np.int32),
        oldest=_times([row["oldest"] for row in rows]),
        newest=_times([row["newest"] or row["oldest"] for row in rows]),
        counts=np.frombuffer(
            b"".join(
                row["counts"] or np.ones(count, "<i4").tobytes()
                for row, count in zip(rows, spans, strict=True)
            ),
            "<i4",
        ).astype(np.int64),
    )


def _times(packed: Sequence[bytes]) -> Int64s:
    return np.frombuffer(b"".join(packed), "<i8").astype(np.int64)


async def arrived_aio(connection: asyncpg.Connection, spans: Arrivals) -> Arrived:
    """The readings of these spans, SPANS_AT_ONCE at most, in no order.

    Each span is a stretch of the key of readings, whatever the planner would rather do.
    """
    await connection.execute(_BY_KEY)
    rows = await connection.fetch(
        "SELECT r.received_at, r.series_id, r.ts, r.value"
        " FROM unnest($1::int4[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])"
        " AS w (series_id, low, high, received_at) CROSS JOIN LATERAL"
        " (SELECT received_at, series_id, ts, value FROM readings"
        " WHERE series_id = w.series_id AND ts >= w.low AND ts <= w.high AND ts >= $5"
        " AND ts <= $6 AND received_at = w.received_at OFFSET 0) r",
        spans.series.tolist(),
        spans.oldest.tolist(),
        spans.newest.tolist(),
        spans.received.tolist(),
        int(spans.oldest.min()),
        int(spans.newest.max()),
    )
    return Arrived(
        np.array([row["received_at"] for row in rows], np.int64),
        np.array([row["series_id"] for row in rows], np.int32),
        np.array([row["ts"] for row in rows], np.int64),
        np.array([row["value"] for row in rows], np.float64),
    )


def each_once(parts: Sequence[Arrived]) -> Arrived:
    """All of them, in order: one that came late may have been sent twice in its batch."""
    received = np.concatenate([part.received for part in parts])
    series = np.concatenate([part.series for part in parts])
    ts = np.concatenate([part.ts for part in parts])
    value = np.concatenate([part.value for part in parts])
    order = np.lexsort((ts, series, received))
    first = np.ones(len(order), np.bool_)
    first[1:] = (np.diff(ts[order]) != 0) | (np.diff(series[order]) != 0)
    order = order[first]
    return Arrived(received[order], series[order], ts[order], value[order])
