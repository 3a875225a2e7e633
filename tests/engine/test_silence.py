"""Rules of silence in the engine, on a mock clock that the wall clock follows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import attrs
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule, DeleteRule
from atalaia.model.batch import NO_TAGS, SeriesName, Tags
from atalaia.model.errors import Unavailable
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import (
    CommitItem,
    SensorRow,
    SeriesRow,
    StoreUnavailable,
    TenantImage,
    Waiting,
)
from tests.engine.store import FaultyStore
from tests.engine.test_engine import batch

ONE, TWO = TenantNo(1), TenantNo(2)
SILENT = "rule silent on sensors when no data for 10m severity critical"
START_US = 1_000_000_500_000  # half a second off the grid


class Flowing:
    """A wall clock that goes with trio's."""

    def __init__(self) -> None:
        self.start = trio.current_time()

    def now_us(self) -> Micros:
        return Micros(START_US + round(1e6 * (trio.current_time() - self.start)))


@asynccontextmanager
async def engine(
    store: FaultyStore, clock: Flowing | None = None, **limits: object
) -> AsyncIterator[Gate]:
    limit = EngineLimits(**limits)  # type: ignore[arg-type]
    async with open_engine(store, clock or Flowing(), limit) as gate:
        yield gate


def steps(store: FaultyStore) -> list[tuple[str, float]]:
    """(kind, seconds since the start) of every transition, in order."""
    return [(step.kind, (step.at - START_US) / 1e6) for step in store.transitions]


async def watch(gate: Gate, *sensors: str) -> None:
    """The rule, and a first reading of each sensor."""
    await gate.edit_rule(ONE, CreateRule(SILENT)).wait()
    for sensor in sensors:
        await gate.submit(ONE, batch(sensor=sensor)).wait()


async def test_silence_opens_on_the_grid_and_the_next_reading_clears(
    autojump_clock: MockClock,
) -> None:
    """By arrival, each sensor by itself, with how long it was silent."""
    store = FaultyStore()
    async with engine(store) as gate:
        await watch(gate, "s", "other")
        for _ in range(9):
            await trio.sleep(100)
            await gate.submit(ONE, batch(sensor="other")).wait()
        assert steps(store) == [("opened", 600.5)]
        assert store.transitions[0].value == pytest.approx(600.5, abs=0.01)
        await gate.submit(ONE, batch(sensor="s")).wait()
        opened, cleared = store.transitions
        assert cleared.alert_id == opened.alert_id
        assert (cleared.kind, cleared.reason) == ("cleared", "condition")
        assert (opened.severity, opened.evidence[0].expression) == ("critical", "no data for 10m")


async def test_our_own_absence_is_nobodys_silence(autojump_clock: MockClock) -> None:
    """After an hour down the sensor has its time again; its tenant wakes by itself."""
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await watch(gate, "s")
        await trio.sleep(300)
    await trio.sleep(3600)
    async with engine(store, clock):
        await trio.sleep(590)
        assert store.transitions == []
        await trio.sleep(20)
        assert steps(store) == [("opened", 4500.5)]


async def test_an_open_silence_lives_through_a_restart(autojump_clock: MockClock) -> None:
    """It is not opened twice, and clears under its id."""
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await watch(gate, "s")
        await trio.sleep(700)
    async with engine(store, clock) as gate:
        await trio.sleep(2000)
        await gate.submit(ONE, batch(sensor="s")).wait()
    assert [step.kind for step in store.transitions] == ["opened", "cleared"]
    assert len({step.alert_id for step in store.transitions}) == 1


async def test_a_watched_tenant_does_not_rest_and_a_busy_one_is_looked_at(
    autojump_clock: MockClock,
) -> None:
    """Neither idleness nor an inbox that is never empty puts a deadline off for long."""
    store = FaultyStore()
    async with engine(store, idle_s=5.0) as gate:
        await watch(gate, "s")
        await trio.sleep(590)
        store.register_s = 0.3  # every batch brings a new sensor and so takes this long
        for n in range(300):
            gate.submit(ONE, batch(sensor=f"new-{n}"))
            await trio.sleep(0.1)
        ((kind, at),) = steps(store)
        assert kind == "opened"
        assert 600 <= at <= 607


async def test_a_rule_made_later_counts_from_the_newest_reading(autojump_clock: MockClock) -> None:
    """What was stored before it says when that arrived."""
    store = FaultyStore()
    async with engine(store) as gate:
        for pause_s in (0, 300):
            await trio.sleep(pause_s)
            await gate.submit(ONE, batch(sensor="s")).wait()
        await trio.sleep(100)
        await gate.edit_rule(ONE, CreateRule(SILENT)).wait()
        await trio.sleep(1000)
        assert steps(store) == [("opened", 900.5)]


