"""Which layout the open partition of readings should have: writes weighed with queries and disk.

    .venv/bin/python bench/commit.py [--quick] [--json FILE]

An embedded Postgres, binary COPY from numpy columns straight into a day's partition, one
transaction per batch, 5,000 series in turn (the worst order for an index that begins with the
series), fsync on. Rows that are sent again take the road the engine takes for rows it does not
know to be new: ON CONFLICT where there is a unique key, a join with what is stored where there is
none. Layouts are visited in turn, in rounds; figures are medians. Then a day of 2,000 series at
one reading a minute is written in each layout, beside 89 closed days of a reading an hour under
(series, ts), and single series are asked for: the last hour, the last day, 90 days; and recovery
asks for the last hour of 500 series at once.

JSON keys: `headline` {rows_per_s (batches of 10,000, nothing sent again), query_hour_ms,
query_day_ms, bytes_per_reading} of the layout in use; `writes` [{layout, batch, again, writers,
rows_per_s}]; `reads` [{layout, query_hour_ms, query_day_ms, query_90d_ms, recovery_ms, close_s,
bytes_per_reading}].
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US, MINUTE_US
from atalaia.storage.binary import encode_readings
from atalaia.storage.cluster import locate
from atalaia.storage.database import setup_connection_aio
from atalaia.storage.embedded import start, stop
from server import say

COLUMNS = (
    "tenant_id int4 NOT NULL, series_id int4 NOT NULL, ts timestamptz NOT NULL,"
    " value float8 NOT NULL, received_at timestamptz NOT NULL, late bool NOT NULL"
)
IN_USE = "(series, ts)"
LAYOUTS: dict[str, str | None] = {
    IN_USE: "ALTER TABLE {0} ADD PRIMARY KEY (series_id, ts)",
    "(ts, series)": "ALTER TABLE {0} ADD PRIMARY KEY (ts, series_id)",
    "BRIN (ts)": "CREATE INDEX ON {0} USING brin (ts) WITH (pages_per_range = 16)",
    "no index": None,
}
UNIQUE = (IN_USE, "(ts, series)")
WRITE_SERIES = 5_000
TODAY = time.time_ns() // 1_000 // DAY_US * DAY_US - 2 * DAY_US


@dataclass(frozen=True)
class Size:
    rows: int
    rounds: int
    read_series: int
    closed_days: int


FULL = Size(rows=400_000, rounds=3, read_series=2_000, closed_days=89)
QUICK = Size(rows=60_000, rounds=1, read_series=200, closed_days=9)


async def whole(stream: bytes) -> AsyncIterator[bytes]:
    yield stream


async def copy(connection: asyncpg.Connection, table: str, series: Int64s, ts: Int64s) -> None:
    number = np.ones(len(ts), np.int32)
    stream = encode_readings(number, series.astype(np.int32), ts, ts % 1000 / 7, ts)
    await connection.copy_to_table(table, source=whole(stream), format="binary")


async def insert_again(
    connection: asyncpg.Connection, table: str, layout: str, series: Int64s, ts: Int64s
) -> None:
    """Rows that may be stored already, as storage/commit.py does it where there is a key."""
    if layout in UNIQUE:
        guard = " ON CONFLICT DO NOTHING"
    else:
        guard = (
            f" WHERE NOT EXISTS (SELECT FROM {table} r WHERE r.series_id = old.series"
            " AND r.ts = old.ts AND r.ts >= $4 AND r.ts <= $5)"
        )
    bounds = () if layout in UNIQUE else (int(ts.min()), int(ts.max()))
    await connection.execute(
        f"INSERT INTO {table} SELECT 1, series, ts, value, ts, true"
        f" FROM unnest($1::int4[], $2::timestamptz[], $3::float8[]) AS old (series, ts, value)"
        + guard,
        series.tolist(), ts.tolist(), (ts % 1000 / 7).tolist(), *bounds,
    )  # fmt: skip


async def write(
    connections: list[asyncpg.Connection], layout: str, batch: int, again: float, rows: int
) -> float:
    """Rows per second into a fresh table; again: the share of each batch that was sent before."""
    await make(connections[0], "fresh", layout)
    writers = len(connections)

    async def one(connection: asyncpg.Connection, number: int) -> None:
        for first in range(number * batch, rows, writers * batch):
            at = np.arange(first, first + batch)
            old = np.zeros(batch, np.bool_)
            if again and first:
                old[:: round(1 / again)] = True
                at[old] -= writers * batch
            series, ts = 1 + at % WRITE_SERIES, TODAY + at // WRITE_SERIES * 1_000
            async with connection.transaction():
                await copy(connection, "fresh", series[~old], ts[~old])
                if old.any():
                    await insert_again(connection, "fresh", layout, series[old], ts[old])

    began = time.perf_counter()
    await asyncio.gather(*(one(connection, n) for n, connection in enumerate(connections)))
    took = time.perf_counter() - began
    await connections[0].execute("DROP TABLE fresh")
    return rows / took


async def make(connection: asyncpg.Connection, table: str, layout: str) -> None:
    await connection.execute(f"CREATE TABLE {table} ({COLUMNS})")
    statement = LAYOUTS[layout]
    if statement is not None:
        await connection.execute(statement.format(table))


async def write_all(url: str, size: Size) -> list[dict[str, Any]]:
    connections = [await connect(url) for _ in range(2)]
    cases = [(batch, again, 1) for batch in (1_000, 10_000, 100_000) for again in (0, 0.01, 0.5)]
    cases += [(batch, 0, 2) for batch in (1_000, 10_000, 100_000)]
    found: dict[tuple[int, float, int, str], list[float]] = defaultdict(list)
    for n in range(size.rounds):
        for batch, again, writers in cases:
            if batch * writers > size.rows:
                continue
            for layout in LAYOUTS:
                rate = await write(connections[:writers], layout, batch, again, size.rows)
                found[batch, again, writers, layout].append(rate)
        say(f"writes: round {n + 1} of {size.rounds}")
    for connection in connections:
        await connection.close()
    return [
        {
            "layout": layout,
            "batch": batch,
            "again": again,
            "writers": writers,
            "rows_per_s": round(statistics.median(rates)),
        }
        for (batch, again, writers, layout), rates in found.items()
    ]


async def connect(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await setup_connection_aio(connection)
    return connection


async def read_all(url: str, size: Size) -> list[dict[str, Any]]:
    connection = await connect(url)
    await connection.execute(f"CREATE TABLE readings ({COLUMNS}) PARTITION BY RANGE (ts)")
    for day in range(size.closed_days):
        begin = TODAY - (day + 1) * DAY_US
        table = f"closed{day}"
        await make(connection, table, IN_USE)
        at = np.arange(size.read_series * 24)
        ts = begin + at // size.read_series * 60 * MINUTE_US
        await copy(connection, table, 1 + at % size.read_series, ts)
        await attach(connection, table, begin)
    await connection.execute("VACUUM ANALYZE readings")
    found = []
    for layout in LAYOUTS:
        say(f"reads: {layout}")
        await make(connection, "open", layout)
        at = np.arange(size.read_series * 24 * 60)
        series, ts = 1 + at % size.read_series, TODAY + at // size.read_series * MINUTE_US
        for first in range(0, len(at), 10_000):
            await copy(
                connection, "open", series[first : first + 10_000], ts[first : first + 10_000]
            )
        await attach(connection, "open", TODAY)
        await connection.execute("VACUUM ANALYZE open")
        took: dict[str, Any] = {"layout": layout}
        dice = np.random.default_rng(7)
        for name, back in (("hour", 3_600_000_000), ("day", DAY_US), ("90d", 90 * DAY_US)):
            took[f"query_{name}_ms"] = await ask(connection, size, dice, back)
        took["recovery_ms"] = await recover(connection, size)
        disk = await connection.fetchval("SELECT pg_total_relation_size('open')")
        took["bytes_per_reading"] = round(disk / len(at), 1)
        await connection.execute("ALTER TABLE readings DETACH PARTITION open")
        took["close_s"] = 0.0
        if layout != IN_USE:
            began = time.perf_counter()
            await connection.execute("CREATE UNIQUE INDEX ON open (series_id, ts)")
            took["close_s"] = round(time.perf_counter() - began, 2)
        await connection.execute("DROP TABLE open")
        found.append(took)
    await connection.close()
    return found


async def attach(connection: asyncpg.Connection, table: str, begin: int) -> None:
    low, high = (str(np.datetime64(at, "us")) + "+00" for at in (begin, begin + DAY_US))
    await connection.execute(
        f"ALTER TABLE readings ATTACH PARTITION {table} FOR VALUES FROM ('{low}') TO ('{high}')"
    )


async def ask(
    connection: asyncpg.Connection, size: Size, dice: np.random.Generator, back: int
) -> float:
    """Median ms of one series' readings up to now, fetched."""
    took = []
    for series in dice.integers(1, size.read_series, 15).tolist():
        began = time.perf_counter()
        await connection.fetch(
            "SELECT ts, value FROM readings WHERE series_id = $1 AND ts > $2 AND ts <= $3"
            " ORDER BY ts",
            series, TODAY + DAY_US - back, TODAY + DAY_US,
        )  # fmt: skip
        took.append(1e3 * (time.perf_counter() - began))
    return round(statistics.median(took), 2)


