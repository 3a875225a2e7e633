"""Recovery: how long a tenant's memory takes to be rebuilt, what it costs, and what clients see.

    .venv/bin/python bench/recovery.py [--quick] [--json FILE]

Tenants of many series (a sensor each) at a reading per second, in an embedded Postgres, filled as
the flusher fills it; five rules over windows of 5 minutes (300 readings) and 1 minute, or of 1 hour
(3,600 readings), one of which waits at every sensor, so that there is a state to restore for each.
A tenant is rebuilt by the road that every start, crash, return and rule edit takes (recover),
three times; the median counts, of memory and stalls the worst. query: waiting for Postgres and
the bridge; warm: windows from readings; restore: states of rules; the rest: sensors and series.
MiB: of windows and states, what stays of the process, and what was taken beyond it on the way;
stall: the longest time that the event loop served nobody.

Then a tenant is rebuilt by a rule edit while it is sent 20 batches of 1,000 a second, whatever
comes back, and another tenant one of 100 every 50 ms: answers in ms, and refusals (429).

JSON keys: `headline` {s_per_1000_series (300 readings, most series), s_per_1000_series_hour,
beyond_mib, stall_ms (both the worst of all), edit_s, p99_ms, refused, p99_neighbour_ms,
inbox_rows, inbox_limit}; `cases` the table's rows; `load` before and while it was rebuilt.
"""

import argparse
import json
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import asyncpg
import numpy as np
import structlog
import trio

sys.path.insert(0, str(Path(__file__).parent))
from atalaia.bridge import open_bridge
from atalaia.engine.clock import SystemClock
from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule
from atalaia.engine.recover import recover
from atalaia.engine.threads import Threads
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import Overloaded
from atalaia.model.ids import SECOND_US, Micros, TenantNo
from atalaia.ports import CommitItem
from atalaia.rules.states import States
from atalaia.rules.tenant_state import TenantRules, compile_kernel
from atalaia.security.api_keys import parse_key
from atalaia.storage.cluster import locate
from atalaia.storage.database import open_database
from atalaia.storage.embedded import start, stop
from atalaia.storage.engine_store import PostgresEngineStore, open_engine_store
from atalaia.storage.queries import PostgresQueries
from server import say, tenant_keys

COPY_ROWS = 500_000
ROUNDS = 3
RULES = (
    "avg(t, {w}) > 99 for 10s clear when avg(t, {w}) < 90",
    "min(t, {w}) < -99",
    "stddev(t, 1m) > 99",
    "max(t, 1m) > 99",
    "count(t, {w}) > 0 for 7d",  # waits everywhere
)
MIB = 1 << 20
LIMITS = EngineLimits(tenant_bytes=4 << 30)  # a tenant has 256 MiB unless more is given


@dataclass
class Timed:
    """A store and rules that say how long they were waited for."""

    query_s: float = 0.0
    warm_s: float = 0.0
    restore_s: float = 0.0
    rows: int = 0
    chunk_rows: int = 0

    def watch(self, kind: type, name: str) -> Any:
        inner = getattr(kind, name)

        def timed(this: Any, *args: Any) -> None:
            began = time.perf_counter()
            inner(this, *args)
            took = time.perf_counter() - began
            if name == "warm":
                self.warm_s += took
                self.rows += len(args[0])
            else:
                self.restore_s += took

        return mock.patch.object(kind, name, timed)


@dataclass
class TimedStore:
    """What recovery asks for."""

    store: PostgresEngineStore
    timed: Timed

    async def load_tenant(self, tenant_no: TenantNo) -> Any:
        began = time.perf_counter()
        found = await self.store.load_tenant(tenant_no)
        self.timed.query_s += time.perf_counter() - began
        return found

    async def window_rows(self, *args: Any) -> AsyncIterator[Any]:
        chunks = self.store.window_rows(*args)
        while True:
            began = time.perf_counter()
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            finally:
                self.timed.query_s += time.perf_counter() - began
            self.timed.chunk_rows = max(self.timed.chunk_rows, len(chunk[0]))
            yield chunk


