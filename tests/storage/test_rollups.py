"""Rollups: the same answers as from the readings, whatever came late, was lost or is behind."""

import random
from collections.abc import Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from atalaia.buckets.grid import make_grid
from atalaia.buckets.plan import make_plan
from atalaia.buckets.table import Table
from atalaia.engine.asking import Asked, Asking
from atalaia.engine.clock import SystemClock
from atalaia.engine.rolling import roll_up
from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US, HOUR_US, MINUTE_US, Micros, SeriesNo, TenantNo
from atalaia.ports import StoreUnavailable
from atalaia.storage import rolling
from atalaia.storage.rolling import PostgresRollups
from tests.groups import fraction
from tests.stack import Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres

NOW = SystemClock().now_us()
HOUR_MS = HOUR_US // 1000
TODAY_MS = NOW // DAY_US * DAY_US // 1000
START_MS = TODAY_MS - 40 * 24 * HOUR_MS
"""Far enough that packs of every level are complete, whatever the time of day."""

NAMES = ("avg", "min", "max", "sum", "count", "first", "last", "stddev")
SIZES = (MINUTE_US, 7 * MINUTE_US, HOUR_US, 6 * HOUR_US, DAY_US, 5 * DAY_US)


class FromReadings(Asking):
    """Asks as if nothing had been rolled up."""

    async def _plans(self, tenant_no: TenantNo, series: Sequence[SeriesNo], asked: Asked) -> Any:
        nothing: Int64s = np.empty(0, np.int64)
        level = asked.grid.level
        assert level is not None
        begin, end = asked.grid.begin, asked.grid.end
        return [make_plan(begin, end, level, 0, nothing) for _ in series]


def bits(tables: Sequence[Table]) -> list[bytes]:
    return [array.tobytes() for table in tables for array in (table.ts, *table.columns.values())]


async def check(stack: Stack) -> int:
    """Every bucket size over the whole time, with rollups and without; how many buckets."""
    tenant = await stack.tenant_no()
    _, series = await stack.queries.register(tenant)
    numbers = [one.series_no for one in series]
    seen = 0
    for size in SIZES:
        since = START_MS * 1000 if size >= HOUR_US else NOW - 30 * HOUR_US
        grid = make_grid(Micros(since), Micros(NOW), size, None, 10**6)
        asked = Asked(grid, NAMES)
        mine = await Asking(stack.queries).tables(tenant, numbers, asked)
        raw = await FromReadings(stack.queries).tables(tenant, numbers, asked)
        assert bits(mine) == bits(raw), size
        seen += sum(len(table.ts) for table in mine)
    return seen


async def send(stack: Stack, rows: list[dict[str, Any]]) -> None:
    """All of them, though a request may open eight new days only."""
    while True:
        body = (await stack.send(rows)).json()
        if not body["rejected_count"]:
            return
        assert {one["code"] for one in body["rejected"]} == {"retry_later"}
        rows = [rows[one["index"]] for one in body["rejected"]]


async def roll(stack: Stack) -> None:
    with trio.fail_after(60):
        await roll_up(PostgresRollups(stack.database), SystemClock(), None)


async def levels(stack: Stack) -> set[int]:
    return {row["level"] for row in await stack.sql("SELECT DISTINCT level FROM rollups")}


