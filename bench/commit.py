"""Which layout the open partition of readings should have: writes weighed with reads and disk.

    .venv/bin/python bench/commit.py [--quick] [--json FILE]

An embedded Postgres with the product's schema, fsync on, and a day that is open in each layout
(`layouts.py`), filled with 5 million readings of 5,000 series in turn (5 tenants) before anything
is measured, beside 90 closed days of a reading an hour of the 1,000 series that are asked for.
Then all that again, with fewer cases, for 50,000 series: as many readings, ten times as many places
in an index that begins with the series. Batches are committed by the engine's own transaction;
'again' is the share of a batch that is stored already, drawn from the last hour, or from the whole
day so far. The road of queries is asked for single series (`range_aio`), and that of recovery for
the last 10 minutes (`window_chunk_aio`), as the role of the faces under row-level security; with
(ts, series) also for windows of a snapshot 5 minutes old and the rows since. Layouts are visited in
turn, in rounds, and kept at equal sizes; a case that is too slow is cut off. Figures are medians
over the rounds; ratios are to the layout in use in the same round, with the lowest and the highest.
Everything is in the page cache. At last each day is closed and its key proves that nothing was
stored twice.

Before that, small scenes (`layout_checks.py`) show what each layout dedupes.

JSON keys: `headline` {rows_per_s (batches of 10,000, nothing again), query_hour_ms, query_day_ms,
bytes_per_reading} of the layout in use and 5,000 series; `promises` [{layout, ...}]; `writes`
[{series, case, layout, rows_per_s, ratio, low, high}]; `reads` [{series, case, layout, ms, ratio,
low, high}]; `disk` [{series, layout, rows, bytes_per_reading, close_s, bytes_per_reading_closed}].
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from atalaia.model.ids import DAY_US, HOUR_US
from atalaia.storage.binary import encode_readings
from atalaia.storage.cluster import locate
from atalaia.storage.commit import take_lease_aio
from atalaia.storage.embedded import start, stop
from atalaia.storage.migrate import migrate_aio
from atalaia.storage.partitions import Partition
from layout_checks import PROMISES, check_all
from layout_rounds import Bench, Case, Size
from layouts import (
    ASKED_SERIES,
    IN_USE,
    LAYOUTS,
    TENANTS,
    TODAY,
    Fleet,
    OpenDay,
    attach,
    connect,
)
from server import say

FREE_BYTES = 10 << 30

MORE_SERIES = (
    *(Case(batch) for batch in (1_000, 10_000, 100_000)),
    Case(10_000, 0.01),
    Case(10_000, writers=2),
)
CASES = (
    *(Case(batch, again) for batch in (1_000, 10_000, 100_000) for again in (0, 0.01, 0.5)),
    Case(10_000, 0.01, DAY_US),
    *(Case(batch, writers=2) for batch in (1_000, 10_000, 100_000)),
)
FULL = tuple(
    Size(
        Fleet(series), cases, filled=5_000_000, rounds=3, most_s=2, questions=15,
        rows={1_000: 30_000, 10_000: 80_000, 100_000: 100_000},
    ) for series, cases in ((5_000, CASES), (50_000, MORE_SERIES))
)  # fmt: skip
QUICK = tuple(
    Size(
        Fleet(series), cases, filled=300_000, rounds=1, most_s=0.5, questions=5,
        rows={1_000: 10_000, 10_000: 30_000, 100_000: 100_000},
    ) for series, cases in ((5_000, CASES), (50_000, MORE_SERIES))
)  # fmt: skip
CLOSED_DAYS = 90
Found = dict[tuple[str, str], list[float]]  # case and layout -> one figure per round


async def prepare(url: str) -> None:
    """The product's schema, but for the key of the whole: with it every partition had it too."""
    admin = await connect(url)
    await migrate_aio(admin)
    await admin.execute("ALTER TABLE readings DROP CONSTRAINT readings_pkey")
    await admin.execute(
        "INSERT INTO tenants (tenant_uuid, name)"
        " SELECT gen_random_uuid(), 'bench' FROM generate_series(1, $1::int4)", TENANTS,
    )  # fmt: skip
    for number in range(CLOSED_DAYS):
        begin = TODAY - (number + 1) * DAY_US
        partition = Partition(begin, begin + DAY_US, f"closed_{number}")
        await admin.execute(f"CREATE TABLE {partition.name} (LIKE readings INCLUDING ALL)")
        await admin.execute(IN_USE.index.format(partition.name))
        at = np.arange(ASKED_SERIES * 24)
        ts = begin + at // ASKED_SERIES * HOUR_US
        series, ones = (1 + at % ASKED_SERIES).astype(np.int32), np.ones(len(at), np.int32)
        stream = encode_readings(ones, series, ts, ts % 1_000_003 / 7, ts)
        await admin.copy_to_table(partition.name, source=BytesIO(stream), format="binary")
        await attach(admin, partition)
    await admin.execute("VACUUM (ANALYZE) readings")
    await admin.close()