def memory_mib(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split(name)[1].split()[0]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): VmHWM begins anew


@dataclass
class Stalls:
    """How late a task wakes that sleeps for a millisecond."""

    most_ms: float = 0.0

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await trio.sleep(0.001)
            self.most_ms = max(self.most_ms, 1_000 * (time.perf_counter() - began) - 1)


def series_names(count: int) -> list[SeriesName]:
    return [SeriesName(f"s{n:05}", "t") for n in range(count)]


async def make(
    url: str, store: PostgresEngineStore, queries: PostgresQueries, series: int, readings: int
) -> TenantNo:
    """A tenant with its rules, and so many readings of each series, the last of them just now."""
    (text,) = await trio.to_thread.run_sync(tenant_keys, url, 1)
    key = parse_key(text)
    assert key is not None
    record = await queries.find_key(key.key_id)
    assert record is not None
    number, clock = record.tenant_no, SystemClock()
    numbers: list[int] = []
    names = series_names(series)
    for first in range(0, series, 5_000):
        _, rows = await store.register(number, names[first : first + 5_000], clock.now_us())
        numbers += [row.series_no for row in rows]
    numbers.sort()
    now = clock.now_us()
    times = now // SECOND_US * SECOND_US + np.arange(1 - readings, 1) * SECOND_US
    await store.ensure_partitions(TenantNo(1), times[[0, -1]], now)
    random = np.random.default_rng(1)
    none32, none = np.empty(0, np.int32), np.empty(0, np.int64)
    step = max(1, COPY_ROWS // readings)
    for first in range(0, series, step):
        part = np.array(numbers[first : first + step], np.int32)
        item = CommitItem(
            tenant_no=number,
            received_at=Micros(now + first),
            fresh_series=np.repeat(part, readings),
            fresh_ts=np.tile(times, len(part)),
            fresh_value=random.normal(20, 3, len(part) * readings),
            old_series=none32,
            old_ts=none,
            old_value=np.empty(0),
            touched=part,
            newest=np.full(len(part), times[-1]),
            rule_states=b"",
        )
        await store.commit_group(uuid4(), [item])
    window = f"{readings}s"
    async with open_engine(store, clock, LIMITS) as gate:
        for n, condition in enumerate(RULES):
            text = f"rule r{n} on sensors when {condition.format(w=window)}"
            await gate.edit_rule(number, CreateRule(text)).wait()
        last = clock.now_us()
        for first in range(0, series, 20_000):
            await gate.submit(number, batch(names[first : first + 20_000], last)).wait()
    return number


def batch(names: list[SeriesName], now: int) -> Batch:
    count = len(names)
    return Batch(
        names=tuple(names), idx=np.arange(count, dtype=np.int32),
        ts=np.full(count, now, np.int64), value=np.full(count, 20.0),
        row=np.arange(count, dtype=np.int32), rejects=(), sent=count,
    )  # fmt: skip


async def rebuild(store: PostgresEngineStore, number: TenantNo) -> dict[str, float]:
    timed, stalls = Timed(), Stalls()
    before = memory_mib("VmRSS:")
    forget_peak()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalls.watch)
        await trio.sleep(0.01)
        began = time.perf_counter()
        with timed.watch(TenantRules, "warm"), timed.watch(States, "restore"):
            state, image = await recover(
                TimedStore(store, timed),  # type: ignore[arg-type]
                number,
                Threads(),
                None,
                LIMITS.tenant_bytes,
            )
        took = time.perf_counter() - began
        await trio.sleep(0.002)
        nursery.cancel_scope.cancel()
    peak = memory_mib("VmHWM:")
    series = len(image.series)
    del image
    stays = memory_mib("VmRSS:") - before
    return {
        "series": series,
        "rows": timed.rows,
        "seconds": took,
        "s_per_1000_series": 1_000 * took / series,
        "query_s": timed.query_s,
        "warm_s": timed.warm_s,
        "restore_s": timed.restore_s,
        "rest_s": took - timed.query_s - timed.warm_s - timed.restore_s,
        "windows_mib": state.rules.used_bytes / MIB,
        "stays_mib": stays,
        "beyond_mib": peak - before - max(stays, 0.0),
        "most_rows_at_once": timed.chunk_rows,
        "stall_ms": stalls.most_ms,
    }


