"""What one round measures of an open day: a case of writes, and the questions put to it."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import asyncpg
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US, HOUR_US, MINUTE_US
from atalaia.ports import CommitItem
from atalaia.storage.engine_store import CHUNK_ROWS, CHUNK_SERIES
from atalaia.storage.readings import range_aio, window_chunk_aio
from layouts import ASKED_SERIES, Fleet, OpenDay, commit

FILL_BATCH = 100_000
WINDOW_US = 10 * MINUTE_US
SNAPSHOT_AGE_US = 5 * MINUTE_US


@dataclass(frozen=True)
class Case:
    """again: the share of each batch that is stored already, not older than reach."""

    batch: int
    again: float = 0
    reach_us: int = HOUR_US
    writers: int = 1

    def __str__(self) -> str:
        of_day = " of the whole day" if self.reach_us > HOUR_US else ""
        return f"{self.batch:,}, {self.again:.0%} again{of_day}, {self.writers} w."


@dataclass(frozen=True)
class Size:
    """How much of a fleet is measured."""

    fleet: Fleet
    cases: Sequence[Case]
    filled: int
    rounds: int
    rows: dict[int, int]  # of a case and writer, by its batches
    most_s: float  # of a case: then it is cut off
    questions: int


@dataclass
class Bench:
    """What all parts share. admin may do everything; the others have the product's roles."""

    size: Size
    admin: asyncpg.Connection
    writers: list[asyncpg.Connection]
    reader: asyncpg.Connection
    epoch: int
    dice: np.random.Generator

    async def fill(self, day: OpenDay, rows: int) -> None:
        """Up to that many rows, as the engine would have stored them."""
        while day.rows < rows:
            count = min(FILL_BATCH, rows - day.rows)
            fresh = np.arange(day.rows, day.rows + count)
            items = day.fleet.make_items(fresh, np.empty(0, np.int64))
            await self._commit(self.writers[0], day, items)
            day.rows += count

    async def write(self, day: OpenDay, case: Case) -> float:
        """Rows per second, repeated ones included."""
        batches, target = self._batches(day, case)
        todo = iter(batches)
        done = 0
        deadline = time.perf_counter() + self.size.most_s

        async def one(connection: asyncpg.Connection) -> None:
            nonlocal done
            for fresh, items in todo:
                await self._commit(connection, day, items)
                day.rows += fresh
                done += case.batch
                if time.perf_counter() > deadline:
                    return

        began = time.perf_counter()
        await asyncio.gather(*(one(writer) for writer in self.writers[: case.writers]))
        took = time.perf_counter() - began
        await self.fill(day, target)
        await self.admin.execute("TRUNCATE tenant_state, commit_groups")
        return done / took

    def _batches(self, day: OpenDay, case: Case) -> tuple[list[tuple[int, list[CommitItem]]], int]:
        """Each with the number of its fresh rows; and how many rows the day has after them."""
        batches = []
        at = day.rows
        for _ in range(0, self.size.rows[case.batch] * case.writers, case.batch):
            again = int(case.batch * case.again)
            oldest = max(0, at - case.reach_us // day.fleet.step_us * day.fleet.series)
            old = self.dice.choice(at - oldest, again, replace=False) + oldest
            fresh = case.batch - again
            items = day.fleet.make_items(np.arange(at, at + fresh), old.astype(np.int64))
            batches.append((fresh, items))
            at += fresh
        return batches, at

    async def _commit(
        self, connection: asyncpg.Connection, day: OpenDay, items: Sequence[CommitItem]
    ) -> None:
        async with connection.transaction():
            late = await commit(connection, day, self.epoch, uuid4(), items)
        if any(late):
            raise AssertionError(f"{day.layout.name}: a reading was stored a second time")

    async def read(self, day: OpenDay) -> dict[str, tuple[float, int]]:
        """Per question: median ms, and how many rows all answers had."""
        await day.vacuum(self.admin)
        await day.attach(self.admin)
        asked = np.random.default_rng(day.rows).integers(
            1, ASKED_SERIES, self.size.questions, endpoint=True
        )
        found = {}
        for name, back in (("last hour", HOUR_US), ("last day", DAY_US), ("90 days", 90 * DAY_US)):
            found[f"one series, {name}"] = await timed(
                partial(range_aio, self.reader, series, day.now - back, day.now, 10_000)
                for series in asked.tolist()
            )
        for count in (ASKED_SERIES, 50):
            found[f"recovery of {count:,} series"] = await timed(
                [partial(self._windows, count, day.now - WINDOW_US, day.now)] * 3
            )
        if day.layout.name == "(ts, series)":
            found |= await self._read_snapshot(day)
        await day.detach(self.admin)
        return found

    async def _windows(self, count: int, since: int, until: int) -> Int64s:
        """Times of the first series of a tenant, as window_rows asks for them."""
        found = []
        for first in range(1, count + 1, CHUNK_SERIES):
            wanted = np.arange(first, min(first + CHUNK_SERIES, count + 1), dtype=np.int32)
            bounds = (np.full(len(wanted), at, np.int64) for at in (since, until))
            found.append((await window_chunk_aio(self.reader, wanted, *bounds, CHUNK_ROWS))[1])
        return np.concatenate(found)

    async def _read_snapshot(self, day: OpenDay) -> dict[str, tuple[float, int]]:
        """The same windows, kept as bytes and written anew now and then."""
        taken = day.now - SNAPSHOT_AGE_US
        kept = await self._windows(ASKED_SERIES, day.now - WINDOW_US, taken)
        packed = bytes(20 * len(kept))  # series, time, value
        await self.admin.execute("CREATE TABLE IF NOT EXISTS windows (taken int8, packed bytea)")

        async def put() -> bytes:
            await self.admin.execute("DELETE FROM windows")
            await self.admin.execute("INSERT INTO windows VALUES ($1, $2)", taken, packed)
            return b""

        async def get() -> Sequence[int]:
            stored = await self.admin.fetchval("SELECT packed FROM windows")
            rest = await self._windows(ASKED_SERIES, taken, day.now)
            return range(len(stored) // 20 + len(rest))

        return {
            "a snapshot of them is written": await timed([put] * 3),
            "recovery of them from it": await timed([get] * 3),
        }


async def timed(calls: Iterable[Callable[[], Awaitable[Sized]]]) -> tuple[float, int]:
    """Median ms of these calls, and how many rows they gave in all."""
    took, rows = [], 0
    for call in calls:
        began = time.perf_counter()
        rows += len(await call())
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took), rows
