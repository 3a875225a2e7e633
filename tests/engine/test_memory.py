"""A tenant that holds more memory than it may: it alone waits, and an edit of its rules helps."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, SwitchRule
from atalaia.engine.series_table import SeriesTable
from atalaia.model.batch import MAX_TAGS, Batch, SeriesName
from atalaia.model.errors import Conflict, NotFound, Overloaded
from atalaia.model.ids import SECOND_US, Micros, SeriesNo, TenantNo
from atalaia.rules.language import parse_rule
from tests.engine.store import FaultyStore
from tests.engine.test_silence import Flowing

ONE, TWO = TenantNo(1), TenantNo(2)
LIMIT = 1 << 20
LONG = "rule long on sensors when max(t, 10h) > 9"


@asynccontextmanager
async def engine(
    store: FaultyStore, clock: Flowing | None = None, **limits: object
) -> AsyncIterator[Gate]:
    limit = EngineLimits(**{"tenant_bytes": LIMIT, **limits})  # type: ignore[arg-type]
    async with open_engine(store, clock or Flowing(), limit) as gate:
        yield gate


def stream(sensor: str, start_s: float, count: int, every_s: float = 1.0) -> Batch:
    ts = np.array(1e6 * (start_s + every_s * np.arange(count)), np.int64)
    return Batch(
        names=(SeriesName(sensor, "t"),), idx=np.zeros(count, np.int32), ts=ts,
        value=np.ones(count), row=np.arange(count, dtype=np.int32), rejects=(), sent=count,
    )  # fmt: skip


async def fill(gate: Gate, tenant_no: TenantNo) -> tuple[int, Overloaded]:
    """Send 100 s at a time, a hundred times as dense as before; how much was taken, and the end."""
    for n in range(1_000):
        try:
            await gate.submit(tenant_no, stream("s", 1_000 + n, 1_000, 0.001)).wait()
        except Overloaded as error:
            return 1_000 * n, error
    raise AssertionError


async def test_growth_by_data_is_refused_for_that_tenant_alone(autojump_clock: MockClock) -> None:
    """With what is wrong and what helps; what was answered is stored; logged once."""
    store = FaultyStore()
    with capture_logs() as logs:
        async with engine(store) as gate:
            rule = await gate.edit_rule(ONE, CreateRule(LONG)).wait()
            await gate.submit(ONE, stream("s", 0, 10, 100.0)).wait()
            taken, error = await fill(gate, ONE)
            assert (error.code, error.retry_after_s) == ("too_much_memory", 60)
            assert "may take 1.0 MiB" in error.detail
            assert 'max(t, 10h) of the rule "long" at 1 sensors' in error.detail
            for _ in range(5):
                with pytest.raises(Overloaded):
                    await gate.submit(ONE, stream("s", 9_000, 1)).wait()
            assert (await gate.submit(TWO, stream("s", 0, 10)).wait()).accepted == 10
            # Only what makes it less may be done, and it is enough.
            with pytest.raises(Conflict, match=r"may take 1\.0 MiB"):
                await gate.edit_rule(ONE, CreateRule("rule more on sensors when t > 1")).wait()
            await gate.edit_rule(ONE, ReplaceRule(rule.rule_id, LONG.replace("10h", "1s"))).wait()
            assert (await gate.submit(ONE, stream("s", 9_000, 3)).wait()).accepted == 3
    rows = store.tenant(ONE).rows
    assert len(rows) == 10 + taken + 3
    assert taken * 16 < LIMIT < (taken + 1_000) * 18 + 20_000
    assert [entry["event"] for entry in logs].count("tenant_memory_full") == 1


@pytest.mark.parametrize("cure", [DeleteRule, lambda rule: SwitchRule(rule, enabled=False)])
async def test_a_return_from_rest_stays_within_the_bound(
    autojump_clock: MockClock, cure: type[DeleteRule]
) -> None:
    """Windows are not filled beyond it, nothing is judged, and the edit is still possible."""
    store = FaultyStore()
    async with engine(store) as gate:
        rule = await gate.edit_rule(ONE, CreateRule(LONG)).wait()
        for n in range(7):
            await gate.submit(ONE, stream(f"s{n}", 0, 8_000, 0.01)).wait()
    async with engine(store, tenant_bytes=LIMIT // 4) as gate:  # as if somebody had lowered it
        with pytest.raises(Overloaded, match=r"take 0\.[23] MiB, and may take 0\.2 MiB"):
            await gate.submit(ONE, stream("s", 9_000, 1)).wait()
        await gate.edit_rule(ONE, cure(rule.rule_id)).wait()
        assert (await gate.submit(ONE, stream("s", 9_000, 1)).wait()).accepted == 1


async def test_a_rule_that_would_take_too_much_is_refused(autojump_clock: MockClock) -> None:
    """By the readings' own pace: created, replaced, enabled; nothing of it is kept."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(20):
            await gate.submit(ONE, stream(f"s{n}", 0, 100, 10.0)).wait()
        long = "rule long on sensors when max(t, {}) > 9"
        with pytest.raises(Conflict) as caught:  # 20 series, 360 readings an hour, 17 bytes each
            await gate.edit_rule(ONE, CreateRule(long.format("12h"))).wait()
        assert caught.value.code == "too_much_memory"
        assert 'max(t, 12h) of the rule "long" at 20 sensors' in caught.value.detail
        rule = await gate.edit_rule(ONE, CreateRule(long.format("6h"))).wait()
        with pytest.raises(Conflict):
            await gate.edit_rule(ONE, ReplaceRule(rule.rule_id, long.format("12h"))).wait()
        off = await gate.edit_rule(ONE, CreateRule(long.format("20h").replace("long", "x"),
                                                   enabled=False)).wait()  # fmt: skip
        with pytest.raises(Conflict):
            await gate.edit_rule(ONE, SwitchRule(off.rule_id, enabled=True)).wait()
        outlook = await gate.foresee(ONE, [parse_rule(long.format("12h"))]).wait()
        assert [refusal.code for refusal in outlook.refusals] == ["too_much_memory"]
        assert outlook.now_bytes < outlook.limit_bytes == LIMIT < outlook.with_bytes
        outlook = await gate.foresee(ONE, [parse_rule(long.format("1h"))]).wait()
        assert (outlook.refusals, outlook.with_bytes < outlook.now_bytes) == ([], True)
    assert [(r.name, r.enabled) for r in store.tenant(ONE).rules.values()] == [
        ("long", True), ("x", False),
    ]  # fmt: skip


