"""A backtest: a year of one sensor in memory, a part of it out of Postgres, and what others feel.

    .venv/bin/python bench/backtest.py [--quick] [--json FILE]

From arrays in memory: one sensor-year at a reading per second (31.5 M readings) under 5 rules over
2 windows, in the chunks and with the tally that the service uses; made-up values (a day's swing
and noise, so that alerts open and clear) are made between the chunks, off the clock. Then a sweep
of 50 variants over a twelfth of the year (nothing is scaled up: ns per reading are given).

Out of Postgres (embedded, on this machine, filled before by the service's own commit), through
the bridge and the worker thread, as a request does it: one sensor at a reading per second, 30 days
(7 with --quick), and 500 sensors at a reading per minute, 3 days (1 with --quick); 5 rules. Beside
it, how late a task of the same event loop wakes from a sleep of 1 ms, alone and meanwhile.

JSON keys: `headline` {year_s: seconds for the sensor-year in memory, ns_per_reading,
ns_per_reading_50_variants, postgres_s and postgres_readings_per_s of the one sensor,
postgres_readings_per_s_500_sensors, wake_late_p99_ms_idle, wake_late_p99_ms_meanwhile};
`cases` with what was measured over how many readings and alerts; `versions`.
"""

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID, uuid4

import numba
import numpy as np
import trio

from atalaia.bridge import Bridge, open_bridge
from atalaia.engine.backtest import Backtests
from atalaia.engine.clock import SystemClock
from atalaia.engine.feed import CHUNK_ROWS
from atalaia.model.batch import SeriesName
from atalaia.model.ids import DAY_US, MINUTE_US, SECOND_US, Micros, TenantNo, uuid7
from atalaia.ports import CommitItem
from atalaia.rules.backtest import Backtest, compile_tally
from atalaia.rules.language import parse_rule
from atalaia.rules.silent import Watched
from atalaia.rules.variants import Variant, make_variants
from atalaia.security.api_keys import new_key
from atalaia.storage.accounts import NewTenant, create_tenant
from atalaia.storage.cluster import locate
from atalaia.storage.database import open_database
from atalaia.storage.embedded import start, stop
from atalaia.storage.engine_store import PostgresEngineStore, open_engine_store
from atalaia.storage.queries import PostgresQueries

YEAR_S = 365 * 86_400
FIVE = (
    "when avg(t, 5m) > 27 for 10s clear when avg(t, 5m) < 26",
    "when min(t, 5m) < 2 for 10s clear when min(t, 5m) > 3",
    "when stddev(t, 5m) > 3.3 clear when stddev(t, 5m) < 3.1",
    "when max(t, 1m) > 39 for 10s clear when max(t, 1m) < 38",
    "when count(t, 1m) > 100 clear when count(t, 1m) < 90",
)


def five() -> tuple[Variant, ...]:
    """The five rules as they would stand together in one tenant."""
    return tuple(
        Variant(parse_rule(f"rule r{n} on sensors {condition}"), None, as_written=False)
        for n, condition in enumerate(FIVE)
    )


def fifty() -> tuple[Variant, ...]:
    spec = parse_rule(f"rule r on sensors {FIVE[0]}")
    holds = [SECOND_US * seconds for seconds in (10, 60, 120, 300, 600, 900, 1_800)]
    return make_variants(spec, holds, [24.0 + n / 2 for n in range(6)] + [27.0])


