"""Notes of what came when: exact, bounded, and read by the key of readings."""

import re
from typing import Any

import asyncpg
import numpy as np
import pytest

from atalaia.model.batch import Int32s, Int64s
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import CommitItem
from atalaia.storage.arrivals import arrived_aio, write_arrivals_aio
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres

START_US = START_MS * 1000
DAY_MS = 86_400_000


def item(
    received: int, fresh: list[tuple[int, int]], old: list[tuple[int, int]], *, snapshot: bool
) -> CommitItem:
    """Rows are (series, ts)."""

    def columns(rows: list[tuple[int, int]]) -> tuple[Int32s, Int64s]:
        both = np.array(rows, np.int64).reshape(-1, 2)
        return both[:, 0].astype(np.int32), both[:, 1]

    return CommitItem(
        TenantNo(1), Micros(received), b"",
        fresh_series=columns(fresh)[0], fresh_ts=columns(fresh)[1], fresh_value=np.ones(len(fresh)),
        old_series=columns(old)[0], old_ts=columns(old)[1], old_value=np.ones(len(old)),
        snapshot=snapshot,
    )  # fmt: skip


async def note(stack: Stack, *items: tuple[CommitItem, int]) -> None:
    """late: the number beside each."""

    async def work(connection: asyncpg.Connection) -> None:
        await write_arrivals_aio(connection, [one for one, _ in items], [late for _, late in items])

    await stack.database.as_writer(work)


async def test_a_note_says_where_readings_lie(stack: Stack) -> None:
    """Runs of series; late ones each for itself; nothing of what brought no reading."""
    await note(
        stack,
        (item(10, [(1, 5), (1, 7), (4, 6)], [(2, 1), (1, 9)], snapshot=False), 1),
        (item(11, [(1, 8), (2, 8)], [(3, 3)], snapshot=False), 0),
        (item(12, [], [(3, 3)], snapshot=False), 0),
        (item(13, [], [], snapshot=False), 0),
        (item(14, [], [(3, 4)], snapshot=False), 1),
    )
    found = await stack.queries.arrivals(TenantNo(1), Micros(9), Micros(14), 100)
    spans = zip(
        found.received.tolist(), found.series.tolist(), found.oldest.tolist(),
        found.newest.tolist(), found.counts.tolist(), strict=True,
    )  # fmt: skip
    assert list(spans) == [
        (10, 1, 5, 7, 2), (10, 4, 6, 6, 1), (10, 2, 1, 1, 1), (10, 1, 9, 9, 1),
        (11, 1, 8, 8, 1), (11, 2, 8, 8, 1), (14, 3, 4, 4, 1),
    ]  # fmt: skip
    assert found.after == 9
    for most, after in ((7, 9), (6, 10), (3, 10), (2, 11), (1, 11), (0, 14)):
        found = await stack.queries.arrivals(TenantNo(1), Micros(9), Micros(14), most)
        assert (found.after, len(found)) == (after, int((found.received > after).sum()))


async def test_a_tenant_has_its_own_notes(stack: Stack) -> None:
    """Whatever is asked for."""
    await note(stack, (item(10, [(1, 5)], [], snapshot=False), 0))
    found = await stack.queries.arrivals(TenantNo(2), Micros(0), Micros(99), 100)
    assert (len(found), found.after) == (0, 0)


async def test_looking_back_reads_no_more_than_came(stack: Stack) -> None:
    """By the key, in the partitions that matter, whatever the planner thinks of so few readings."""
    for day in range(5):
        times = range(START_MS - day * DAY_MS - 3000, START_MS - day * DAY_MS, 10)
        assert (await stack.send([row(at, 1, sensor="abc"[at % 3]) for at in times])).is_success
    await stack.sql("ANALYZE")
    tenant = await stack.tenant_no()
    last = await stack.queries.last_received(tenant)
    assert last is not None
    await stack.send([row(START_MS + n, n, sensor="abc"[n % 3]) for n in range(30)])
    await stack.send([row(START_MS - 4 * DAY_MS - n, n) for n in range(10, 15)])
    until = await stack.queries.last_received(tenant)
    assert until is not None
    spans = await stack.queries.arrivals(tenant, last, until, 1000)
    plans: list[str] = []

    class Explained:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self.connection = connection

        async def execute(self, query: str) -> None:
            await self.connection.execute(query)

        async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
            rows = await self.connection.fetch(
                f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}", *arguments
            )
            plans.append("\n".join(one[0] for one in rows))
            return list(await self.connection.fetch(query, *arguments))

    async def work(connection: asyncpg.Connection) -> int:
        return len((await arrived_aio(Explained(connection), spans)).ts)

    assert await stack.database.as_tenant(tenant, work) == 35
    (plan,) = plans
    read = re.findall(r"Scan using readings_\S+ on .*rows=(\S+) loops=(\d+)", plan)
    assert read
    assert sum(round(float(rows) * int(loops)) for rows, loops in read) == 35, plan
    assert "Rows Removed by Filter" not in plan
    assert "Seq Scan on readings" not in plan
    assert "never executed" in plan  # days between them