async def test_the_pace_is_known_after_a_restart_and_an_edit(autojump_clock: MockClock) -> None:
    """From the life before, from the readings that fill the windows, and from others stored."""
    store = FaultyStore()
    spec = parse_rule("rule x on sensors when max(u, 10h) > 9")

    async def said(gate: Gate) -> float:
        outlook = await gate.foresee(ONE, [spec]).wait()
        return outlook.with_bytes - outlook.now_bytes

    async with engine(store) as gate:
        for metric, every_s in (("t", 5.0), ("u", 60.0)):
            slow = attrs.evolve(stream("s", 0, 100, every_s), names=(SeriesName("s", metric),))
            await gate.submit(ONE, slow).wait()
        first = await said(gate)
        assert first == pytest.approx(600 * 16.5, rel=0.2)
        await gate.edit_rule(ONE, CreateRule("rule r on sensors when avg(t, 5m) > 9")).wait()
        assert await said(gate) == pytest.approx(first, abs=2)
    async with engine(store) as gate:
        assert await said(gate) == pytest.approx(first, abs=2)
        asked = store.asked
        assert await said(gate) == pytest.approx(first, abs=2)
        await gate.edit_rule(ONE, CreateRule("rule q on sensors when avg(t, 4m) > 9")).wait()
        await trio.sleep(1)
        assert await said(gate) == pytest.approx(first, abs=2)
        assert store.asked == asked + 1  # for the windows


@pytest.mark.parametrize("every_s", [0.002, 0.3, 3.0, 1_000.0])
async def test_a_first_rule_is_foreseen_after_a_restart_as_before(
    autojump_clock: MockClock, every_s: float
) -> None:
    """Though there are no windows that readings would be loaded for; a few series tell it."""
    store = FaultyStore()
    spec = parse_rule("rule x on sensors when max(t, 12h) > 9")
    async with engine(store) as gate:
        for n in range(3):
            await gate.submit(ONE, stream(f"s{n}", 0, 1_200, every_s)).wait()
        before = await gate.foresee(ONE, [spec]).wait()
    async with engine(store) as gate:
        after = await gate.foresee(ONE, [spec]).wait()
        assert after.with_bytes == pytest.approx(before.with_bytes, rel=0.01)