def readings(seed: int, count: int, sensors: int = 2) -> list[dict[str, Any]]:
    """Somewhere within the forty days, in bursts, in order."""
    chance = random.Random(seed)
    rows = []
    for _ in range(max(1, count // 20)):
        at = chance.randrange(START_MS, NOW // 1000 - HOUR_MS)
        for _ in range(20):
            at += chance.choice([1, 900, 60_000, 500_000])
            value = chance.choice([chance.gauss(20, 5), 1e15, -0.1])
            rows.append(row(at, value, sensor=f"s{chance.randrange(sensors)}"))
    return [r for r in rows if r["ts"] < NOW // 1000]


batches = st.lists(
    st.tuples(st.integers(0, 1 << 30), st.integers(1, 120), st.booleans()), min_size=1, max_size=5
)


@hypothesis.settings(
    max_examples=fraction(6),
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@given(batches)
def test_answers_from_rollups_are_those_from_readings(
    database_url: str, batches: list[tuple[int, int, bool]]
) -> None:
    """Bit for bit: with late data, between any two steps, and when all is rolled up."""

    async def live() -> None:
        async with open_stack(database_url) as stack:
            for seed, count, rolled in batches:
                await send(stack, readings(seed, count))
                assert await check(stack)
                if rolled:
                    await roll(stack)
            await check(stack)
            await roll(stack)
            await check(stack)
            assert await stack.sql(
                "SELECT FROM rollup_notes n JOIN rollup_marks m USING (tenant_id)"
                " WHERE m.tenant_id = $1", await stack.tenant_no(),
            ) == []  # fmt: skip

    trio.run(live)


async def test_all_levels_are_stored_and_then_asked(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once rolled up, a question about days reads no reading of before the last hour."""
    await send(stack, [row(START_MS, 1), *readings(1, 400), row(NOW // 1000, 1)])
    await roll(stack)
    assert await levels(stack) == {0, 1, 2}
    body = {"bucket": "1d", "from": START_MS, "agg": ["avg"]}
    scans: list[int] = []
    whole = stack.queries.scan

    def watched(*args: Any, **options: Any) -> Any:
        scans.append(int((args[3] - args[2]).max()))
        return whole(*args, **options)

    monkeypatch.setattr(type(stack.queries), "scan", lambda _, *a, **o: watched(*a, **o))
    response = await stack.client.post("/v1/query", json=body)
    assert response.status_code == 200, response.text
    assert scans
    assert max(scans) <= DAY_US


async def test_long_silence_is_leapt_over_and_no_day_with_it(stack: Stack) -> None:
    """Few steps for weeks without a reading; the days at its ends are made all the same."""
    days = (0, 3, 4, 39)
    await send(stack, [row(START_MS + (24 * day + 10) * HOUR_MS, day) for day in days])
    await send(stack, [row(NOW // 1000, 1, sensor="live")])
    steps, tenant = PostgresRollups(stack.database), await stack.tenant_no()
    count = 1
    while (await steps.step(tenant, 0)).more:
        count += 1
    assert count < 300
    made = await stack.sql("SELECT level, count(*) AS n FROM rollups GROUP BY level ORDER BY level")
    assert [r["n"] for r in made[:2]] == [4, 4]
    assert made[2]["level"] == 2
    await check(stack)


async def test_a_late_reading_is_seen_at_once_and_then_rolled_up(stack: Stack) -> None:
    """Before and after the task has made its hour anew; only that hour and what is over it."""
    at = START_MS + 5 * 24 * HOUR_MS
    await stack.send([row(at + n * 60_000, 1) for n in range(180)])
    await roll(stack)
    before = {(r["level"], r["at"]): r["cells"] for r in await stack.sql("SELECT * FROM rollups")}
    assert (await stack.send([row(at + 90_500, 100)])).json()["late"] == 1
    query = f"/v1/sensors/s/readings?metric=t&bucket=1d&agg=max,count&from={at}&to={at}"
    for _ in range(2):
        (series,) = (await stack.client.get(query)).json()["data"]
        assert (series["max"], series["count"]) == ([100], [181])
        await roll(stack)
    after = {(r["level"], r["at"]): r["cells"] for r in await stack.sql("SELECT * FROM rollups")}
    changed = [key for key, cells in after.items() if before.get(key) != cells]
    assert sorted(level for level, _ in changed) == [0, 1, 2]
    assert len(before) == len(after) == 5


async def test_live_readings_are_not_noted(stack: Stack) -> None:
    """A commit of what arrives within its hour costs no note; a repeat of old ones neither."""
    now_ms = SystemClock().now_us() // 1000
    await stack.send([row(now_ms, 1)])
    hour = await stack.sql("SELECT received_at FROM readings")
    if hour[0]["received_at"].hour == SystemClock().now_us() // HOUR_US % 24:
        assert await stack.sql("SELECT FROM rollup_notes") == []
    await stack.send([row(START_MS, 1)])
    assert len(await stack.sql("SELECT FROM rollup_notes")) == 1
    await stack.send([row(START_MS, 2)])
    assert len(await stack.sql("SELECT FROM rollup_notes")) == 1


async def test_a_note_that_comes_while_its_hour_is_made_stays(stack: Stack) -> None:
    """A reading committed between two steps is never lost for the rollups."""
    for n in range(6):
        await stack.send([row(START_MS + n * 1000, n)])
        step = PostgresRollups(stack.database)
        tenant = await stack.tenant_no()
        await step.step(tenant, 0)
        await stack.send([row(START_MS + n * 1000 + 500, n)])
        await step.step(tenant, 0)
        await check(stack)
    await roll(stack)
    await check(stack)


async def test_steps_are_bounded_and_go_on_where_they_ended(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few series and few rows at a time, and between two steps every answer is right."""
    monkeypatch.setattr(rolling, "STEP_SERIES", 2)
    monkeypatch.setattr(rolling, "STEP_ROWS", 10)
    monkeypatch.setattr(rolling, "STEP_NOTES", 1)
    await stack.send([r for r in readings(3, 200, sensors=5) if r["ts"] > TODAY_MS - 90 * HOUR_MS])
    await stack.send([row(TODAY_MS - 80 * HOUR_MS + n * 60_000, n, sensor=f"s{n % 5}")
                      for n in range(600)])  # fmt: skip
    steps = PostgresRollups(stack.database)
    tenant = await stack.tenant_no()
    more = True
    while more:
        more = (await steps.step(tenant, 0)).more
        if random.Random(1).random() < 0.1:
            await check(stack)
    await check(stack)


async def test_a_step_that_is_cut_off_changes_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its connection is lost: what it wrote is not there, and the next one does all."""
    await send(stack, readings(5, 120))
    steps, tenant = PostgresRollups(stack.database), await stack.tenant_no()
    real, calls = rolling._put_aio, 0

    async def put(connection: Any, *args: Any) -> None:
        nonlocal calls
        calls += 1
        await real(connection, *args)
        if calls % 4 == 0:  # a step writes three times at most: every other one gets through
            connection.terminate()

    monkeypatch.setattr(rolling, "_put_aio", put)
    more, lost = True, 0
    with trio.fail_after(60):
        while more:
            try:
                more = (await steps.step(tenant, 0)).more
            except StoreUnavailable:
                lost += 1
                if lost % 20 == 1:
                    await check(stack)
    assert lost > 3
    await check(stack)


async def test_one_tenants_rollups_are_not_anothers(stack: Stack) -> None:
    """Under the policies: neither its cells nor its mark nor its notes."""
    await stack.send([row(START_MS, 1)])
    await roll(stack)
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    other = TenantNo(await stack.tenant_no() + 1)
    numbers = np.array([1], np.int32)
    assert (await stack.queries.rolled(other, numbers)).mark == 0
    assert (await stack.queries.rolled(await stack.tenant_no(), numbers)).mark > 0
    response = await stack.client.post(
        "/v1/query", json={"bucket": "1d", "from": START_MS}, headers={"X-API-Key": key}
    )
    assert response.json()["data"] == []


async def test_cells_beyond_their_retention_go(stack: Stack) -> None:
    """By and by, as hours are rolled up; the others stay."""
    await send(stack, [row(START_MS + n * 24 * HOUR_MS, n) for n in range(30)])
    await roll(stack)
    before = len(await stack.sql("SELECT FROM rollups WHERE level = 0"))
    assert before == 30
    await stack.send([row(NOW // 1000, 1)])
    tenant = await stack.tenant_no()
    await stack.sql("UPDATE rollup_marks SET until = until - interval '1 hour'")
    await PostgresRollups(stack.database).step(tenant, START_MS * 1000 + 10 * DAY_US + HOUR_US)
    left = await stack.sql("SELECT FROM rollups WHERE level = 0")
    assert len(left) == before - 10


async def test_readings_that_are_dropped_live_on_in_their_rollups(stack: Stack) -> None:
    """Aggregates answer beyond the retention of the readings."""
    from tests.storage.test_partitions import month_ms

    at = month_ms(2024, 5)
    await stack.send([row(at + n * 60_000, n) for n in range(100)])
    await roll(stack)
    now = Micros(SystemClock().now_us())
    await stack.store.housekeep(now, 10**9, now - 100 * DAY_US)
    assert await stack.sql("SELECT FROM readings") == []
    query = f"/v1/sensors/s/readings?metric=t&agg=sum&from={at}&to={at + 7_200_000}"
    for bucket in ("1m", "1h", "1d"):
        (series,) = (await stack.client.get(f"{query}&bucket={bucket}")).json()["data"]
        assert sum(series["sum"]) == sum(range(100))
