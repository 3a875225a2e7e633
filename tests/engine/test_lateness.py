"""Lateness in the whole engine: whatever the order of arrival, the alerts are those of the
readings. Against the naive oracle, through the actor, the flusher, restarts and rests.
"""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.judge import Part, judge
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule
from atalaia.engine.receipt import Answer
from atalaia.engine.recover import recover
from atalaia.engine.state import TenantState
from atalaia.engine.threads import Threads
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, Int64s, SeriesName
from atalaia.model.errors import NotFound
from atalaia.model.ids import Micros, RuleNo, TenantNo
from atalaia.model.rule import StoredRule
from atalaia.rules.language import parse_rule
from tests.engine.store import FaultyStore
from tests.groups import CRASH, ORDER, group
from tests.rules import oracle
from tests.rules.streams import LATENESS, SECOND, cuts_of, disorders, rule_texts, streams

ONE = TenantNo(1)
Row = tuple[str, str, int, float]  # sensor, metric, ts, value


class Clock:
    """It stands still, after every reading."""

    def now_us(self) -> Micros:
        return Micros(1_800_000_000 * SECOND)


def as_batch(rows: Sequence[Row]) -> Batch:
    names = tuple(dict.fromkeys(SeriesName(sensor, metric) for sensor, metric, _, _ in rows))
    places = [names.index(SeriesName(sensor, metric)) for sensor, metric, _, _ in rows]
    return Batch(
        names=names, idx=np.array(places, np.int32), rejects=(), sent=len(rows),
        ts=np.array([ts for _, _, ts, _ in rows], np.int64),
        value=np.array([value for _, _, _, value in rows], np.float64),
        row=np.arange(len(rows), dtype=np.int32),
    )  # fmt: skip


@attrs.frozen
class Change:
    """A new lateness of the tenant, or of one sensor (None: its tenant's)."""

    lateness_us: int | None
    sensor: str | None = None


RESTART, REST = "restart", "rest"
Event = Sequence[Row] | Change | str


def live(
    texts: Sequence[str], events: Sequence[Event], **limits: object
) -> tuple[list[Answer], FaultyStore]:
    """Send it all through an engine, one after the other."""
    store = FaultyStore()
    for n, text in enumerate(texts, 1):
        store.tenant(ONE).rules[n] = StoredRule(
            rule_no=RuleNo(n), rule_id=UUID(int=n), name=f"r{n}", text=text, version=1, revision=1,
            enabled=True, active_from=Micros(0), created_at=Micros(0), updated_at=Micros(0),
        )  # fmt: skip
    answers: list[Answer] = []
    limit = EngineLimits(idle_s=60.0, tenant_bytes=1 << 40, **limits)  # type: ignore[arg-type]

    async def main() -> None:
        waiting = list(events)
        while waiting:
            async with open_engine(store, Clock(), limit) as gate:
                while waiting:
                    event = waiting.pop(0)
                    if event == RESTART:
                        break
                    if event == REST:
                        await trio.sleep(100)
                    elif isinstance(event, Change):
                        await gate.set_lateness(ONE, event.sensor, event.lateness_us).wait()
                    elif len(event):
                        assert not isinstance(event, str)
                        answers.append(await gate.submit(ONE, as_batch(event)).wait())

    trio.run(partial(main), clock=MockClock(autojump_threshold=0))
    return answers, store