@dataclass
class Client:
    """Sends at a steady pace, whatever comes back, and notes what does."""

    gate: Gate
    number: TenantNo
    names: list[SeriesName]
    rows: int
    pause_s: float
    answers: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    most_unsettled: int = 0

    async def run(self) -> None:
        clock, place, unsettled = SystemClock(), 0, 0

        async def one(sent: Batch) -> None:
            nonlocal unsettled
            began = trio.current_time()
            try:
                receipt = self.gate.submit(self.number, sent)
            except Overloaded:
                self.refused.append(began)
                return
            unsettled += len(sent)
            self.most_unsettled = max(self.most_unsettled, unsettled)
            answer = await receipt.wait()
            assert answer.accepted == len(sent)
            unsettled -= len(sent)
            self.answers.append((began, trio.current_time() - began))

        async with trio.open_nursery() as nursery:
            due = trio.current_time()
            while True:
                some = self.names[place : place + self.rows]
                place = (place + self.rows) % len(self.names)
                nursery.start_soon(one, batch(some, clock.now_us()))
                due += self.pause_s
                await trio.sleep_until(due)

    def figures(self, since: float, until: float) -> dict[str, float]:
        took = sorted(took for began, took in self.answers if since <= began < until)
        return {
            "batches": len(took),
            "p50_ms": 1_000 * took[len(took) // 2],
            "p99_ms": 1_000 * took[min(len(took) - 1, int(0.99 * len(took)))],
            "max_ms": 1_000 * took[-1],
            "refused": sum(since <= at < until for at in self.refused),
        }


async def under_load(
    store: PostgresEngineStore, number: TenantNo, other: TenantNo, series: int, calm_s: float
) -> dict[str, Any]:
    async with open_engine(store, SystemClock(), LIMITS) as gate:
        busy = Client(gate, number, series_names(series), 1_000, 0.05)
        quiet = Client(gate, other, series_names(100), 100, 0.05)
        for client in (busy, quiet):
            await gate.submit(client.number, batch(client.names[:1], SystemClock().now_us())).wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy.run)
            nursery.start_soon(quiet.run)
            await trio.sleep(1)
            calm = trio.current_time()
            await trio.sleep(calm_s)
            busy.most_unsettled = 0
            edited = trio.current_time()
            text = f"rule edited on sensors when avg(t, {30 + series % 7}s) > 99"
            await gate.edit_rule(number, CreateRule(text)).wait()
            # The first batch behind the edit is answered when the tenant has been rebuilt.
            await gate.submit(number, batch(busy.names[:1], SystemClock().now_us())).wait()
            rebuilt = trio.current_time()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    return {
        "edit_s": rebuilt - edited,
        "inbox_rows": busy.most_unsettled,
        "inbox_limit": LIMITS.inbox_rows,
        "before": busy.figures(calm, edited),
        "meanwhile": busy.figures(edited, rebuilt),
        "neighbour_before": quiet.figures(calm, edited),
        "neighbour_meanwhile": quiet.figures(edited, rebuilt),
    }


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[tuple[PostgresEngineStore, PostgresQueries]]:
    async with (
        open_bridge() as bridge,
        open_database(bridge, url) as database,
        open_engine_store(database, SystemClock().now_us()) as store,
    ):
        yield store, PostgresQueries(database)


