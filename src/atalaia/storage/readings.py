"""Every read of readings. Each query carries a time bound, so that few partitions are opened."""

from collections.abc import Sequence
from io import BytesIO

import asyncpg
import numpy as np

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import Micros, SeriesNo
from atalaia.model.stored import Scan
from atalaia.model.views import Point
from atalaia.storage.binary import decode_history, decode_points, decode_scan

_IN_ORDER = (
    "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)"
)


async def window_chunk_aio(
    connection: asyncpg.Connection, series: Int32s, since: Int64s, until: Int64s, limit: int
) -> tuple[Int32s, Int64s, Floats]:
    """Up to `limit` judged rows with since < ts <= until per series, by (series, ts), as columns.

    Numbers are written into the statement because COPY takes no parameters; they are integers.
    """
    query = (
        f"SELECT r.series_id, r.ts, r.value {_wanted(series, since, until)}"
        f" AND NOT r.late ORDER BY r.series_id, r.ts LIMIT {limit:d}"
    )
    sink = BytesIO()
    await connection.copy_from_query(query, output=sink, format="binary")
    return decode_points(sink.getvalue())


async def history_chunk_aio(
    connection: asyncpg.Connection,
    series: Int32s,
    since: Int64s,
    until: Int64s,
    *,
    late: bool,
    limit: int,
) -> tuple[Int32s, Int64s, Floats, Int64s]:
    """Up to `limit` rows with since < ts <= until per series, in no order, as columns."""
    query = (
        "SELECT r.series_id, r.ts, r.value, r.received_at"
        f" {_wanted(series, since, until)}{'' if late else ' AND NOT r.late'} LIMIT {limit:d}"
    )
    sink = BytesIO()
    await connection.copy_from_query(query, output=sink, format="binary")
    return decode_history(sink.getvalue())


async def arrivals_before_aio(
    connection: asyncpg.Connection, series: Int32s, before: Micros, until: Micros
) -> tuple[Int64s, Int64s]:
    """Per series (ts, received_at) of the newest judged reading with ts <= until that arrived
    earlier than `before`; without one, (a µs before its first reading, or until; -1).

    An index is read from its end until one is found: as many rows as arrived since.
    """
    rows = await connection.fetch(
        "SELECT coalesce(newest.ts, first.ts - interval '1 microsecond', $3) AS ts,"
        " newest.received_at"
        " FROM unnest($1::int4[]) WITH ORDINALITY AS wanted (series_id, nr)"
        " LEFT JOIN LATERAL (SELECT r.ts, r.received_at FROM readings r"
        "  WHERE r.series_id = wanted.series_id AND NOT r.late AND r.ts <= $3"
        "  AND r.received_at < $2 ORDER BY r.ts DESC LIMIT 1) newest ON true"
        " LEFT JOIN LATERAL (SELECT r.ts FROM readings r"
        "  WHERE r.series_id = wanted.series_id AND NOT r.late AND r.ts <= $3"
        "  AND newest.ts IS NULL ORDER BY r.ts LIMIT 1) first ON true"
        " ORDER BY wanted.nr",
        series.tolist(),
        before,
        until,
    )
    return (
        np.array([row["ts"] for row in rows], np.int64),
        np.array(
            [-1 if row["received_at"] is None else row["received_at"] for row in rows], np.int64
        ),
    )


async def count_late_aio(
    connection: asyncpg.Connection, series: Int32s, since: Int64s, until: Int64s
) -> int:
    """Late rows with since < ts <= until per series."""
    query = f"SELECT count(*) {_wanted(series, since, until)} AND r.late"
    return int(await connection.fetchval(query))


def _wanted(series: Int32s, since: Int64s, until: Int64s) -> str:
    """FROM and WHERE of since < ts <= until per series: integers and times, nothing else."""
    wanted = ", ".join(
        f"({number}, {_time(low)}, {_time(high)})"
        for number, low, high in zip(series.tolist(), since.tolist(), until.tolist(), strict=True)
    )
    return (
        f"FROM (VALUES {wanted}) AS wanted (series_id, low, high)"
        " JOIN readings r ON r.series_id = wanted.series_id"
        " AND r.ts > wanted.low AND r.ts <= wanted.high"
        f" WHERE r.ts > {_time(int(since.min()))} AND r.ts <= {_time(int(until.max()))}"
    )


def _time(us: int) -> str:
    """A timestamptz literal, exact to the µs (to_timestamp takes a float and would round)."""
    stamp = np.datetime64(us, "us")
    return f"timestamptz '{stamp}+00'"


