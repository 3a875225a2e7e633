"""The engine's port with faults: each life of the process has its own, over one database."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from itertools import count
from random import Random
from typing import TypeVar
from uuid import UUID

import attrs
import trio

from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import (
    CommitItem,
    Fenced,
    SensorRow,
    SeriesRow,
    StoreRefused,
    StoreUnavailable,
    TenantImage,
    Waiting,
)
from atalaia.storage.memory import MemoryEngineStore
from tests.simulation.plan import Fault
from tests.simulation.world import World

T = TypeVar("T")
POISON = 6.66
DEAD_BACKEND_S = 60.0  # how long a call waits for another transaction, as the driver does


class Killed(BaseException):
    """Raised in whatever a dead process still does: it gets nowhere."""


@attrs.define(eq=False)
class Port:
    """Implements `EngineStore`. latency_s: how long a call may take when all is well."""

    world: World
    store: MemoryEngineStore
    life: int
    dead: bool = False
    _paused: trio.Event | None = None
    _random: Random = attrs.field(init=False)
    _waits: dict[int, trio.CancelScope] = attrs.field(factory=dict)
    _number: "count[int]" = attrs.field(factory=count)

    def __attrs_post_init__(self) -> None:
        self._random = Random(f"port/{self.world.plan.seed}/{self.life}")

    def kill(self) -> None:
        self.dead = True
        for scope in self._waits.values():
            scope.cancel()

    def pause(self) -> None:
        """Nothing of the process gets anywhere until `resume`."""
        self._paused = trio.Event()

    def resume(self) -> None:
        if self._paused is not None:
            self._paused.set()
            self._paused = None

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        return await self._through("load", tenant_no, partial(self.store.load_tenant, tenant_no))

    async def last_heard(
        self, tenant_no: TenantNo, image: TenantImage
    ) -> Mapping[SensorNo, Micros]:
        work = partial(self.store.last_heard, tenant_no, image)
        return await self._through("load", tenant_no, work)

    async def waiting_tenants(self) -> Waiting:
        return await self._through("waiting", None, self.store.waiting_tenants)

    async def window_rows(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> AsyncGenerator[tuple[Int32s, Int64s, Floats]]:
        async with aclosing(self.store.window_rows(tenant_no, series, since, until)) as chunks:
            async for chunk in chunks:
                await self._through("warm", tenant_no, trio.lowlevel.checkpoint)
                yield chunk

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        work = partial(self.store.register, tenant_no, names, now, tags)
        return await self._through("register", tenant_no, work)

    async def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        async def work() -> list[SensorRow]:
            rows = await self.store.register_sensors(tenant_no, tags, now, audit)
            self.world.first_tags |= {row.sensor_no: row.tags for row in rows}
            return rows

        return await self._through("register", tenant_no, work)

    async def ensure_partitions(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        work = partial(self.store.ensure_partitions, tenant_no, ts, now)
        await self._through("partitions", tenant_no, work)

    def uncovered(self, ts: Int64s) -> Int64s:
        return self.store.uncovered(ts)

    async def housekeep(self, now: Micros, keep_groups_us: int, oldest: int) -> None:
        work = partial(self.store.housekeep, now, keep_groups_us, oldest)
        await self._through("housekeep", None, work)

    async def probe(self) -> None:
        await self._through("probe", None, self.store.probe)

    async def outlast_commits(self) -> None:
        await self._through("settle", None, self._outlast)

    async def _outlast(self) -> None:
        """Behind every transaction that holds the lease."""
        began = trio.current_time()
        while ends := [done for _, done in self.world.hung.values()]:
            await self._wait(DEAD_BACKEND_S, ends[0])
            if trio.current_time() - began > DEAD_BACKEND_S:
                raise StoreUnavailable("another transaction holds the lease")

    async def bury(self, items: Sequence[CommitItem], reason: str) -> None:
        await self._through("bury", items[0].tenant_no, partial(self.store.bury, items, reason))

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        """The answer may be lost before, after, or while the commit is still to happen."""
        self.world.check_room()
        fault = self._draw("commit", None)
        await self._wait(self._random.uniform(1, 12) if fault == "slow" else self._latency_s())
        if fault == "before":
            raise StoreUnavailable("lost before the commit")
        if any(POISON in item.fresh_value or POISON in item.old_value for item in items):
            raise StoreRefused("22P05 poison")
        if fault == "hung":
            self._hang(group_id, items)
            await self._wait(self._latency_s())
            raise StoreUnavailable("lost while the commit hangs")
        try:
            await self._wait_for_locks(group_id, items)
            late = await self._commit(group_id, items)
        except Killed:
            if self._random.random() < 0.3:  # it had been sent, and its backend lives on
                self._hang(group_id, items)
            raise
        await self._wait(self._latency_s())
        if fault == "after":
            raise StoreUnavailable("lost after the commit")
        return late

    async def _commit(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        await self._wait(self._latency_s())
        for item in items:
            if len(self.uncovered(item.fresh_ts)) or len(self.uncovered(item.old_ts)):
                raise StoreUnavailable("a partition of these readings is gone")
        return self.world.commit(self.store.epoch, self.life, group_id, items)

    def _hang(self, group_id: UUID, items: Sequence[CommitItem]) -> None:
        if group_id not in self.world.hung and group_id not in self.world.database.groups:
            self.world.hung[group_id] = (_locks(items), trio.Event())
            self.world.note("hanging", items=len(items))
            self.world.backends.start_soon(self._land, group_id, items)

    async def _land(self, group_id: UUID, items: Sequence[CommitItem]) -> None:
        """What a backend does whose client is gone. It holds the lease until it is done."""
        await trio.sleep(self._random.choice([0.02, 2.0, 5.0, 11.0]))
        try:
            self.world.commit(self.store.epoch, self.life, group_id, items)
        except (Fenced, StoreRefused) as error:
            self.world.note("landed_in_vain", error=str(error))
        _, done = self.world.hung.pop(group_id)
        done.set()

    async def _wait_for_locks(self, group_id: UUID, items: Sequence[CommitItem]) -> None:
        """Behind transactions that hold the same keys: this group's own first try among them."""
        began = trio.current_time()
        locks = _locks(items)
        while True:
            ends = [
                done
                for other, (held, done) in self.world.hung.items()
                if other == group_id or held & locks
            ]
            if not ends:
                return
            await self._wait(DEAD_BACKEND_S, ends[0])
            if trio.current_time() - began > DEAD_BACKEND_S:
                raise StoreUnavailable("another transaction holds the keys")

    async def _through(
        self, call: str, tenant_no: TenantNo | None, work: Callable[[], Awaitable[T]]
    ) -> T:
        fault = self._draw(call, tenant_no)
        await self._wait(self._random.uniform(0.2, 4) if fault == "slow" else self._latency_s())
        if fault == "before":
            raise StoreUnavailable(f"{call}: lost before")
        if fault == "bug":
            self.world.injected += 1
            self.world.crash.set()
            raise RuntimeError("a bug that was made up")
        result = await work()
        await self._wait(self._latency_s())
        if fault == "after":
            raise StoreUnavailable(f"{call}: lost after")
        return result

    def _draw(self, call: str, tenant_no: TenantNo | None) -> Fault | None:
        plan, at = self.world.plan, trio.current_time()
        chance = self._random.random()
        if plan.victim is not None and tenant_no != plan.victim:
            return None
        for storm in plan.storms:
            if storm.since_s <= at < storm.until_s:
                for fault, rate in storm.rates.get(call, {}).items():
                    chance -= rate
                    if chance < 0:
                        self.world.note("fault", call=call, kind=fault, tenant=tenant_no)
                        return fault
        return None

    def _latency_s(self) -> float:
        return self._random.choice([0.0, 0.0, 0.001, 0.02, 0.1])

    async def _wait(self, seconds: float, event: trio.Event | None = None) -> None:
        """A checkpoint at least; until the event, if there is one. A dead process ends here."""
        if self.dead:
            raise Killed
        if not seconds and self._paused is None:
            await trio.lowlevel.checkpoint()
            if self.dead:
                raise Killed
            return
        number = next(self._number)
        try:
            with trio.CancelScope() as scope:
                self._waits[number] = scope
                with trio.move_on_after(seconds):
                    await (trio.Event() if event is None else event).wait()
                while self._paused is not None:
                    await self._paused.wait()
        finally:
            del self._waits[number]
        if self.dead:
            raise Killed


def _locks(items: Sequence[CommitItem]) -> set[object]:
    """The keys that a commit of these items inserts."""
    locks: set[object] = set()
    for item in items:
        locks.add((item.tenant_no, "state", item.received_at))
        locks.update(zip(item.fresh_series.tolist(), item.fresh_ts.tolist(), strict=True))
        locks.update(zip(item.old_series.tolist(), item.old_ts.tolist(), strict=True))
        locks.update(step.alert_id for step in item.transitions)
    return locks