async def lift_quota_aio(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER TABLE tenants ALTER max_series SET DEFAULT 1000000")
    await connection.close()


async def measure(url: str, sizes: list[tuple[int, int]]) -> tuple[list[dict[str, float]], Any]:
    cases: list[dict[str, float]] = []
    tenants: list[TenantNo] = []
    async with open_bridge() as bridge, open_database(bridge, url):
        await bridge.call(lift_quota_aio, url)
    async with open_store(url) as (store, queries):
        for series, readings in sizes:
            began = time.perf_counter()
            tenants.append(await make(url, store, queries, series, readings))
            say(f"  {series:,} series of {readings:,} readings: filled in"
                f" {time.perf_counter() - began:.0f} s")  # fmt: skip
            rounds = [await rebuild(store, tenants[-1]) for _ in range(ROUNDS)]
            cases.append(
                {"readings": readings}
                | {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
                | {name: max(one[name] for one in rounds) for name in ("beyond_mib", "stall_ms")}
            )
        small = await make(url, store, queries, 100, 300)
        loaded = max(n for n, (_, readings) in enumerate(sizes) if readings == 300 and n < 2)
        say(f"  a rule edit under load, {sizes[loaded][0]:,} series")
        load = await under_load(store, tenants[loaded], small, sizes[loaded][0], 4)
    return cases, load


def show(cases: list[dict[str, float]], load: dict[str, Any]) -> None:
    names = (
        ("series", "series", 0), ("readings", "each", 0), ("seconds", "s", 2),
        ("s_per_1000_series", "s/1,000", 3), ("query_s", "query", 2), ("warm_s", "warm", 2),
        ("restore_s", "restore", 2), ("rest_s", "rest", 2), ("windows_mib", "windows MiB", 0),
        ("stays_mib", "stays MiB", 0), ("beyond_mib", "beyond MiB", 0),
        ("most_rows_at_once", "rows at once", 0), ("stall_ms", "stall ms", 1),
    )  # fmt: skip
    print(" ".join(f"{title:>12}" for _, title, _ in names))
    for case in cases:
        print(" ".join(f"{case[name]:>12,.{digits}f}" for name, _, digits in names))
    print(f"\na rule edit under load took {load['edit_s']:.2f} s; most rows unsettled"
          f" {load['inbox_rows']:,} of {load['inbox_limit']:,}")  # fmt: skip
    print(f"{'':<22} {'batches':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'refused':>8}")
    for name in ("before", "meanwhile", "neighbour_before", "neighbour_meanwhile"):
        row = load[name]
        print(f"{name.replace('_', ', '):<22} {row['batches']:>8} {row['p50_ms']:>8.1f}"
              f" {row['p99_ms']:>8.1f} {row['max_ms']:>8.1f} {row['refused']:>8}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer series")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    compile_kernel()
    sizes = [(1_000, 300), (10_000, 300), (50_000, 300), (1_000, 3_600), (5_000, 3_600)]
    if options.quick:
        sizes = [(1_000, 300), (3_000, 300), (200, 3_600)]
    directory = Path(tempfile.mkdtemp(prefix="atl-bench-"))
    directory.chmod(0o755)
    cluster = locate(directory)
    start(cluster)
    try:
        cases, load = trio.run(measure, cluster.url(), sizes)
    finally:
        stop(cluster)
        shutil.rmtree(directory)
    show(cases, load)
    if options.json:
        few = [case for case in cases if case["readings"] == 300]
        hours = [case for case in cases if case["readings"] == 3_600]
        headline = {
            "s_per_1000_series": few[-1]["s_per_1000_series"],
            "s_per_1000_series_hour": hours[-1]["s_per_1000_series"],
            "beyond_mib": max(case["beyond_mib"] for case in cases),
            "stall_ms": max(case["stall_ms"] for case in cases),
            "edit_s": load["edit_s"],
            "p99_ms": load["meanwhile"]["p99_ms"],
            "refused": load["meanwhile"]["refused"],
            "p99_neighbour_ms": load["neighbour_meanwhile"]["p99_ms"],
            "inbox_rows": load["inbox_rows"],
            "inbox_limit": load["inbox_limit"],
        }
        report = {"headline": headline, "cases": cases, "load": load}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
