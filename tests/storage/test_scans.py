"""Scans: every reading of every span, once and in order, in chunks that cost what they hold."""

import random
import re
from typing import Any

import asyncpg
import numpy as np
import pytest

from atalaia.model.ids import Micros
from atalaia.storage import scans
from atalaia.storage.readings import scan_aio
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres
DAY_MS = 86_400_000
START_US = START_MS * 1000


async def fill(stack: Stack, count: int = 400) -> dict[int, list[tuple[int, float]]]:
    """Three series over eight days, one of them with few readings; by its number."""
    chance = random.Random(1)
    rows = [
        row(START_MS - chance.randrange(7 * DAY_MS), n, sensor=chance.choice("aaaaaabbbbbbc"))
        for n in range(count)
    ]
    assert (await stack.send(rows)).json()["rejected_count"] == 0
    found: dict[int, list[tuple[int, float]]] = {}
    stored = await stack.sql(
        "SELECT series_id, (extract(epoch FROM ts) * 1000000)::int8 AS us, value FROM readings"
        " ORDER BY series_id, ts"
    )
    for one in stored:
        found.setdefault(one["series_id"], []).append((one["us"], one["value"]))
    return found


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_scan_has_every_reading_of_its_spans(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    """Once, in order of time; and one span after the other where that is asked for."""
    monkeypatch.setattr(scans, "TOGETHER", 3)
    stored = await fill(stack)
    tenant, chance = await stack.tenant_no(), random.Random(2)
    for chunk_rows in (1, 7, 100, 1000):
        monkeypatch.setattr(scans.scan, "__kwdefaults__", {"chunk_rows": chunk_rows})
        spans = []
        for number in stored:
            ends = sorted(chance.randrange(7 * DAY_MS) * 1000 for _ in range(4))
            spans += [
                (number, START_US - ends[3], START_US - ends[2]),
                (number, START_US - ends[1], START_US - ends[0]),
                (number, START_US, START_US),
            ]
        series, since, until = np.array(spans, np.int64).T
        found: list[list[tuple[int, float]]] = [[] for _ in spans]
        order: list[int] = []
        numbers = series.astype(np.int32)
        async for chunk in stack.queries.scan(tenant, numbers, since, until, ordered=ordered):
            rows = zip(chunk.span.tolist(), chunk.ts.tolist(), chunk.value.tolist(), strict=True)
            for span, ts, value in rows:
                found[span].append((ts, value))
                order.append(span)
        expected = [
            [one for one in stored[number] if low < one[0] <= high] for number, low, high in spans
        ]
        assert found == expected
        assert not ordered or order == sorted(order)


async def test_what_arrived_later_is_left_out(stack: Stack) -> None:
    """By its arrival, not by its time."""
    await stack.send([row(START_MS, 1)])
    tenant = await stack.tenant_no()
    arrived = await stack.queries.last_received(tenant)
    await stack.send([row(START_MS - 1, 2), row(START_MS + 1, 3)])
    span = (np.array([1], np.int32), np.array([0]), np.array([START_US + 10_000]))
    for bound, values in ((arrived, [1]), (None, [2, 1, 3]), (Micros(1), [])):
        chunks = stack.queries.scan(tenant, *span, arrived=bound)
        assert [value async for chunk in chunks for value in chunk.value.tolist()] == values


async def test_a_chunk_reads_no_more_than_it_holds(stack: Stack) -> None:
    """From the index and in order, whatever the planner thinks of several spans at once: or every
    chunk would read all that is left."""
    await fill(stack, 3000)
    await stack.sql("ANALYZE")
    plans: list[str] = []

    class Explained:
        def __init__(self, connection: asyncpg.Connection) -> None:
            self.connection = connection

        async def execute(self, query: str) -> None:
            await self.connection.execute(query)

        async def copy_from_query(self, query: str, **options: Any) -> None:
            rows = await self.connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {query}")
            plans.append("\n".join(one[0] for one in rows))
            await self.connection.copy_from_query(query, **options)

    async def work(connection: asyncpg.Connection) -> None:
        for count in (1, 3):
            series = np.arange(1, count + 1, dtype=np.int32)
            since, until = np.full(count, START_US - 7 * DAY_MS * 1000), np.full(count, START_US)
            spied = Explained(connection)
            await scan_aio(spied, series, since, until, arrived=None, each=10)

    await stack.database.as_tenant(await stack.tenant_no(), work)
    for plan in plans:
        read = re.findall(r"Scan using readings_\S+ on .*rows=(\d+)\S* loops=(\d+)", plan)
        assert read
        assert sum(int(rows) * int(loops) for rows, loops in read) <= 30, plan
        assert "Sort" not in plan
        assert "Seq Scan on readings" not in plan