async def test_readings_too_few_to_tell_are_asked_for_once(autojump_clock: MockClock) -> None:
    """And of a few of many series."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(300):
            await gate.submit(ONE, stream(f"s{n}", 0, 3)).wait()
        for _ in range(3):
            outlook = await gate.foresee(ONE, [parse_rule(LONG)]).wait()
        assert store.asked == 7
        assert store.asked_series < 7 * 256
        assert outlook.with_bytes > 300 * 36_000 * 16


async def six_beside_a_rule(gate: Gate) -> None:
    """Sensors that have sent, and a long window that their tags would give them."""
    for n in range(6):
        await gate.submit(ONE, stream(f"s{n}", 0, 100)).wait()
    rule = CreateRule('rule long on sensors where k = "v" when max(t, 3h) > 9')
    await gate.edit_rule(ONE, rule).wait()


async def test_tags_that_would_take_too_much_are_refused(autojump_clock: MockClock) -> None:
    """They add sensors to a rule."""
    store = FaultyStore()
    async with engine(store) as gate:
        await six_beside_a_rule(gate)
        done = 0
        with pytest.raises(Conflict, match=r'"long" at \d sensors'):  # noqa: PT012
            for n in range(6):
                await gate.set_tags(ONE, {f"s{n}": {"k": "v"}}).wait()
                done += 1
        assert 3 <= done < 6
        await gate.set_tags(ONE, {"s0": {}}).wait()
        await gate.set_tags(ONE, {"s5": {"k": "v"}}).wait()


async def test_sensors_ahead_of_their_readings_must_fit_too(autojump_clock: MockClock) -> None:
    """Or none of them is there; tags of many at once are weighed together."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(20):
            text = f"rule r{n} on sensors when avg(t, {n + 1}s) > 9"
            await gate.edit_rule(ONE, CreateRule(text)).wait()
        with pytest.raises(Conflict, match="with these sensors"):
            await gate.register(ONE, {f"s{n}": {} for n in range(5_000)}).wait()
        assert store.tenant(ONE).sensors == {}
        assert await gate.register(ONE, {"a": {}, "b": {}}).wait() == ["a", "b"]
        assert await gate.register(ONE, {"b": {}, "c": {}}).wait() == ["c"]


async def test_some_tags_are_changed_among_those_that_are_there_then(
    autojump_clock: MockClock,
) -> None:
    """Not among those that whoever asked has seen; what says nothing new changes nothing."""
    store = FaultyStore()
    async with engine(store) as gate:
        await gate.register(ONE, {"a": {"k": "1", "l": "1"}, "b": {"k": "2"}}).wait()
        gate.set_tags(ONE, {"a": {"k": "1", "l": "1", "m": "1"}})
        some = gate.set_tags(ONE, {"a": {"k": "2"}, "b": {"k": "2"}}, about={"k", "l"})
        assert await some.wait() == ("a",)
        tags = {sensor.name: sensor.tags for sensor in store.tenant(ONE).sensors.values()}
        assert tags == {"a": {"k": "2", "m": "1"}, "b": {"k": "2"}}
        assert await gate.set_tags(ONE, {"b": {"k": "2"}}, about={"k", "l"}).wait() == ()
        many = {f"t{n}": "x" for n in range(MAX_TAGS)}
        with pytest.raises(Conflict, match=f"may have {MAX_TAGS}"):
            await gate.set_tags(ONE, {"b": many}, about=set(many)).wait()
        assert await gate.set_tags(ONE, {"b": many}, about={*many, "k"}).wait() == ("b",)


async def test_tags_of_many_sensors_are_weighed_together(autojump_clock: MockClock) -> None:
    """Each of them would fit, all of them do not; then none is changed."""
    store = FaultyStore()
    async with engine(store) as gate:
        await six_beside_a_rule(gate)
        with pytest.raises(Conflict, match='"long" at 6 sensors'):
            await gate.set_tags(ONE, {f"s{n}": {"k": "v"} for n in range(6)}).wait()
        assert not any(sensor.tags for sensor in store.tenant(ONE).sensors.values())
        with pytest.raises(NotFound, match="nobody"):
            await gate.set_tags(ONE, {"s0": {"k": "v"}, "nobody": {}}).wait()
        await gate.set_tags(ONE, {f"s{n}": {"k": "v"} for n in range(3)}).wait()
        tagged = [sensor.name for sensor in store.tenant(ONE).sensors.values() if sensor.tags]
        assert tagged == ["s0", "s1", "s2"]


