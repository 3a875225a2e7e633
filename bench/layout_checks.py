"""Does a layout store every reading once? Played through on an empty day of each.

Two connections of the writer stand for two processes, or for one before and after it lost its
connection. What they store is compared row by row with what was sent first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import numpy as np

from atalaia.model.batch import Int32s, Int64s
from atalaia.model.ids import DAY_US, MINUTE_US
from atalaia.ports import CommitItem, Fenced
from atalaia.storage.commit import stored_answer_aio, take_lease_aio
from layouts import LAYOUTS, TODAY, Fleet, Layout, OpenDay, commit, connect, make_item

AT = TODAY + DAY_US // 2
NEW = (np.arange(1, 9, dtype=np.int32), np.full(8, AT, np.int64))
LATE = (np.arange(1, 5, dtype=np.int32), np.full(4, AT - 5 * MINUTE_US, np.int64))
NOTHING = (np.empty(0, np.int32), np.empty(0, np.int64))


@dataclass
class Scene:
    """An empty day, the powerful role, and two processes; the first one holds the lease."""

    day: OpenDay
    admin: asyncpg.Connection
    first: asyncpg.Connection
    second: asyncpg.Connection
    epoch: int

    async def store(self, item: CommitItem) -> list[int]:
        async with self.first.transaction():
            return await commit(self.first, self.day, self.epoch, uuid4(), [item])

    async def holds(self, *sent: tuple[Int32s, Int64s]) -> bool:
        """Exactly these rows, each once, with the values that `make_item` gives them unshifted."""
        found = []
        for name in self.day.names:
            found += await self.admin.fetch(f"SELECT series_id, ts, value FROM {name}")
        wanted = [
            (series, ts, ts % 1_000_003 / 7)
            for columns in sent
            for series, ts in zip(*(column.tolist() for column in columns), strict=True)
        ]
        return sorted(map(tuple, found)) == sorted(wanted)


async def late_and_repeated(scene: Scene) -> bool:
    """A late reading is stored once, though repeated in its batch and, altered, in the next."""
    await scene.store(make_item(NEW, NOTHING))
    twice = (np.tile(LATE[0], 2), np.tile(LATE[1], 2))
    first = make_item(NOTHING, twice)
    first.old_value[len(LATE[0]) :] += 1  # the first in body order wins
    counts = [await scene.store(first), await scene.store(make_item(NOTHING, LATE, shift=2))]
    return counts == [[4], [0]] and await scene.holds(NEW, LATE)


async def redelivered(scene: Scene) -> bool:
    """A whole batch comes again: it is no longer newer than its series, so it is looked for."""
    await scene.store(make_item(NEW, NOTHING))
    return await scene.store(make_item(NOTHING, NEW, shift=1)) == [0] and await scene.holds(NEW)


async def commit_unknown(scene: Scene) -> bool:
    """The connection is lost in a commit that goes through: the retry waits and finds it done."""
    group, item = uuid4(), make_item(NEW, LATE)
    lost = scene.first.transaction()
    await lost.start()
    await commit(scene.first, scene.day, scene.epoch, group, [item])

    async def retry() -> list[int] | None:
        try:
            async with scene.second.transaction():
                return await commit(scene.second, scene.day, scene.epoch, group, [item])
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "commit_groups_pkey":
                raise
        return await stored_answer_aio(scene.second, group)

    again = asyncio.create_task(retry())
    waited = not (await asyncio.wait([again], timeout=0.1))[0]
    await lost.commit()
    return waited and await again == [4] and await scene.holds(NEW, LATE)


async def commit_lost(scene: Scene) -> bool:
    """The same, but the commit was never made: the retry stores it."""
    group, item = uuid4(), make_item(NEW, LATE)
    lost = scene.first.transaction()
    await lost.start()
    await commit(scene.first, scene.day, scene.epoch, group, [item])

    async def retry() -> list[int]:
        async with scene.second.transaction():
            return await commit(scene.second, scene.day, scene.epoch, group, [item])

    again = asyncio.create_task(retry())
    waited = not (await asyncio.wait([again], timeout=0.1))[0]
    await lost.rollback()
    return waited and await again == [4] and await scene.holds(NEW, LATE)


async def failover(scene: Scene) -> bool:
    """A second process takes over within a commit of the first; both got the same batch.

    It waits for that commit, so what it then loads makes the batch old. The first stores no more.
    """
    running = scene.first.transaction()
    await running.start()
    await commit(scene.first, scene.day, scene.epoch, uuid4(), [make_item(NEW, NOTHING)])
    taking = asyncio.create_task(take_lease_aio(scene.second))
    waited = not (await asyncio.wait([taking], timeout=0.1))[0]
    await running.commit()
    epoch = await taking
    async with scene.second.transaction():
        item = make_item(NOTHING, NEW, shift=1)
        counts = await commit(scene.second, scene.day, epoch, uuid4(), [item])
    try:
        await scene.store(make_item((NEW[0], NEW[1] + MINUTE_US), NOTHING))
    except Fenced:
        return waited and counts == [0] and await scene.holds(NEW)
    return False


async def second_wall(scene: Scene) -> bool:
    """A fault of ours takes stored rows for fresh ones: does the table refuse them?"""
    await scene.store(make_item(NEW, NOTHING))
    try:
        await scene.store(make_item(NEW, NOTHING))
    except asyncpg.UniqueViolationError:
        return await scene.holds(NEW)
    return False


PROMISES: dict[str, Callable[[Scene], Awaitable[bool]]] = {
    "late and repeated readings": late_and_repeated,
    "a batch delivered again": redelivered,
    "commit unknown, had gone through": commit_unknown,
    "commit unknown, had not": commit_lost,
    "two processes in failover": failover,
}


@asynccontextmanager
async def open_scene(url: str, layout: Layout) -> AsyncIterator[Scene]:
    admin = await connect(url)
    first, second = [await connect(url, "atalaia_writer") for _ in range(2)]
    day = OpenDay(layout, Fleet(10), "scene")
    await day.make(admin)
    try:
        yield Scene(day, admin, first, second, await take_lease_aio(first))
    finally:
        await first.close()
        await second.close()
        await day.drop(admin)
        await admin.close()


async def check_all(url: str) -> list[dict[str, str | bool]]:
    """Per layout: every promise, kept or not, and whether there is a second wall behind them."""
    found: list[dict[str, str | bool]] = []
    for layout in LAYOUTS:
        kept: dict[str, str | bool] = {"layout": layout.name}
        for name, play in (
            PROMISES | {"stored rows taken for fresh are refused": second_wall}
        ).items():
            async with open_scene(url, layout) as scene:
                kept[name] = await play(scene)
        found.append(kept)
    return found
