"""Partitions: where they are made, who may make them, and that no reading is lost between them."""

import asyncio
import itertools
from collections import Counter

import asyncpg
import httpx
import pytest
import trio

from atalaia.engine import engine
from atalaia.engine.clock import SystemClock
from atalaia.engine.limits import EngineLimits
from atalaia.model.ids import DAY_US, Micros, TenantNo
from atalaia.storage import partitions
from atalaia.storage.partitions import Partition, parse_partition
from tests.stack import START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres


def month_ms(year: int, month: int) -> int:
    return parse_partition(f"readings_m{year}{month:02}").from_us // 1000


async def test_partitions_are_days_near_and_months_far(stack: Stack) -> None:
    """And a month that has a day already goes on in days."""
    ensure = "SELECT name FROM ensure_partition($1, $2)"

    async def name(at: int, now: int) -> str:
        return str(await stack.database.as_writer(lambda c: c.fetchval(ensure, at, now)))

    day = parse_partition("readings_d20240115").from_us
    assert await name(day, day + DAY_US) == "readings_d20240115"
    assert await name(day + 400 * DAY_US, day + 800 * DAY_US) == "readings_m202502"
    assert await name(day + DAY_US, day + 800 * DAY_US) == "readings_d20240116"


def test_partition_names_say_their_range() -> None:
    """A December ends with the year."""
    assert parse_partition("readings_m202312") == Partition(
        1_701_388_800_000_000, 1_704_067_200_000_000, "readings_m202312"
    )