async def test_deleting_the_rule_closes_and_lets_the_tenant_rest(
    autojump_clock: MockClock,
) -> None:
    """The alert says why."""
    store = FaultyStore()
    async with engine(store, idle_s=5.0) as gate:
        rule = await gate.edit_rule(ONE, CreateRule(SILENT)).wait()
        await gate.submit(ONE, batch(sensor="s")).wait()
        await trio.sleep(700)
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
        assert store.transitions[-1].reason == "rule_deleted"
        await trio.sleep(100)
        loads = store.loads
        await gate.submit(ONE, batch(sensor="s")).wait()
        assert store.loads == loads + 1


async def test_a_start_without_the_database_wakes_the_tenants_later(
    autojump_clock: MockClock,
) -> None:
    """Those that wait are looked for again every minute."""
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await watch(gate, "s")
    store.load_faults = [StoreUnavailable("down")]
    async with engine(store, clock):
        await trio.sleep(800)
        assert [kind for kind, _ in steps(store)] == ["opened"]


async def test_who_is_suspended_is_not_silent(autojump_clock: MockClock) -> None:
    """Nothing is taken of it, so no alert of silence opens; afterwards the rest of the ten minutes
    runs. It is noticed within a minute, and counted from when it was.
    """
    store = FaultyStore()
    async with engine(store) as gate:
        await watch(gate, "s")
        await trio.sleep(500)
        store.suspended[ONE] = trio.current_time()
        await trio.sleep(5_000)
        assert steps(store) == []
        del store.suspended[ONE]
        await trio.sleep(40)
        assert steps(store) == []
        await trio.sleep(200)
        assert [kind for kind, _ in steps(store)] == ["opened"]


async def test_nobody_is_started_of_who_is_suspended(autojump_clock: MockClock) -> None:
    """After a restart, until it is resumed."""
    store = FaultyStore()
    async with engine(store) as gate:
        await watch(gate, "s")
    store.suspended[ONE] = trio.current_time()
    async with engine(store):
        loads = store.loads
        await trio.sleep(1_000)
        assert store.loads == loads
        del store.suspended[ONE]
        await trio.sleep(100)
        assert store.loads == loads + 1


async def test_a_stall_of_ours_is_nobodys_silence(autojump_clock: MockClock) -> None:
    """A device that waits half a minute for its answer sends nothing meanwhile."""
    store = FaultyStore()
    async with engine(store) as gate:
        text = "rule silent on sensors when no data for 10s"
        await gate.edit_rule(ONE, CreateRule(text)).wait()
        for n in range(20):
            store.commit_s = 30.0 if n == 5 else 0.0
            await gate.submit(ONE, batch(sensor="s")).wait()
            await trio.sleep(5)
        assert store.transitions == []
        await trio.sleep(15)
        assert [kind for kind, _ in steps(store)] == ["opened"]


async def test_a_stall_is_left_out_of_a_silence_and_does_not_end_it(
    autojump_clock: MockClock,
) -> None:
    """However often another tenant makes commits stall, and whenever the actor is rebuilt."""
    store = FaultyStore()
    async with engine(store) as gate:
        await watch(gate, "s")
        for _ in range(5):
            await trio.sleep(100)
            store.commit_s = 7.0  # five seconds more than it may take
            await gate.submit(TWO, batch(sensor="noisy")).wait()
            store.commit_s = 0.0
        await gate.edit_rule(ONE, CreateRule("rule other on sensors when t > 1")).wait()
        await trio.sleep(500)
    assert steps(store) == [("opened", 625.5)]
    silence = store.transitions[0].opening.silence  # type: ignore[union-attr]
    assert silence is not None
    assert (silence.since - START_US) / 1e6 == pytest.approx(25, abs=0.1)


async def test_silence_goes_on_where_every_commit_is_slow(autojump_clock: MockClock) -> None:
    """Two seconds of each count: nobody can keep all others' alerts from opening."""
    store = FaultyStore()
    async with engine(store) as gate, trio.open_nursery() as nursery:
        await gate.edit_rule(ONE, CreateRule(SILENT.replace("10m", "1m"))).wait()
        await gate.submit(ONE, batch(sensor="s")).wait()
        store.commit_s = 6.0

        async def flood() -> None:
            while True:
                await gate.submit(TWO, batch(sensor="noisy")).wait()

        nursery.start_soon(flood)
        nursery.start_soon(flood)
        await trio.sleep(250)
        nursery.cancel_scope.cancel()
    ((kind, at),) = steps(store)
    assert kind == "opened"
    assert 170 < at < 190