async def test_sensors_that_do_not_fit_any_more_are_not_registered(
    autojump_clock: MockClock,
) -> None:
    """Before they take anything."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(20):
            await gate.edit_rule(
                ONE, CreateRule(f"rule r{n} on sensors when avg(t, {n + 1}s) > 9")
            ).wait()
        names = tuple(SeriesName(f"s{n}", "t") for n in range(1_000))
        idx = np.arange(1_000, dtype=np.int32)
        many = Batch(
            names=names, idx=idx, ts=np.ones(1_000, np.int64), value=np.ones(1_000), row=idx,
            rejects=(), sent=1_000,
        )  # fmt: skip
        with pytest.raises(Overloaded, match="sensors that are new in this batch take ") as caught:
            await gate.submit(ONE, many).wait()
        assert (
            "a batch with new sensors is taken when they take less, others are"
            in caught.value.detail
        )
        assert store.tenant(ONE).sensors == {}
        assert (await gate.submit(ONE, stream("s1", 0, 1)).wait()).accepted == 1


async def test_what_we_refuse_is_nobodys_silence(autojump_clock: MockClock) -> None:
    """While a tenant is full, and from then on for as long as a sensor may be silent."""
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await gate.edit_rule(ONE, CreateRule("rule s on sensors when no data for 10m")).wait()
        rule = await gate.edit_rule(ONE, CreateRule(LONG)).wait()
        await gate.submit(ONE, stream("s", 0, 10, 100.0)).wait()
        await fill(gate, ONE)
        for n in range(40):
            await trio.sleep(60)
            with pytest.raises(Overloaded):
                await gate.submit(ONE, stream("s", 9_000 + n, 1)).wait()
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
        await trio.sleep(590)
        assert store.transitions == []
        await trio.sleep(30)
        assert [step.kind for step in store.transitions] == ["opened"]


def among(*names: str) -> Batch:
    """A reading of each."""
    return attrs.evolve(
        stream("s", 10_000, len(names)), names=tuple(SeriesName(name, "t") for name in names),
        idx=np.arange(len(names), dtype=np.int32),
    )  # fmt: skip


async def test_only_what_is_refused_is_not_silent(autojump_clock: MockClock) -> None:
    """Batches with sensors too many are; those who are named in none of them are silent, and
    nobody forgets it when the actor is rebuilt.
    """
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await gate.edit_rule(ONE, CreateRule("rule s on sensors when no data for 10m")).wait()
        for n in range(20):
            text = f"rule r{n} on sensors when avg(t, {n + 1}s) > 9"
            await gate.edit_rule(ONE, CreateRule(text)).wait()
        await gate.submit(ONE, among("s", "dead")).wait()
        began = trio.current_time()
        many = among("s", *(f"new-{n}" for n in range(1_000)))
        for _ in range(10):
            await trio.sleep(59)
            with pytest.raises(Overloaded):
                await gate.submit(ONE, many).wait()
        await gate.edit_rule(ONE, CreateRule("rule x on sensors when t > 1")).wait()
        told = gate.hearing(ONE)
        assert told.silent_since("s", Micros(0)) == clock.now_us()
        await trio.sleep(500)
        (opened,) = store.transitions
        assert opened.sensor_no == store.tenant(ONE).sensors["dead"].sensor_no
        assert (opened.at - clock.now_us()) / 1e6 + trio.current_time() - began < 602
        await trio.sleep(110)
        assert len(store.transitions) == 2


async def test_what_a_question_is_told_while_nothing_is_taken(autojump_clock: MockClock) -> None:
    """A full tenant's silence does not go on; afterwards it does, from where it was."""
    store, clock = FaultyStore(), Flowing()
    async with engine(store, clock) as gate:
        await gate.edit_rule(ONE, CreateRule("rule s on sensors when no data for 10m")).wait()
        rule = await gate.edit_rule(ONE, CreateRule(LONG)).wait()
        await gate.submit(ONE, stream("s", 0, 10, 100.0)).wait()
        heard = clock.now_us()
        await trio.sleep(100)
        await gate.submit(ONE, among("other")).wait()
        await fill(gate, ONE)
        await trio.sleep(1_000)
        told = gate.hearing(ONE)
        assert (told.deaf, gate.hearing(TWO).deaf) == (True, False)
        assert clock.now_us() - told.silent_since("x", heard) == pytest.approx(100e6, abs=1e6)
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
        await trio.sleep(300)
        assert not gate.hearing(ONE).deaf
        since = gate.hearing(ONE).silent_since("x", heard)
        assert clock.now_us() - since == pytest.approx(400e6, abs=1e6)