async def measure(url: str, sizes: Sequence[Size]) -> dict[str, Any]:
    await prepare(url)
    say("promises")
    result: dict[str, Any] = {"promises": await check_all(url)}
    admin, reader = await connect(url), await connect(url, "atalaia_app")
    await reader.execute("SELECT set_config('app.tenant_id', '1', false)")
    writers = [await connect(url, "atalaia_writer") for _ in range(2)]
    epoch = await take_lease_aio(writers[0])
    for size in sizes:
        bench = Bench(size, admin, writers, reader, epoch, np.random.default_rng(11))
        for name, rows in (await measure_fleet(bench)).items():
            series = {"series": size.fleet.series}
            result[name] = result.get(name, []) + [series | row for row in rows]
    for connection in (admin, reader, *writers):
        await connection.close()
    return result


async def measure_fleet(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    size = bench.size
    days = [OpenDay(layout, size.fleet, f"open{n}") for n, layout in enumerate(LAYOUTS)]
    for day in days:
        began = time.perf_counter()
        await day.make(bench.admin)
        await bench.fill(day, size.filled)
        await day.vacuum(bench.admin)
        say(f"{day.layout.name}: {day.rows:,} rows in {time.perf_counter() - began:.0f} s")
    writes: Found = defaultdict(list)
    reads: Found = defaultdict(list)
    for number in range(1, size.rounds + 1):
        turn = days[number % len(days) :] + days[: number % len(days)]
        for case in size.cases:
            for day in turn:
                writes[str(case), day.layout.name].append(await bench.write(day, case))
            say(f"{size.fleet.series:,} series, round {number} of {size.rounds}: {case}")
        answers: dict[str, set[int]] = defaultdict(set)
        for day in turn:
            for name, (took, rows) in (await bench.read(day)).items():
                reads[name, day.layout.name].append(took)
                answers[name].add(rows)
        say(f"{size.fleet.series:,} series, round {number} of {size.rounds}: reads")
        differ = [name for name, rows in answers.items() if len(rows) > 1]
        if differ:
            raise AssertionError(f"layouts give different answers: {differ}")
    return {
        "writes": compare(writes, "rows_per_s"),
        "reads": compare(reads, "ms"),
        "disk": [await close(bench.admin, day) for day in days],
    }


async def close(admin: asyncpg.Connection, day: OpenDay) -> dict[str, Any]:
    say(f"closing {day.layout.name}")
    taken = await day.size(admin)
    began = time.perf_counter()
    await day.close(admin)
    took = time.perf_counter() - began
    (table,) = day.names
    stored = await admin.fetchval(f"SELECT count(*) FROM {table}")
    if stored != day.rows:
        raise AssertionError(f"{day.layout.name}: {stored:,} rows of {day.rows:,}")
    closed = await day.size(admin)
    await day.drop(admin)
    return {
        "layout": day.layout.name,
        "rows": day.rows,
        "bytes_per_reading": round(taken / day.rows, 1),
        "close_s": round(took, 1),
        "bytes_per_reading_closed": round(closed / day.rows, 1),
    }


def compare(found: Found, unit: str) -> list[dict[str, Any]]:
    """Medians; and the ratios to the layout in use, where it has the same case."""
    table = []
    for (case, layout), figures in found.items():
        middle = statistics.median(figures)
        row = {
            "case": case,
            "layout": layout,
            unit: round(middle) if unit == "rows_per_s" else round(middle, 2),
        }
        used = found.get((case, IN_USE.name))
        if used is not None and layout != IN_USE.name:
            ratios = [one / base for one, base in zip(figures, used, strict=True)]
            row |= {
                "ratio": round(statistics.median(ratios), 2),
                "low": round(min(ratios), 2),
                "high": round(max(ratios), 2),
            }
        table.append(row)
    return table


def show(result: dict[str, Any]) -> None:
    names = [layout.name for layout in LAYOUTS]
    head = f"{' | '.join(names)} |\n|{'---|' * (len(names) + 1)}"
    for series in dict.fromkeys(row["series"] for row in result["disk"]):
        print(f"\n{series:,} series:\n")
        found = {
            name: [row for row in result[name] if row["series"] == series]
            for name in ("writes", "reads", "disk")
        }
        print(f"| rows/s, ratio [lowest, highest] | {head}")
        show_compared(found["writes"], "rows_per_s", names)
        print(f"\n| ms, ratio [lowest, highest] | {head}")
        show_compared(found["reads"], "ms", names)
        for key, label in (
            ("bytes_per_reading", "bytes per reading, open"),
            ("bytes_per_reading_closed", "bytes per reading, closed"),
            ("close_s", "s to close the day"),
        ):
            print(f"| {label} | {' | '.join(str(row[key]) for row in found['disk'])} |")
    print(f"\n| dedupes | {head}")
    for name in result["promises"][0]:
        if name != "layout":
            kept = ("yes" if row[name] else "no" for row in result["promises"])
            print(f"| {name} | {' | '.join(kept)} |")


def show_compared(table: list[dict[str, Any]], unit: str, names: list[str]) -> None:
    cells: dict[tuple[str, str], str] = defaultdict(str)
    for row in table:
        cell = f"{row[unit]:,}"
        if "ratio" in row:
            cell += f", {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        cells[row["case"], row["layout"]] = cell
    for case in dict.fromkeys(row["case"] for row in table):
        print(f"| {case} | {' | '.join(cells[case, name] for name in names)} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="atl-commit-"))
    directory.chmod(0o755)
    if shutil.disk_usage(directory).free < FREE_BYTES:
        sys.exit(f"{directory} needs {FREE_BYTES >> 30} GiB of free disk; set TMPDIR to another.")
    say(f"load {os.getloadavg()}")
    try:
        cluster = locate(directory)
        start(cluster)
        try:
            result = asyncio.run(measure(cluster.url(), QUICK if options.quick else FULL))
        finally:
            stop(cluster)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show(result)

    def used(table: str, key: str, case: str) -> Any:
        rows = (row for row in result[table] if row["layout"] == IN_USE.name)
        return next(row[key] for row in rows if row.get("case", case) == case)

    headline = {
        "rows_per_s": used("writes", "rows_per_s", str(Case(10_000))),
        "query_hour_ms": used("reads", "ms", "one series, last hour"),
        "query_day_ms": used("reads", "ms", "one series, last day"),
        "bytes_per_reading": used("disk", "bytes_per_reading", ""),
    }
    if options.json:
        options.json.write_text(json.dumps({"headline": headline, **result}, indent=2))
    if not all(row[name] for row in result["promises"] for name in PROMISES):
        sys.exit("a layout does not keep a promise")


if __name__ == "__main__":
    main()