async def recover(connection: asyncpg.Connection, size: Size) -> float:
    """Median ms of the last hour of 500 series at once, as windows are rebuilt."""
    wanted = list(range(1, min(500, size.read_series) + 1))
    took = []
    for _ in range(3):
        began = time.perf_counter()
        await connection.fetch(
            "SELECT r.series_id, r.ts, r.value FROM unnest($1::int4[]) AS wanted (series_id)"
            " JOIN readings r ON r.series_id = wanted.series_id AND r.ts > $2 AND r.ts <= $3"
            " ORDER BY 1, 2",
            wanted, TODAY + DAY_US - 3_600_000_000, TODAY + DAY_US,
        )  # fmt: skip
        took.append(1e3 * (time.perf_counter() - began))
    return round(statistics.median(took), 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    directory = Path(tempfile.mkdtemp(prefix="atl-commit-"))
    directory.chmod(0o755)
    try:
        cluster = locate(directory)
        start(cluster)
        try:
            reads = asyncio.run(read_all(cluster.url(), size))
            writes = asyncio.run(write_all(cluster.url(), size))
        finally:
            stop(cluster)
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    print(f"{'rows/s':<26}" + "".join(f"{layout:>14}" for layout in LAYOUTS))
    rates = {(w["batch"], w["again"], w["writers"], w["layout"]): w["rows_per_s"] for w in writes}
    for batch, again, writers in dict.fromkeys(key[:3] for key in rates):
        name = f"{batch:,}, {again:.0%} again, {writers} w."
        line = "".join(f"{rates[batch, again, writers, layout]:>14,}" for layout in LAYOUTS)
        print(f"{name:<26}{line}")
    for column in reads[0]:
        if column != "layout":
            print(f"{column:<26}" + "".join(f"{found[column]:>14}" for found in reads))
    used = reads[0]
    headline = {"rows_per_s": rates[10_000, 0, 1, IN_USE]} | {
        key: used[key] for key in ("query_hour_ms", "query_day_ms", "bytes_per_reading")
    }
    if options.json:
        result = {"headline": headline, "writes": writes, "reads": reads}
        options.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