async def test_readings_that_wait_are_named_with_their_cure(autojump_clock: MockClock) -> None:
    """No rule is the cause, and to change one helps nobody: a smaller lateness does."""
    store = FaultyStore()
    async with engine(store) as gate:
        await gate.set_lateness(ONE, None, 24 * 3600 * SECOND_US).wait()
        await gate.submit(ONE, stream("s", 0, 10, 100.0)).wait()
        _, error = await fill(gate, ONE)
        assert "readings that wait for their lateness (1.0 MiB), take 1.0 MiB" in error.detail
        assert "Set a smaller lateness, or ask for more" in error.detail
        assert "windows, or" not in error.detail
        assert "readings that wait for a lateness of up to 1d at 1 sensors" in error.detail
        with pytest.raises(Conflict, match=r"Set a smaller lateness, or ask"):
            await gate.edit_rule(ONE, CreateRule("rule more on sensors when t > 1")).wait()
        with pytest.raises(Conflict, match="may take 1"):
            await gate.set_lateness(ONE, "s", 25 * 3600 * SECOND_US).wait()
        await gate.set_lateness(ONE, None, 10 * SECOND_US).wait()
        assert (await gate.submit(ONE, stream("s", 9_000, 3)).wait()).accepted == 3


async def test_a_lateness_that_would_take_too_much_is_refused(autojump_clock: MockClock) -> None:
    """By the readings' own pace, of all sensors or of one; rules are refused beside it."""
    store = FaultyStore()
    hour = 3_600 * SECOND_US
    async with engine(store) as gate:
        for n in range(20):
            await gate.submit(ONE, stream(f"s{n}", 0, 100, 10.0)).wait()
        # 20 series, 360 readings an hour, 27 bytes each: 5 hours are all there is.
        with pytest.raises(Conflict, match=r"up to 6h at 20 sensors, 1\.1 MiB"):
            await gate.set_lateness(ONE, None, 6 * hour).wait()
        with pytest.raises(Conflict, match=r"up to 5d at 1 sensors, 1\.1 MiB"):
            await gate.set_lateness(ONE, "s1", 120 * hour).wait()
        assert store.tenant(ONE).lateness_us == 0
        await gate.set_lateness(ONE, None, 4 * hour).wait()
        long = "rule long on sensors when max(t, {}) > 9"
        outlook = await gate.foresee(ONE, [parse_rule(long.format("4h"))]).wait()
        assert outlook.now_bytes == pytest.approx(20 * 4 * 360 * 26.4, rel=0.05)
        with pytest.raises(Conflict) as caught:
            await gate.edit_rule(ONE, CreateRule(long.format("4h"))).wait()
        assert "Set a smaller lateness, shorten windows, or watch fewer" in caught.value.detail
        await gate.set_lateness(ONE, None, hour).wait()
        await gate.edit_rule(ONE, CreateRule(long.format("4h"))).wait()
        with pytest.raises(Conflict):
            await gate.set_lateness(ONE, None, 4 * hour).wait()


def table(series: Sequence[int]) -> SeriesTable:
    made = SeriesTable()
    for n in series:
        made.add(SeriesName(f"s{n}", "t"), SeriesNo(n), 0, None)
    return made


def see(made: SeriesTable, slot: int, times_s: Sequence[float]) -> None:
    """As a batch of fresh readings."""
    ts = np.array([round(1e6 * t) for t in times_s], np.int64)
    made.observe(np.array([slot]), np.array([len(ts) - 1]), ts)
    made.newest[slot] = Micros(int(ts[-1]))


def test_the_pace_of_readings_is_that_of_late() -> None:
    """Whatever the batches; an outage is forgotten soon; what is unknown is like the others."""
    made = table([7, 3, 9])
    assert made.interval_us().tolist() == [SECOND_US] * 3
    see(made, 0, np.arange(0, 5_000, 10.0).tolist())
    for n in range(500):
        see(made, 1, [60.0 * n])
    assert made.interval_us() == pytest.approx([10e6, 60e6, 35e6], rel=0.01)
    see(made, 0, (1e7 + np.arange(0, 20_000, 10.0)).tolist())
    assert made.interval_us()[0] == pytest.approx(10e6, rel=0.05)
    for n in range(50):
        see(made, 0, (1e7 + 20_000 + 20 * n + np.arange(20)).tolist())
    assert made.interval_us()[0] < 2e6
    for n in range(1_000):
        see(made, 0, [1e7 + 30_000 + 40 * n])
    assert made.interval_us()[0] == pytest.approx(40e6, rel=0.2)
    other = table([3, 4, 7])
    other.newest[[0, 2]] = made.newest[[1, 0]]
    other.adopt(made)
    assert other.interval_us()[[0, 2]].tolist() == made.interval_us()[[1, 0]].tolist()
    known = other.interval_us().tolist()
    for nothing in (table([]), table([4, 7, 3])):
        other.adopt(nothing)
        assert other.interval_us().tolist() == known