async def test_commits_and_new_partitions_do_not_meet(stack: Stack) -> None:
    """Many write into known months while older ones are made: nothing is refused or retried."""
    known = [month_ms(2024, month) for month in range(1, 9)]
    assert (await stack.send([row(at, 0) for at in known])).json()["accepted"] == len(known)
    statuses: Counter[int] = Counter()
    opened = trio.Event()

    async def write(sensor: str) -> None:
        for first in itertools.count(0, 200):
            if opened.is_set():
                return
            offsets = range(first, first + 200)
            rows = [row(at + k, 1, sensor=sensor) for at in known for k in offsets]
            statuses[(await stack.send(rows)).status_code] += 1

    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(write, f"s{n}")
        for number in range(80):
            at = month_ms(2023 - number // 12, 12 - number % 12)
            statuses[(await stack.send([row(at, 1, sensor="old")])).status_code] += 1
        opened.set()
    assert set(statuses) == {200}
    assert (await stack.sql("SELECT count(*) AS n FROM dead_letters"))[0]["n"] == 0


async def test_a_partition_that_was_dropped_is_made_again(database_url: str) -> None:
    """The batch that finds it gone is not buried: 503, and the next try is stored."""
    at = month_ms(2023, 5)
    async with open_stack(database_url, limits=EngineLimits(commit_retry_s=0.1)) as stack:
        assert (await stack.send([row(at, 1)])).status_code == 200
        await stack.sql("DROP TABLE readings_m202305")
        assert (await stack.send([row(at + 1, 1)])).status_code == 503
        assert (await stack.send([row(at + 1, 1)])).json()["accepted"] == 1
        assert await stack.sql("SELECT FROM dead_letters") == []


async def test_a_tenant_opens_its_share_of_partitions_and_no_more(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows first (retry_later), the whole batch when nothing is left (429); others go on."""
    monkeypatch.setattr(partitions, "TENANT_BURST", 3)
    rows = [row(month_ms(2023, month), 1) for month in range(1, 6)]
    first = (await stack.send(rows)).json()
    assert [reject["code"] for reject in first["rejected"]] == ["retry_later"] * 2
    assert (await stack.send(rows)).json()["duplicates"] == 3
    refused = await stack.send(rows[:2])
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    async with httpx.AsyncClient(base_url=stack.url, headers={"X-API-Key": key}) as other:
        answer = await other.post("/v1/readings", json=rows[:2])
    assert answer.json()["accepted"] == 2


async def test_questions_about_what_was_dropped_are_answered(stack: Stack) -> None:
    """Latest, readings, backtest, explain, the alert with its evidence: as if it had never been
    sent, by the actor that knew it and by one that is rebuilt."""
    client, at = stack.client, month_ms(2024, 5)
    rule = await stack.rule("rule hot on sensors when avg(t, 5m) > 20")
    assert (await stack.send([row(at + n, 30, sensor="old") for n in range(3)])).status_code == 200
    assert (await stack.send([row(START_MS, 5, sensor="new")])).status_code == 200
    (alert,) = (await client.get("/v1/alerts")).json()["data"]
    kept = (await client.get(f"/v1/alerts/{alert['id']}")).json()
    now = Micros(SystemClock().now_us())
    await stack.store.housekeep(now, 10**9, now - 300 * DAY_US)
    assert [r["relname"] for r in await stack.sql(
        "SELECT relname FROM pg_class WHERE relname LIKE 'readings_m%' AND relkind = 'r'"
    )] == []  # fmt: skip

    async def ask() -> None:
        assert (await client.get("/v1/sensors/old/latest")).json()["metrics"] == {}
        readings = await client.get("/v1/sensors/old/readings?metric=t")
        assert (readings.status_code, readings.json()["data"]) == (200, [])
        span = {"from": at - 1000, "to": at + 86_400_000}
        tried = await client.post("/v1/rules/backtest", json={"rule_id": rule["id"]} | span)
        assert tried.status_code == 200
        assert '"readings":0' in tried.text.splitlines()[-1]
        told = await client.get(f"/v1/rules/{rule['id']}/explain?sensor=old")
        assert (told.status_code, told.json()["state"]) == (200, "open")
        assert (await client.get(f"/v1/alerts/{alert['id']}")).json() == kept

    await ask()
    async with open_stack(stack.database_url, api_key=stack.api_key) as again:
        client = again.client
        await ask()
        assert (await again.send([row(START_MS + 1, 5, sensor="old")])).json()["accepted"] == 1
        (cleared,) = (await client.get("/v1/alerts?state=cleared")).json()["data"]
        assert cleared["id"] == alert["id"]


async def test_dropping_waits_for_nobody_for_long(stack: Stack) -> None:
    """A transaction that reads the past keeps its partition until a later time; meanwhile the
    present is written and read, and once it is over the partition goes."""
    at = month_ms(2023, 5)
    assert (await stack.send([row(at, 1)])).status_code == 200
    now = Micros(SystemClock().now_us())
    reading, done = trio.Event(), trio.Event()

    async def read_for_long() -> None:
        async def work_aio(connection: asyncpg.Connection) -> int:
            found = await connection.fetchval("SELECT count(*) FROM readings")
            trio.from_thread.run_sync(reading.set, trio_token=token)
            while not done.is_set():
                await asyncio.sleep(0.01)
            return int(found)

        assert await stack.database.as_tenant(TenantNo(1), work_aio) == 1

    token = trio.lowlevel.current_trio_token()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_for_long)
        await reading.wait()
        with trio.fail_after(5):
            await stack.store.housekeep(now, 10**9, now - 30 * DAY_US)
        assert (await stack.send([row(at + 1, 1)])).json()["accepted"] == 1
        assert (await stack.send([row(START_MS, 1)])).json()["accepted"] == 1
        done.set()
    await stack.store.housekeep(now, 10**9, now - 30 * DAY_US)
    assert await stack.sql("SELECT FROM pg_class WHERE relname = 'readings_m202305'") == []
    assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 1


async def test_commits_go_on_while_partitions_are_dropped(stack: Stack) -> None:
    """Writers and readers beside housekeeping that drops a hundred months: nobody is refused."""
    months = [month_ms(2023 - n // 12, 12 - n % 12) for n in range(96)]
    for first in range(0, 96, 8):
        sent = await stack.send([row(at, 1, sensor="old") for at in months[first : first + 8]])
        assert sent.status_code == 200
    now = Micros(SystemClock().now_us())
    statuses: Counter[int] = Counter()
    over = trio.Event()

    async def write(sensor: str) -> None:
        for first in itertools.count(0, 100):
            if over.is_set():
                return
            rows = [row(START_MS + first + k, 1, sensor=sensor) for k in range(100)]
            statuses[(await stack.send(rows)).status_code] += 1

    async def read() -> None:
        while not over.is_set():
            path = f"/v1/sensors/old/readings?metric=t&from={months[-1]}"
            statuses[(await stack.client.get(path)).status_code] += 1

    async with trio.open_nursery() as nursery:
        for n in range(3):
            nursery.start_soon(write, f"s{n}")
        nursery.start_soon(read)
        with trio.fail_after(60):
            while await stack.sql("SELECT FROM pg_class WHERE relname LIKE 'readings_m%'"):
                await stack.store.housekeep(now, 10**9, now - 300 * DAY_US)
        over.set()
    assert set(statuses) == {200}
    assert await stack.sql("SELECT FROM dead_letters") == []


async def test_a_clock_that_leaps_forward_drops_nothing(stack: Stack) -> None:
    """The database's own clock has to agree."""
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    ahead = Micros(SystemClock().now_us() + 365 * DAY_US)
    await stack.store.housekeep(ahead, 10**9, ahead - 30 * DAY_US)
    assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 1
    assert (await stack.send([row(START_MS + 1, 1)])).json()["accepted"] == 1


async def test_the_service_drops_by_itself(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a retention, at the next housekeeping; what may still be sent stays."""
    monkeypatch.setattr(engine, "HOUSEKEEPING_S", 0.1)
    async with open_stack(database_url) as stack:
        assert (await stack.send([row(month_ms(2023, 5), 1)])).status_code == 200
        await trio.sleep(0.3)
        assert (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 1
    limits = EngineLimits(retention_us=30 * DAY_US)
    async with open_stack(database_url, limits=limits, api_key=stack.api_key) as again:
        assert (await again.send([row(START_MS, 2)])).status_code == 200
        with trio.fail_after(10):
            while await again.sql("SELECT FROM pg_class WHERE relname = 'readings_m202305'"):
                await trio.sleep(0.05)
        assert [r["value"] for r in await again.sql("SELECT value FROM readings")] == [2.0]