async def scan_aio(
    connection: asyncpg.Connection,
    series: Int32s,
    since: Int64s,
    until: Int64s,
    *,
    arrived: Micros | None,
    each: int,
) -> Scan:
    """Per span (since < ts <= until of a series) its first `each` rows, sorted by (span, ts).

    Every span is read from the index in order and no further: nothing is sorted but the answer.
    The planner would rather read all of each span and sort it, when there are several.
    """
    await connection.execute(_IN_ORDER)
    spans = ", ".join(
        f"({nr}, {number}, {_time(low)}, {_time(high)})"
        for nr, (number, low, high) in enumerate(
            zip(series.tolist(), since.tolist(), until.tolist(), strict=True)
        )
    )
    seen = "" if arrived is None else f" AND received_at <= {_time(arrived)}"
    query = (
        "SELECT w.nr, r.ts, r.value, r.received_at, r.late"  # noqa: S608 - numbers and times
        f" FROM (VALUES {spans}) AS w (nr, series_id, low, high) CROSS JOIN LATERAL"
        " (SELECT ts, value, received_at, late FROM readings WHERE series_id = w.series_id"
        f" AND ts > w.low AND ts <= w.high{seen} AND ts > {_time(int(since.min()))}"
        f" AND ts <= {_time(int(until.max()))} ORDER BY ts LIMIT {each:d}) r"
    )
    sink = BytesIO()
    await connection.copy_from_query(query, output=sink, format="binary")
    scan = decode_scan(sink.getvalue())
    return scan.where(np.lexsort((scan.ts, scan.span)))


async def first_ts_aio(connection: asyncpg.Connection, since: int, until: int) -> Micros | None:
    """The earliest reading of the tenant with since <= ts < until."""
    first: Micros | None = await connection.fetchval(
        "SELECT min(r.ts) FROM series s CROSS JOIN LATERAL"
        " (SELECT ts FROM readings WHERE series_id = s.series_id AND ts >= $1 AND ts < $2"
        " ORDER BY ts LIMIT 1) r",
        since,
        until,
    )
    return first


async def stored_of_aio(
    connection: asyncpg.Connection, received_at: Micros, series: Int32s, ts: Int64s
) -> tuple[Int32s, Int64s, Floats]:
    """Of these readings those that arrived then, as (series, ts, value)."""
    rows = await connection.fetch(
        "SELECT DISTINCT r.series_id, r.ts, r.value"
        " FROM unnest($1::int4[], $2::timestamptz[]) AS wanted (series_id, ts)"
        " JOIN readings r ON r.series_id = wanted.series_id AND r.ts = wanted.ts"
        " WHERE r.ts >= $3 AND r.ts <= $4 AND r.received_at = $5 ORDER BY r.series_id, r.ts",
        series.tolist(),
        ts.tolist(),
        int(ts.min()),
        int(ts.max()),
        received_at,
    )
    return (
        np.array([row["series_id"] for row in rows], np.int32),
        np.array([row["ts"] for row in rows], np.int64),
        np.array([row["value"] for row in rows], np.float64),
    )


async def range_aio(
    connection: asyncpg.Connection,
    series: SeriesNo,
    after: Micros,
    until: Micros,
    limit: int,
) -> list[Point]:
    """Up to `limit` readings of one series with after < ts <= until, oldest first."""
    rows = await connection.fetch(
        "SELECT ts, value, received_at, late FROM readings"
        " WHERE series_id = $1 AND ts > $2 AND ts <= $3 ORDER BY ts LIMIT $4",
        series,
        after,
        until,
        limit,
    )
    return [Point(row["ts"], row["value"], row["received_at"], row["late"]) for row in rows]


async def points_aio(
    connection: asyncpg.Connection, at: Sequence[tuple[SeriesNo, Micros]]
) -> dict[SeriesNo, Point]:
    """The readings of these series at exactly these times."""
    if not at:
        return {}
    times = [ts for _, ts in at]
    rows = await connection.fetch(
        "SELECT r.series_id, r.ts, r.value, r.received_at, r.late"
        " FROM unnest($1::int4[], $2::timestamptz[]) AS wanted (series_id, ts)"
        " JOIN readings r ON r.series_id = wanted.series_id AND r.ts = wanted.ts"
        " WHERE r.ts >= $3 AND r.ts <= $4",
        [series for series, _ in at],
        times,
        min(times),
        max(times),
    )
    return {
        row["series_id"]: Point(row["ts"], row["value"], row["received_at"], row["late"])
        for row in rows
    }
