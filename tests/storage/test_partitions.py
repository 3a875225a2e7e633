"""Partitions: where they are made, who may make them, and that no reading is lost between them."""

import itertools
from collections import Counter

import httpx
import pytest
import trio

from atalaia.engine.limits import EngineLimits
from atalaia.model.ids import DAY_US
from atalaia.storage import partitions
from atalaia.storage.partitions import Partition, parse_partition
from tests.stack import Stack, make_tenant, open_stack, row

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
