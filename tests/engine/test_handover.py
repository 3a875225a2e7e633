"""Two processes over one database: one has been superseded and does not know it yet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.model.errors import Unavailable
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import Fenced
from atalaia.storage.memory import MemoryDatabase, open_memory_store

ONE = TenantNo(1)
NOW = Micros(1_800_000_000_000_000)


class Clock:
    """It stands still."""

    def now_us(self) -> Micros:
        return NOW


@asynccontextmanager
async def handover() -> AsyncIterator[tuple[Gate, Gate]]:
    """The gates of who has been superseded and of who took over; both have loaded the tenant."""
    database = MemoryDatabase(Clock().now_us)
    database.add_tenant(UUID(int=1))

    async def live(task_status: trio.TaskStatus[Gate]) -> None:
        store = await open_memory_store(database, NOW)
        with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
            async with open_engine(store, Clock(), EngineLimits()) as gate:
                task_status.started(gate)
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        before = await nursery.start(live)
        await before.register(ONE, {"first": {}}).answer()
        store = await open_memory_store(database, NOW)
        async with open_engine(store, Clock(), EngineLimits()) as gate:
            await gate.set_tags(ONE, {"first": {}}).answer()
            yield before, gate


async def test_who_has_been_superseded_does_not_say_that_a_sensor_is_registered(
    autojump_clock: MockClock,
) -> None:
    """Nobody who took over would know of it: its silence would be nobody's business."""
    async with handover() as (before, _):
        with pytest.raises(Unavailable):
            await before.register(ONE, {"second": {}}).wait()


async def test_a_sensor_registered_behind_ones_back_is_known_when_it_is_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    """It is stored, so it is not new; from then on it is there for tags, and for silence."""
    async with handover() as (before, gate):
        with pytest.raises(Unavailable):
            await before.register(ONE, {"second": {}}).wait()
        assert await gate.register(ONE, {"second": {}, "third": {}}).answer() == ["third"]
        await gate.set_tags(ONE, {"second": {"zone": "n"}, "third": {}}).answer()