def values(ts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 20 + 8 * np.sin(ts * (2 * np.pi / DAY_US)) + random.normal(0, 3, len(ts))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def in_memory(variants: tuple[Variant, ...], seconds: int) -> tuple[float, int]:
    """(seconds of evaluation, alerts opened)."""
    until = Micros(seconds * SECOND_US)
    backtest = Backtest(UUID(int=7), variants, None, Micros(1), until, "event")
    group = backtest.open_group([Watched(UUID(int=1), "s", {}, ("t",))])
    random = np.random.default_rng(1)
    took = 0.0
    for first in range(0, seconds, CHUNK_ROWS):
        ts = np.arange(first + 1, min(first + CHUNK_ROWS, seconds) + 1) * SECOND_US
        series, value = np.zeros(len(ts), np.int64), values(ts, random)
        began = time.perf_counter()
        group.fold(series, ts, value, ts)
        took += time.perf_counter() - began
    began = time.perf_counter()
    group.close()
    outcome = backtest.outcome()
    took += time.perf_counter() - began
    assert outcome.readings == seconds
    return took, sum(trial.opened for trial in outcome.trials)


async def fill(
    store: PostgresEngineStore,
    tenant_no: TenantNo,
    sensors: int,
    step_us: int,
    since: int,
    days: int,
) -> None:
    """Commit readings as the flusher does, day by day."""
    names = [SeriesName(f"s{n}", "t") for n in range(sensors)]
    _, series = await store.register(tenant_no, names, Micros(since))
    numbers = np.sort(np.array([row.series_no for row in series], np.int32))
    random = np.random.default_rng(1)
    none32, none = np.empty(0, np.int32), np.empty(0, np.int64)
    for day in range(days):
        times = since + day * DAY_US + np.arange(0, DAY_US, step_us)
        await store.ensure_partitions(TenantNo(1), times[:1], Micros(since + days * DAY_US))
        ts = np.tile(times, sensors)
        item = CommitItem(
            tenant_no=tenant_no,
            received_at=Micros(since + (day + 1) * DAY_US),
            fresh_series=np.repeat(numbers, len(times)),
            fresh_ts=ts,
            fresh_value=values(ts, random),
            old_series=none32,
            old_ts=none,
            old_value=np.empty(0),
            touched=numbers,
            newest=np.full(sensors, times[-1]),
            rule_states=b"",
        )
        await store.commit_group(uuid4(), [item])


async def from_postgres(
    backtests: Backtests, tenant_no: TenantNo, since: int, until: int
) -> tuple[float, int, int]:
    """(seconds end to end, readings, alerts opened)."""
    backtest = Backtest(UUID(int=7), five(), None, Micros(since), Micros(until), "event")
    began = time.perf_counter()
    async for _ in backtests.run(tenant_no, backtest):
        pass
    outcome = backtest.outcome()
    took = time.perf_counter() - began
    return took, outcome.readings, sum(trial.opened for trial in outcome.trials)


async def lateness(late: list[float]) -> None:
    """How much later than asked sleeps of 1 ms end, in ms, until cancelled."""
    while True:
        began = time.perf_counter()
        await trio.sleep(0.001)
        late.append(1_000 * (time.perf_counter() - began) - 1)


def p99(late: list[float]) -> float:
    return sorted(late)[int(0.99 * len(late))]


async def tenant(bridge: Bridge, url: str, name: str, queries: PostgresQueries) -> TenantNo:
    key = new_key()
    now = SystemClock().now_us()
    made = NewTenant(uuid7(now), name, f"{name}@example.org", "no password", key)
    await create_tenant(bridge, url, made, now)
    record = await queries.find_key(key.key_id)
    assert record is not None
    return record.tenant_no


async def with_postgres(url: str, quick: bool) -> dict[str, dict[str, float]]:
    clock = SystemClock()
    today = clock.now_us() // DAY_US * DAY_US
    cases = {}
    async with (
        open_bridge() as bridge,
        open_database(bridge, url) as database,
        open_engine_store(database, clock.now_us()) as store,
    ):
        queries = PostgresQueries(database)
        backtests = Backtests(queries, clock)
        idle: list[float] = []
        with trio.move_on_after(2):
            await lateness(idle)
        for name, sensors, step_us, days in (
            ("one sensor, 1 Hz", 1, SECOND_US, 7 if quick else 30),
            ("500 sensors, 1/min", 500, MINUTE_US, 1 if quick else 3),
        ):
            number = await tenant(bridge, url, f"t{sensors}", queries)
            since = today - days * DAY_US
            say(f"  filling Postgres: {name}, {days} days")
            await fill(store, number, sensors, step_us, since, days)
            late: list[float] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lateness, late)
                took, readings, opened = await from_postgres(backtests, number, since, today)
                nursery.cancel_scope.cancel()
            assert readings == sensors * days * DAY_US // step_us
            cases[f"Postgres, {name}, {days} days"] = {
                "seconds": took, "readings": readings, "alerts": opened,
                "wake_late_p99_ms_idle": p99(idle), "wake_late_p99_ms_meanwhile": p99(late),
                "wake_late_max_ms_meanwhile": max(late),
            }  # fmt: skip
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer days out of Postgres")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    compile_tally()
    in_memory(five(), 1_000)
    cases: dict[str, dict[str, float]] = {}
    for name, variants, seconds in (
        ("memory, a sensor-year, 5 rules", five(), YEAR_S),
        ("memory, a twelfth of it, 50 variants", fifty(), YEAR_S // 12),
    ):
        say(f"  {name}")
        took, opened = in_memory(variants, seconds)
        cases[name] = {"seconds": took, "readings": seconds, "alerts": opened}
    directory = Path(tempfile.mkdtemp(prefix="atl-bench-"))
    directory.chmod(0o755)
    cluster = locate(directory)
    start(cluster)
    try:
        cases |= trio.run(with_postgres, cluster.url(), options.quick)
    finally:
        stop(cluster)
        shutil.rmtree(directory)
    print(
        f"{'':<40} {'seconds':>8} {'readings':>12} {'ns each':>8} {'readings/s':>12} {'alerts':>9}"
    )
    for name, case in cases.items():
        ns, rate = 1e9 * case["seconds"] / case["readings"], case["readings"] / case["seconds"]
        print(
            f"{name:<40} {case['seconds']:>8.2f} {case['readings']:>12,} {ns:>8.0f} {rate:>12,.0f}"
            f" {case['alerts']:>9,}"
        )
    year, sweep, one, many = cases.values()
    print(
        f"a sleep of 1 ms ends late, p99: {one['wake_late_p99_ms_idle']:.2f} ms alone,"
        f" {one['wake_late_p99_ms_meanwhile']:.2f} ms meanwhile"
        f" (at most {one['wake_late_max_ms_meanwhile']:.1f})"
    )
    if options.json:
        headline = {
            "year_s": year["seconds"],
            "ns_per_reading": 1e9 * year["seconds"] / year["readings"],
            "ns_per_reading_50_variants": 1e9 * sweep["seconds"] / sweep["readings"],
            "postgres_s": one["seconds"],
            "postgres_readings_per_s": one["readings"] / one["seconds"],
            "postgres_readings_per_s_500_sensors": many["readings"] / many["seconds"],
            "wake_late_p99_ms_idle": one["wake_late_p99_ms_idle"],
            "wake_late_p99_ms_meanwhile": one["wake_late_p99_ms_meanwhile"],
        }
        versions = {"python": platform.python_version(), "numba": numba.__version__}
        report = {"headline": headline, "cases": cases, "versions": versions}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