class Failing(FaultyStore):
    """What fails: the registering of a tenant's series, or everything."""

    registering: dict[TenantNo, Exception]
    down: bool

    def __init__(self) -> None:
        super().__init__()
        self.registering, self.down = {}, False

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("down")

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        self._check()
        if tenant_no in self.registering:
            raise self.registering[tenant_no]
        return await super().register(tenant_no, names, now, tags)

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        self._check()
        return await super().load_tenant(tenant_no)

    async def waiting_tenants(self) -> Waiting:
        self._check()
        return await super().waiting_tenants()

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        self._check()
        return await super().commit_group(group_id, items)


FAULTS = pytest.mark.parametrize("error", [ValueError("a bug"), StoreUnavailable("too slow")])


@FAULTS
async def test_who_crashes_is_deaf_for_himself(autojump_clock: MockClock, error: Exception) -> None:
    """What happens to one tenant's actor is nothing to the others' silence."""
    store = Failing()
    store.registering[TWO] = error
    with capture_logs():  # tracebacks are long
        async with engine(store) as gate:
            await watch(gate, "s")
            for _ in range(40):
                with pytest.raises(Unavailable):
                    await gate.submit(TWO, batch(sensor="noisy")).wait()
                await trio.sleep(20)
    assert steps(store) == [("opened", 600.5)]


@FAULTS
async def test_who_is_refused_in_a_crash_is_not_silent(
    autojump_clock: MockClock, error: Exception
) -> None:
    """A sensor sends, and we lose it; others of its tenant are silent all the same."""
    store = Failing()
    with capture_logs():
        async with engine(store, crashes=1_000) as gate:
            await watch(gate, "s", "other")
            store.registering[ONE] = error
            for n in range(40):
                some = batch(2)
                names = (SeriesName("s", "t"), SeriesName(f"new-{n}", "t"))
                both = attrs.evolve(some, names=names, idx=np.arange(2, dtype=np.int32))
                with pytest.raises(Unavailable):
                    await gate.submit(ONE, both).wait()
                await trio.sleep(20)
            ((kind, at),) = steps(store)
            assert kind == "opened"
            assert 600 <= at <= 605  # until it was woken once
            await trio.sleep(575)
            assert len(steps(store)) == 1
            await trio.sleep(10)
            assert len(steps(store)) == 2


async def test_after_an_outage_idle_tenants_wake_within_seconds(
    autojump_clock: MockClock,
) -> None:
    """A tick was due in it, and the actor gave up. The outage itself is nobody's silence."""
    store = Failing()
    async with engine(store) as gate:
        await trio.sleep(10)
        await watch(gate, "s")
        await trio.sleep(592)
        store.down = True  # they were looked for at 600
        await trio.sleep(28)
        store.down = False
        loads = store.loads
        await trio.sleep(6)
        assert store.loads > loads
        assert store.transitions == []
        await trio.sleep(20)
    ((kind, at),) = steps(store)
    assert kind == "opened"
    assert 640 < at < 647  # eleven seconds after it answers again: it did last at 600


async def test_who_is_turned_away_before_us_is_not_silent(autojump_clock: MockClock) -> None:
    """While keys cannot be looked up nobody reaches the engine, and it does nothing itself."""
    store = Failing()
    async with engine(store) as gate:
        await watch(gate, "s")
        await trio.sleep(300)
        store.down = True
        await trio.sleep(1_000)
        store.down = False
        await trio.sleep(250)
        assert store.transitions == []
        await trio.sleep(120)  # it had answered a minute before it was missed
        assert [kind for kind, _ in steps(store)] == ["opened"]


async def test_an_alert_of_a_sensor_without_readings_can_be_closed(
    autojump_clock: MockClock,
) -> None:
    """It has no clock of its own: the alert is closed at the time it goes by."""
    store = FaultyStore()
    await store.register(ONE, [SeriesName("ghost", "t")], Micros(START_US))
    async with engine(store) as gate:
        rule = await gate.edit_rule(ONE, CreateRule(SILENT)).wait()
        await trio.sleep(700)
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
    opened, closed = store.transitions
    assert (opened.kind, closed.kind, closed.reason) == ("opened", "cleared", "rule_deleted")
    assert closed.at == closed.arrived > opened.at


async def test_who_is_refused_at_the_gate_is_not_silent(autojump_clock: MockClock) -> None:
    """Its batches come, and there is no room for them: another tenant has it."""
    store = FaultyStore()
    async with engine(store, total_rows=1) as gate, trio.open_nursery() as nursery:
        await watch(gate, "s")
        store.commit_s = 1.0

        async def flood() -> None:
            while True:
                await gate.submit(TWO, batch(sensor="t")).wait()

        nursery.start_soon(flood)
        for _ in range(150):
            await trio.sleep(5.3)
            with pytest.raises(Unavailable):
                gate.submit(ONE, batch(sensor="s"))
        assert steps(store) == []
        nursery.cancel_scope.cancel()
