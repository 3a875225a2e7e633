"""How many rows and how many batches a group commit should take: the flusher's two bounds.

    .venv/bin/python bench/group.py [--quick] [--json FILE]

An embedded Postgres and the engine's own commit_group, one commit at a time as the flusher does
it. Groups of 1,000 to 100,000 rows in batches of 1,000, all of different tenants or ten of each;
and groups of 10 to 2,000 batches of one row, all of different tenants. Rows go to yesterday's
partition, newer than any of their series (50 per tenant). Rounds visit every shape in turn, so
that noise and the growing index hit all alike. A group waits for the one before it, so a batch is
answered after one to two times the commit's time.

JSON keys: `headline` {rows_per_s_at_default, p50_ms_at_default (groups of group_rows, a batch per
tenant), items_per_s_at_default (groups of group_items batches of one row)}; `shapes` the table's
rows {rows, items, tenants, rows_per_s, items_per_s, p50_ms, p99_ms, commits}.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trio

sys.path.insert(0, str(Path(__file__).parent))
from atalaia.bridge import open_bridge
from atalaia.engine.clock import SystemClock
from atalaia.engine.limits import EngineLimits
from atalaia.model.ids import DAY_US, Micros, TenantNo, uuid7
from atalaia.ports import CommitItem
from atalaia.storage.cluster import locate
from atalaia.storage.database import open_database
from atalaia.storage.embedded import start, stop
from atalaia.storage.engine_store import PostgresEngineStore, open_engine_store
from atalaia.telemetry.logging import configure_logging
from server import say, tenant_keys

BATCH = 1_000
SERIES = 50  # per tenant
STEP_US = 1_000  # between two readings of a series: a day has room for 86 million
ROWS_PER_TURN, ITEMS_PER_TURN = 100_000, 2_000  # what a shape commits in one round
TENANTS = 2_000


@dataclass(frozen=True)
class Shape:
    """What one commit takes."""

    items: int
    rows_per_item: int
    tenants: int

    @property
    def rows(self) -> int:
        return self.items * self.rows_per_item

    @property
    def commits_per_turn(self) -> int:
        if self.rows_per_item == 1:
            return max(1, ITEMS_PER_TURN // self.items)
        return max(1, ROWS_PER_TURN // self.rows)


@dataclass
class Feed:
    """Batches as the actors would hand them over; every one is newer than all before it."""

    clock: SystemClock
    first_us: int
    steps: int = 0

    def group(self, shape: Shape) -> list[CommitItem]:
        return [self._item(1 + n % shape.tenants, shape.rows_per_item) for n in range(shape.items)]

    def _item(self, tenant: int, rows: int) -> CommitItem:
        width = min(SERIES, rows)
        depth = rows // width
        series = (SERIES * tenant + np.arange(width)).astype(np.int32)
        ts = self.first_us + STEP_US * np.arange(self.steps, self.steps + depth)
        self.steps += depth
        none = np.empty(0, np.int64)
        return CommitItem(
            tenant_no=TenantNo(tenant),
            received_at=self.clock.now_us(),
            fresh_series=np.repeat(series, depth),
            fresh_ts=np.tile(ts, width),
            fresh_value=np.tile(20 + np.arange(depth) % 100 / 10, width),
            old_series=none.astype(np.int32),
            old_ts=none,
            old_value=none.astype(np.float64),
            touched=series,
            newest=np.full(width, ts[-1]),
            rule_states=b"",
        )


@dataclass
class Timings:
    """What the commits of one shape took."""

    took_s: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        ordered = sorted(self.took_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def shapes(limits: EngineLimits) -> list[Shape]:
    wide = [
        Shape(rows // BATCH, BATCH, max(1, rows // BATCH // share))
        for rows in sorted({1_000, 5_000, 10_000, 20_000, 50_000, 100_000, limits.group_rows})
        for share in (1, 10)
        if rows // BATCH >= share
    ]
    return wide + [
        Shape(items, 1, items) for items in sorted({10, 100, 500, 2_000, limits.group_items})
    ]


async def take_turn(store: PostgresEngineStore, feed: Feed, shape: Shape) -> list[float]:
    took_s = []
    for _ in range(shape.commits_per_turn):
        items = feed.group(shape)
        group_id = uuid7(feed.clock.now_us())
        began = time.perf_counter()
        await store.commit_group(group_id, items)
        took_s.append(time.perf_counter() - began)
    return took_s


async def measure(url: str, rounds: int) -> dict[Shape, Timings]:
    clock = SystemClock()
    now = clock.now_us()
    found = {shape: Timings() for shape in shapes(EngineLimits())}
    async with open_bridge() as bridge, open_database(bridge, url) as database:
        await trio.to_thread.run_sync(tenant_keys, url, TENANTS)
        async with open_engine_store(database, now) as store:
            feed = Feed(clock, now // DAY_US * DAY_US - DAY_US)
            await store.ensure_partitions(TenantNo(1), np.array([feed.first_us]), Micros(now))
            for number in range(rounds + 1):
                for shape, timings in found.items():
                    took_s = await take_turn(store, feed, shape)
                    if number:  # the first round warms up
                        timings.took_s += took_s
                say(f"  round {number}/{rounds}" if number else "  warmed up")
    return found


def figures(shape: Shape, timings: Timings) -> dict[str, float]:
    total_s = sum(timings.took_s)
    return {
        "rows": shape.rows,
        "items": shape.items,
        "tenants": shape.tenants,
        "rows_per_s": shape.rows * len(timings.took_s) / total_s,
        "items_per_s": shape.items * len(timings.took_s) / total_s,
        "p50_ms": timings.percentile_ms(0.5),
        "p99_ms": timings.percentile_ms(0.99),  # of few commits the slowest
        "commits": len(timings.took_s),
    }


def headline(table: list[dict[str, float]], limits: EngineLimits) -> dict[str, float]:
    apart = [line for line in table if line["items"] == line["tenants"]]
    wide = next(line for line in apart if line["rows"] == limits.group_rows)
    narrow = next(line for line in apart if line["rows"] == line["items"] == limits.group_items)
    return {
        "rows_per_s_at_default": wide["rows_per_s"],
        "p50_ms_at_default": wide["p50_ms"],
        "items_per_s_at_default": narrow["items_per_s"],
    }


def show(table: list[dict[str, float]]) -> None:
    print(" | ".join(f"{name:>11}" for name in table[0]))
    for line in table:
        cells = (f"{v:>11,.1f}" if name.endswith("_ms") else f"{v:>11,.0f}"
                 for name, v in line.items())  # fmt: skip
        print(" | ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    configure_logging("console")
    directory = Path(tempfile.mkdtemp(prefix="atl-bench-"))
    directory.chmod(0o755)
    cluster = locate(directory)
    start(cluster)
    try:
        found = trio.run(measure, cluster.url(), 4 if options.quick else 12)
    finally:
        stop(cluster)
        shutil.rmtree(directory)
    table = [figures(shape, timings) for shape, timings in found.items()]
    show(table)
    if options.json:
        report = {"headline": headline(table, EngineLimits()), "shapes": table}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