def steps_of(store: FaultyStore, sensor: str, rule_no: int) -> list[oracle.Step]:
    number = store.tenant(ONE).sensors[sensor].sensor_no
    return [
        (step.kind, step.at, step.severity)
        for step in store.transitions
        if step.sensor_no == number and step.rule_no == rule_no
    ]


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """Batches of two sensors with their own lateness, out of order within it and beyond, with
    repetitions, restarts, rests and changes of lateness.
    """
    first = {"s": draw(LATENESS), "q": draw(st.sampled_from([0, SECOND]))}
    rows: list[Row] = []
    for sensor, lateness in first.items():
        groups = draw(streams())[:40]
        beyond = draw(st.sampled_from([1, 1, 3]))
        arrived = draw(disorders(groups, beyond * max(lateness, SECOND)))
        arrived += draw(st.lists(st.sampled_from(arrived), max_size=4))
        rows += [(sensor, metric, ts, value) for metric, ts, value in arrived]
    if draw(st.booleans()):
        rows = sorted(rows, key=lambda row: row[2])[: len(rows) // 2] + rows[len(rows) // 2 :]
    events: list[Event] = [Change(first["s"]), Change(first["q"], "q")]
    events[1:1] = [[("q", "a", -40 * SECOND, 0.0)]]  # a sensor is known by its first reading
    more = st.one_of(
        st.just(RESTART), st.just(REST),
        st.builds(Change, LATENESS | st.just(0)),
        st.builds(Change, LATENESS | st.none(), st.just("q")),
    )  # fmt: skip
    for batch in draw(cuts_of(rows)):
        events.append(batch)
        events += draw(st.lists(more, max_size=1))
    return events


def of_sensor(events: Sequence[Event], sensor: str) -> list[Sequence[oracle.Reading] | int]:
    """What happens at one sensor, as the oracle takes it. Both begin without lateness."""
    found: list[Sequence[oracle.Reading] | int] = []
    tenant, own = 0, None
    for event in events:
        if isinstance(event, Change):
            if event.sensor is None:
                changed, tenant = event.lateness_us != tenant, event.lateness_us or 0
            elif event.sensor == sensor:
                changed, own = event.lateness_us != own, event.lateness_us
            else:
                continue
            if changed:
                found.append(tenant if own is None else own)
        elif not isinstance(event, str):
            found.append([(m, ts, value) for name, m, ts, value in event if name == sensor])
    return found


@given(rule_texts(), lives())
@group(ORDER)
def test_a_life_is_that_of_the_oracle(text: str, events: list[Event]) -> None:
    """Every step of every alert, what became of every reading, and the account of every batch."""
    answers, store = live([text], events, snapshot_every=3, item_steps=1)
    batches = [event for event in events if not isinstance(event, Change | str)]
    assert [a.accepted + a.duplicates for a in answers] == [len(batch) for batch in batches]
    late = duplicates = 0
    for sensor in {name for batch in batches for name, *_ in batch}:
        mine = of_sensor(events, sensor)
        fates, judged = oracle.arrive(mine, 0)
        spec = parse_rule(text)
        expected = oracle.run(spec, [group for groups in judged for group in groups])
        assert steps_of(store, sensor, 1) == expected
        late += sum(fate == "late" for one in fates for fate in one)
        duplicates += sum(fate == "duplicate" for one in fates for fate in one)
        flagged = {
            (metric, ts)
            for event, fate in zip(mine, fates, strict=True)
            if not isinstance(event, int)
            for (metric, ts, _), what in zip(event, fate, strict=True)
            if what == "late"
        }
        t = store.tenant(ONE)
        names = {int(row.series_no): name for name, row in t.series.items()}
        assert flagged == {
            (names[s].metric, ts)
            for (s, ts), (_, is_late) in t.rows.items()
            if is_late and names[s].sensor == sensor
        }
    assert (sum(a.late for a in answers), sum(a.duplicates for a in answers)) == (late, duplicates)


def timeless(steps: Sequence[Transition]) -> list[Transition]:
    """Without when the reading came that let the others out: that depends on the batches."""
    return [attrs.evolve(step, arrived=Micros(0)) for step in steps]


@given(st.lists(rule_texts(), min_size=1, max_size=2), streams(), LATENESS, st.data())
@group(ORDER)
def test_any_order_of_arrival_within_the_lateness_gives_the_same_bytes(
    texts: list[str], groups: list[list[oracle.Reading]], lateness: int, data: st.DataObject
) -> None:
    """In order, one by one; or out of order, in any batches: ids, times, evidence, all of it."""
    rows = sorted((reading for group in groups for reading in group), key=lambda r: r[1])
    first = Change(lateness)
    ordered: list[Event] = [[("s", *r) for r in rows if r[1] == ts] for ts in dict.fromkeys(
        r[1] for r in rows
    )]  # fmt: skip
    arrived = data.draw(disorders(groups, lateness))
    batches = data.draw(cuts_of([("s", *row) for row in arrived]))
    answers, found = live(texts, [first, *batches], item_steps=data.draw(st.sampled_from([1, 256])))
    _, expected = live(texts, [first, *ordered])
    assert timeless(found.transitions) == timeless(expected.transitions)
    assert sum(answer.late for answer in answers) == 0
    _, judged = oracle.arrive([rows], lateness)
    assert len(judged[0]) < len(ordered)  # the last ones still wait


@given(st.lists(rule_texts(), min_size=1, max_size=2), streams(), LATENESS, st.data())
@group(CRASH)
def test_a_crash_anywhere_changes_no_bit_though_readings_wait(
    texts: list[str], groups: list[list[oracle.Reading]], lateness: int, data: st.DataObject
) -> None:
    """What waited is found again among the stored readings, and nothing else is."""
    arrived = data.draw(disorders(groups, 2 * lateness))
    batches = data.draw(cuts_of([("s", *row) for row in arrived]))
    _, expected = live(texts, [Change(lateness), *batches])
    at = data.draw(st.sets(st.integers(0, len(batches)), min_size=1))
    crashed: list[Event] = [Change(lateness)]
    for n, batch in enumerate(batches):
        crashed += [RESTART, batch] if n in at else [batch]
    _, found = live(texts, crashed, snapshot_every=data.draw(st.sampled_from([2, 256])))
    assert found.transitions == expected.transitions
    assert found.tenant(ONE).rows == expected.tenant(ONE).rows


def judge_all(state: TenantState, batch: Batch, slots: Int64s) -> Part:
    arrived = state.next_arrival(Micros(1))
    (part,) = judge(state, batch, slots, arrived, snapshot=False, most_steps=1)
    return part


async def lone_state(lateness_us: int) -> tuple[TenantState, FaultyStore]:
    store = FaultyStore()
    store.tenant(ONE).lateness_us = lateness_us
    await store.register(ONE, [SeriesName("s", m) for m in "ab"], Micros(0))
    state, _ = await recover(store, ONE, Threads(), None, 1 << 30)
    return state, store


async def test_disorder_of_just_the_lateness_is_still_in_time() -> None:
    """The clock has to be beyond; a microsecond more is late."""
    state, _ = await lone_state(10)

    def send(*times: int) -> tuple[list[int], int]:
        batch = as_batch([("s", "a", ts, 1.0) for ts in times])
        slots = state.table.slots(batch.names)[batch.idx]
        item = next(
            judge(
                state, batch, slots, state.next_arrival(Micros(1)), snapshot=False, most_steps=256
            )
        ).item
        return item.judged.tolist() or item.newest.tolist(), len(item.old_ts)

    assert state.reorder is not None
    send(100)
    assert send(110) == ([np.iinfo(np.int64).min], 0)  # 100 waits still: 110 - 10 is not beyond
    assert send(100, 99) == ([], 2)  # known; late
    assert send(101, 111) == ([100], 0)
    assert send(122) == ([111], 0)
    assert state.reorder.judged.tolist() == [111, np.iinfo(np.int64).min]


async def test_waiting_readings_take_memory_that_is_given_back() -> None:
    """About 27 bytes each; the engine's limits can see it."""
    state, _ = await lone_state(3600 * SECOND)
    before = state.held_bytes

    def send(times: Sequence[int]) -> None:
        batch = as_batch([("s", "a", ts, 1.0) for ts in times])
        slots = state.table.slots(batch.names)[batch.idx]
        next(
            judge(
                state, batch, slots, state.next_arrival(Micros(1)), snapshot=False, most_steps=256
            )
        )

    send(range(0, 10_000 * 1000, 1000))
    assert 24 * 10_000 < state.held_bytes - before < 28 * 10_000
    send([7200 * SECOND])
    assert state.held_bytes - before < 1000


async def test_a_million_waiting_readings_are_not_walked_one_by_one() -> None:
    """A reading out of order among many costs a look per block, a batch of them hardly more."""
    state, _ = await lone_state(86_400 * SECOND)

    def send(times: Sequence[int]) -> float:
        count = len(times)
        batch = Batch(
            names=(SeriesName("s", "a"),), idx=np.zeros(count, np.int32), rejects=(), sent=count,
            ts=np.array(times, np.int64), value=np.zeros(count),
            row=np.arange(count, dtype=np.int32),
        )  # fmt: skip
        slots = state.table.slots(batch.names)[batch.idx]
        began = trio.current_time()
        judged = next(
            judge(
                state, batch, slots, state.next_arrival(Micros(1)), snapshot=False, most_steps=256
            )
        )
        assert len(judged.item.fresh_ts) == count
        return trio.current_time() - began

    send(range(0, 2_000_000, 2))
    assert send([1]) < 1.0
    assert send(range(3, 100_003, 2)) < 1.0


@pytest.mark.parametrize("sensor", [None, "s"])
async def test_a_change_of_lateness_judges_what_waits(
    autojump_clock: MockClock, sensor: str | None
) -> None:
    """Committed with it, once; after that the new lateness goes, for the sensor or for all."""
    store = FaultyStore()
    async with open_engine(store, Clock(), EngineLimits()) as gate:
        await gate.edit_rule(ONE, CreateRule("rule r on sensors when a > 1")).wait()
        await gate.submit(ONE, as_batch([("s", "a", 0, 0.0)])).wait()
        await gate.set_lateness(ONE, sensor, 10).wait()
        for ts, value in ((5, 2.0), (9, 0.0), (7, 3.0)):
            await gate.submit(ONE, as_batch([("s", "a", ts, value)])).wait()
        assert store.transitions == []
        await gate.set_lateness(ONE, sensor, 10).wait()  # no change
        assert store.transitions == []
        await gate.set_lateness(ONE, sensor, 0).wait()
        assert [(step.kind, step.at) for step in store.transitions] == [
            ("opened", 5),
            ("cleared", 9),
        ]
        answer = await gate.submit(ONE, as_batch([("s", "a", 8, 9.0)])).wait()
        assert answer.late == 1
        await gate.submit(ONE, as_batch([("s", "a", 10, 9.0)])).wait()
        assert [step.at for step in store.transitions] == [5, 9, 10]
        with pytest.raises(NotFound):
            await gate.set_lateness(ONE, "nobody", 1).wait()


async def test_a_sensor_is_heard_when_its_reading_arrives(autojump_clock: MockClock) -> None:
    """Not when it is judged; what is older than the newest proves nothing, waiting or not."""
    store = FaultyStore()
    start = trio.current_time()

    class Flowing:
        def now_us(self) -> Micros:
            return Micros(10**12 + round(1e6 * (trio.current_time() - start)))

    async with open_engine(store, Flowing(), EngineLimits()) as gate:
        await gate.set_lateness(ONE, None, 3600 * SECOND).wait()
        await gate.edit_rule(ONE, CreateRule("rule r on sensors when no data for 1m")).wait()
        await gate.submit(ONE, as_batch([("s", "a", 1000, 0.0)])).wait()
        await trio.sleep(50)
        await gate.submit(ONE, as_batch([("s", "a", 999, 0.0)])).wait()
        await trio.sleep(20)
        assert [step.kind for step in store.transitions] == ["opened"]
        await gate.submit(ONE, as_batch([("s", "a", 1001, 0.0)])).wait()
        assert [step.kind for step in store.transitions] == ["opened", "cleared"]
