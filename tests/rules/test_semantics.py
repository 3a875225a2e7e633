"""The rules against a naive oracle, and the invariants that promise 3 stands on."""

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.alert import Transition
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import TenantRules
from tests.groups import BATCHES, CRASH, NEIGHBOURS, ORACLE, group
from tests.rules import oracle
from tests.rules.streams import any_streams, build, feed, rule_texts, wild_streams

MANY = 2_500 if os.environ.get("NUMBA_DISABLE_JIT") else 8_000
"""Readings, where every one is compared; as plain Python, for the coverage, fewer do."""


def rebuild(engine: TenantRules, groups: list[list[oracle.Reading]]) -> TenantRules:
    """The engine after a restart that found these groups stored, states not yet restored."""
    seen = [reading for group in groups for reading in group]
    rebuilt = TenantRules(engine.tenant_id, engine.rules)
    slot = rebuilt.add_sensor(SensorNo(1), engine._sensors[0].sensor_id, "s1", {})
    for index, metric in enumerate("abc"):
        rows = [(ts, value) for name, ts, value in seen if name == metric]
        newest = rows[-1][0] if rows else None
        rebuilt.add_series(slot, metric, None if newest is None else Micros(newest))
        reach = int(rebuilt.windows_us(np.array([index]))[0])
        kept = [(ts, value) for ts, value in rows if newest is not None and ts > newest - reach]
        if reach:
            rebuilt.warm(
                np.full(len(kept), index),
                np.array([ts for ts, _ in kept], np.int64),
                np.array([value for _, value in kept], np.float64),
            )
    return rebuilt


@given(rule_texts(), any_streams())
@group(ORACLE)
def test_transitions_are_those_of_the_oracle(text: str, groups: list[list[oracle.Reading]]) -> None:
    """Kind, time and severity of every step."""
    found = feed(build([text]), groups)
    assert [(step.kind, step.at, step.severity) for step in found] == oracle.run(
        parse_rule(text), groups
    )
    opened = [step.alert_id for step in found if step.kind == "opened"]
    assert len(opened) == len(set(opened))
    current = None
    for step in found:  # every step belongs to the alert that was opened last
        current = step.alert_id if step.kind == "opened" else current
        assert step.alert_id == current


@given(rule_texts(), any_streams())
@group(ORACLE)
def test_evidence_is_what_the_oracle_computes(
    text: str, groups: list[list[oracle.Reading]]
) -> None:
    """The values of all aggregates at every step."""
    spec = parse_rule(text)
    engine, seen = build([text]), list[oracle.Reading]()
    for one in groups:
        seen += one
        for step in feed(engine, [one]):
            for atom, aggregate in zip(step.evidence, spec.aggregates, strict=True):
                wanted = oracle.evaluate(aggregate, seen, step.at)
                assert atom.expression == str(aggregate)
                assert (atom.value is None) == (wanted is None)
                if wanted is not None:
                    assert atom.value == pytest.approx(wanted, abs=1e-9)


@given(st.lists(rule_texts(), min_size=1, max_size=3), wild_streams(), st.data())
@group(BATCHES)
def test_any_split_into_batches_gives_the_same_bytes(
    texts: list[str], groups: list[list[oracle.Reading]], data: st.DataObject
) -> None:
    """Only groups of one sensor and time stay together."""
    whole = feed(build(texts), groups)
    engine = build(texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(groups)), max_size=5)))
    parts = [groups[a:b] for a, b in zip([0, *cuts], [*cuts, len(groups)], strict=True)]
    assert [step for part in parts for step in feed(engine, part)] == whole


@given(
    st.lists(rule_texts(), min_size=1, max_size=3), any_streams(), st.integers(1, 5),
)  # fmt: skip
@group(BATCHES)
def test_turns_within_a_batch_change_nothing(
    texts: list[str], groups: list[list[oracle.Reading]], rows: int
) -> None:
    """Whoever goes first in between; readings of one sensor and time stay together."""
    whole = feed(build(texts), groups)
    engine, turns = build(texts), 0

    def rest() -> None:
        nonlocal turns
        turns += 1

    engine.take_turns(rows, rest)
    assert feed(engine, groups) == whole
    count = sum(map(len, groups))
    assert count // (rows + 2) - 1 <= turns <= count // rows  # a group has three rows at most


@given(st.lists(rule_texts(), min_size=1, max_size=3), wild_streams(), st.data())
@group(CRASH)
def test_a_crash_anywhere_changes_no_bit(
    texts: list[str], groups: list[list[oracle.Reading]], data: st.DataObject
) -> None:
    """Rebuilt from packed states and the last windows, it goes on as if nothing had happened."""
    whole = feed(build(texts), groups)
    cut = data.draw(st.integers(0, len(groups)))
    first = build(texts)
    steps = feed(first, groups[: cut // 2])
    states = first.take_dirty()
    steps += feed(first, groups[cut // 2 : cut])
    # A commit adds what changed; a snapshot replaces what was stored before it.
    states = states + first.take_dirty() if data.draw(st.booleans()) else first.dump()

    rebuilt = rebuild(first, groups[:cut])
    rebuilt.restore(states)
    assert steps + feed(rebuilt, groups[cut:]) == whole


@pytest.mark.compiled
def test_a_crash_at_every_reading_changes_no_bit() -> None:
    """Rules that wait, open, rise and clear, crashed after each of 400 readings."""
    texts = [
        "rule mean on sensors when avg(a, 10s) > 0.7 for 4s clear when avg(a, 10s) < -0.8 for 4s "
        "severity info, critical when avg(a, 3s) > 0.5 or stddev(a, 10s) > 9",
        "rule low on sensors when min(a, 3s) < -0.9 and rate(b, 10s) > -9 for 2s",
    ]
    groups = [
        [("a", n * 250_000, math.sin(n / 20) + 0.1 * math.cos(n)), ("b", n * 250_000, n % 7 / 3)]
        for n in range(400)
    ]
    whole = feed(build(texts), groups)
    assert {step.kind for step in whole} == {"opened", "raised", "lowered", "cleared"}
    first = build(texts)
    steps: list[Transition] = []
    states = b""
    for cut in range(1, len(groups)):
        steps += feed(first, groups[cut - 1 : cut])
        states += first.take_dirty()
        rebuilt = rebuild(first, groups[:cut])
        rebuilt.restore(states)
        assert steps + feed(rebuilt, groups[cut:]) == whole, cut


@given(rule_texts("one"), rule_texts("two"), wild_streams())
@group(NEIGHBOURS)
def test_a_rule_does_not_notice_other_rules(
    one: str, two: str, groups: list[list[oracle.Reading]]
) -> None:
    """Alone or beside another, the same bytes."""
    alone = feed(build([one]), groups)
    both = feed(build([one, two]), groups)
    assert [step for step in both if step.rule_no == 1] == alone


@given(rule_texts(), wild_streams(), wild_streams())
@group(NEIGHBOURS)
def test_a_sensor_does_not_notice_other_sensors(
    text: str, mine: list[list[oracle.Reading]], other: list[list[oracle.Reading]]
) -> None:
    """Interleaved or alone, the same bytes."""
    alone = feed(build([text], 2), mine)
    engine = build([text], 2)
    mixed = []
    for n in range(max(len(mine), len(other))):
        mixed += feed(engine, other[n : n + 1], sensor=1)
        mixed += feed(engine, mine[n : n + 1])
    assert [step for step in mixed if step.sensor_no == 1] == alone


def test_one_spike_leaves_no_trace_after_its_window() -> None:
    """No running sums: 1e17 in the past does not bend the mean."""
    engine = build(["rule r on sensors when avg(a, 10s) > 20.05"])
    values = [20.1] * 5 + [1e17] + [20.1] * 30
    steps = feed(engine, [[("a", n * 1_000_000, value)] for n, value in enumerate(values)])
    assert [step.kind for step in steps] == ["opened"]
    engine.fold(np.array([0]), np.array([40_000_000]), np.array([20.0]), Micros(1))
    (closed,) = feed(engine, [[("a", 50_000_000, 20.0)]])
    assert closed.value == 20.0


def test_long_windows_grow_their_rings() -> None:
    """Thousands of readings in one window, and many transitions in one fold."""
    engine = build(["rule r on sensors when count(a, 1h) >= 3000 clear when last(a, 1s) < 0",
                    "rule flap on sensors when last(b, 1s) > 0"])  # fmt: skip
    groups = [[("a", n * 1_000_000, 1.0), ("b", n * 1_000_000, float(n % 2))] for n in range(3_000)]
    steps = feed(engine, groups)
    assert [step.at for step in steps if step.rule_no == 1] == [2_999 * 1_000_000]
    assert len([step for step in steps if step.rule_no == 2]) == 2_999


@pytest.mark.compiled
@pytest.mark.parametrize("lag_us", [0, 700_000, 7_000_000, 20_000_000, 29_000_000])
def test_dense_windows_are_what_numpy_computes(lag_us: int) -> None:
    """Thousands of readings in a window, hundreds in a pane, also behind the sensor's clock."""
    rule = (
        "rule r on sensors when last(a, 1s) > 0 and avg(b, 1m) > -9 and stddev(b, 1m) > -9"
        " and min(b, 1m) > -9 and max(b, 45s) > -9 and sum(b, 30s) > -9999 and count(b, 1m) > 0"
    )
    engine = build([rule])
    random = np.random.default_rng(5)
    times = np.cumsum(random.integers(1_000, 60_000, MANY))
    values = np.round(random.normal(0, 1, len(times)), 3)
    checked = 0
    for n, (ts, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
        opened = feed(engine, [[("a", ts, float(n % 5 == 0))]])  # b's reading of now comes after
        if n > 100 and opened and opened[-1].kind == "opened":
            age, known = ts - (times[:n] - lag_us), values[:n]
            minute, most, half = (known[age < s * 1_000_000] for s in (60, 45, 30))
            assert [atom.value for atom in opened[-1].evidence] == pytest.approx(
                [1.0, minute.mean(), minute.std(ddof=1), minute.min(), most.max(), half.sum(),
                 len(minute)], abs=1e-9,
            )  # fmt: skip
            checked += 1
        feed(engine, [[("b", ts - lag_us, value)]])
    assert checked > MANY // 8


@pytest.mark.compiled
@pytest.mark.parametrize("lag_us", [0, 900_000])
def test_scans_of_hundreds_of_readings_go_by_the_grid(lag_us: int) -> None:
    """Values are those of the oracle below and above 256 readings, also behind the clock."""
    names = ["quantile(b, 0.9, 1m)", "median(b, 1m)", "mad(b, 1m)", "ewma(b, 1m)",
             "zscore(b, 1m)", "anomaly(b, 1m)", "median(b, 10s)"]  # fmt: skip
    spec = parse_rule(
        "rule r on sensors when last(a, 1s) > 0 and "
        + " and ".join(f"{name} > -99" for name in names)
    )
    engine = build([spec.text])
    random = np.random.default_rng(7)
    times = np.cumsum(random.integers(20_000, 300_000, 1_500))
    values = np.round(random.normal(0, 1, len(times)), 2)
    seen: list[oracle.Reading] = []
    checked = 0
    for n, (ts, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
        opened = feed(engine, [[("a", ts, float(n % 5 == 0))]])
        if n > 60 and opened and opened[-1].kind == "opened":
            found = [atom.value for atom in opened[-1].evidence[1:]]
            nodes = spec.aggregates[1:]
            recent = [reading for reading in seen if reading[1] > ts - 63_000_000]
            assert found == pytest.approx(
                [oracle.evaluate(node, recent, ts) for node in nodes], abs=1e-9
            )
            checked += 1
        rows = [("b", ts - lag_us, value)]
        seen += rows
        feed(engine, [rows])
    assert checked > 200


SEASONAL = (
    "anomaly(b, 1m, season 2m)", "zscore(b, 1m, season 1m)", "anomaly(b, 20s, season 1m)",
    "zscore(b, 10s, season 150s)",
)  # fmt: skip


def seasonal_stream(count: int) -> tuple[list[int], list[float]]:
    """A swing of two minutes with noise, and silences in which partners are missing."""
    random = np.random.default_rng(11)
    times = np.cumsum(random.integers(20_000, 300_000, count))
    for start in (count // 3, count // 2, 3 * count // 4):
        times[start:] += random.integers(15_000_000, 150_000_000)
    values = 3 * np.sin(times / 120e6 * 2 * np.pi) + random.normal(0, 0.2, count)
    return times.tolist(), np.round(values, 2).tolist()


@pytest.mark.parametrize("lag_us", [0, 900_000])
def test_seasonal_scores_are_those_of_the_oracle(lag_us: int) -> None:
    """Below and above 256 readings, over gaps, also behind the sensor's clock."""
    spec = parse_rule(
        "rule r on sensors when last(a, 1s) > 0 and "
        + " and ".join(f"{name} > -99" for name in SEASONAL)
        + " on no data alert"
    )
    engine = build([spec.text])
    seen: list[oracle.Reading] = []
    checked, unknown = 0, 0
    for n, (ts, value) in enumerate(zip(*seasonal_stream(3_000), strict=True)):
        opened = feed(engine, [[("a", ts, float(n % 25 == 0))]])
        if n > 60 and opened and opened[-1].kind == "opened":
            found = [atom.value for atom in opened[-1].evidence[1:]]
            recent = [reading for reading in seen if reading[1] > ts - 245_000_000]
            expected = [oracle.evaluate(node, recent, ts) for node in spec.aggregates[1:]]
            assert found == [None if x is None else pytest.approx(x, abs=1e-9) for x in expected]
            checked += 1
            unknown += found.count(None)
        rows = [("b", ts - lag_us, value)]
        seen += rows
        feed(engine, [rows])
    assert checked > 100
    assert unknown > 10


@pytest.mark.compiled
def test_a_season_is_the_same_after_a_crash_and_in_any_batch() -> None:
    """Bit for bit, wherever it falls: in a batch, in a window that goes by the grid, in a gap."""
    texts = [
        f"rule r{n} on sensors when abs({name}) > 0.9 clear when abs({name}) < 0.7"
        for n, name in enumerate(SEASONAL)
    ]
    groups: list[list[oracle.Reading]] = [
        [("b", ts, value)] for ts, value in zip(*seasonal_stream(2_400), strict=True)
    ]
    whole = feed(build(texts), groups)
    assert len({step.rule_no for step in whole}) == len(texts)
    assert len(whole) > 100
    first = build(texts)
    steps: list[Transition] = []
    states = b""
    for cut in range(53, len(groups), 53):
        steps += feed(first, groups[cut - 53 : cut])
        states += first.take_dirty()
        rebuilt = rebuild(first, groups[:cut])
        rebuilt.restore(states)
        assert steps + feed(rebuilt, groups[cut : cut + 200]) == [
            step for step in whole if step.at <= groups[min(cut + 199, len(groups) - 1)][0][1]
        ], cut


def test_a_swing_that_comes_back_is_no_anomaly() -> None:
    """A peak of every evening is an anomaly without a season; with it, one in the morning is."""
    engine = build([
        "rule plain on sensors when anomaly(a, 6h)",
        "rule season on sensors when anomaly(a, 6h, season 1d)",
    ])  # fmt: skip
    random = np.random.default_rng(3)
    hour, step = 3_600_000_000, 300_000_000
    times = np.arange(0, 5 * 24 * hour, step)
    values = np.round(random.normal(0, 0.1, len(times)), 3)
    at = times // hour
    values[at % 24 == 18] += 5.0  # each evening
    values[at == 4 * 24 + 9] += 5.0  # once in the morning of the last day
    steps = feed(engine, [[("a", int(ts), float(v))] for ts, v in zip(times, values, strict=True)])
    opened = {
        number: {
            step.at // hour for step in steps if step.rule_no == number and step.kind[0] == "o"
        }
        for number in (1, 2)
    }
    assert opened[1] >= {18, 42, 66, 90, 105}
    assert {when for when in opened[2] if when >= 24} == {105}


@pytest.mark.parametrize(("gap_us", "opens_at"), [(3_000_000, [6_000_000]), (3_000_001, [])])
def test_silence_beyond_the_longest_window_begins_anew(gap_us: int, opens_at: list[int]) -> None:
    """A silence of just that length does not."""
    engine = build(["rule r on sensors when last(a, 3s) > 0 for 4s"])
    steps = feed(engine, [[("a", n * gap_us, 1.0)] for n in range(3)])
    assert [step.at for step in steps] == opens_at


def test_a_window_is_open_at_its_old_end() -> None:
    """(T-W, T]: a reading of just that age is out, one a microsecond younger is in."""
    engine = build(["rule r on sensors when count(a, 10s) >= 2 and count(a, 1m) > 0"])
    assert feed(engine, [[("a", 0, 1.0)], [("a", 10_000_000, 1.0)]]) == []
    assert [step.at for step in feed(engine, [[("a", 19_999_999, 1.0)]])] == [19_999_999]


def test_unknown_neither_opens_nor_clears() -> None:
    """False or unknown is unknown."""
    engine = build(["rule r on sensors when last(a, 1m) > 5 or last(b, 1s) > 0"])
    assert feed(engine, [[("a", 0, 1.0)]]) == []
    assert [step.kind for step in feed(engine, [[("b", 1, 1.0)]])] == ["opened"]
    assert feed(engine, [[("a", 9_000_000, 1.0)]]) == []


def test_a_window_goes_on_after_its_readings_were_let_go() -> None:
    """Its oldest reading's block has been given to somebody else meanwhile."""
    engine = build(["rule r on sensors when sum(a, 1s) >= 3",
                    "rule q on sensors when count(b, 10s) > 999"])  # fmt: skip
    feed(engine, [[("a", n * 100_000, 1.0)] for n in range(21)])
    steps = feed(engine, [[("a", 90_000_000, 1.0)]])
    feed(engine, [[("b", 90_000_000 + n, 9.0)] for n in range(40)])
    steps += feed(engine, [[("a", 90_000_100 + n, 1.0)] for n in range(3)])
    assert [(step.kind, step.at) for step in steps] == [
        ("cleared", 90_000_000), ("opened", 90_000_101),
    ]  # fmt: skip


def test_a_rule_opens_once_in_a_microsecond() -> None:
    """Readings of one time in three requests: opened, cleared, and not opened again till later."""
    engine = build(["rule r on sensors when last(a, 9s) > last(b, 9s) or last(c, 9s) > 0"])
    feed(engine, [[("a", 0, 0.0), ("b", 0, 0.0), ("c", 0, 0.0)]])
    steps = feed(engine, [[("a", 5, 1.0)]]) + feed(engine, [[("b", 5, 2.0)]])
    steps += feed(engine, [[("c", 5, 1.0)]]) + feed(engine, [[("a", 6, 1.0)]])
    assert [(s.kind, s.at) for s in steps] == [("opened", 5), ("cleared", 5), ("opened", 6)]


def test_an_unknown_level_stays() -> None:
    """Severity neither rises nor falls on missing data."""
    engine = build(["rule r on sensors when last(a, 1m) > 0 severity info,"
                    " critical when last(b, 1s) > 0"])  # fmt: skip
    steps = feed(engine, [[("b", 0, 1.0), ("a", 0, 1.0)], [("a", 9_000_000, 1.0)]])
    assert [(s.kind, s.severity) for s in steps] == [("opened", "critical")]


def test_closing_a_rule_names_the_alert_that_was_opened() -> None:
    """A rule edit closes what is open, with its reason, and leaves the state as new."""
    engine = build(["rule r on sensors when last(a, 1s) > 0"], 2)
    (opened,) = feed(engine, [[("a", 5, 1.0)]])
    (closed,) = engine.close(RuleNo(1), arrived=Micros(9), reason="rule_changed")
    assert (closed.alert_id, closed.kind, closed.reason, closed.at, closed.arrived) == (
        opened.alert_id, "cleared", "rule_changed", 5, 9,
    )  # fmt: skip
    assert engine.close(RuleNo(1), arrived=Micros(10), reason="rule_changed") == []


def test_states_of_another_version_are_not_restored() -> None:
    """An edited rule begins anew."""
    engine = build(["rule r on sensors when last(a, 1s) > 0"])
    feed(engine, [[("a", 5, 1.0)]])
    packed = bytearray(engine.dump())
    packed[4] = 2  # the version
    fresh = build(["rule r on sensors when last(a, 1s) > 0"])
    fresh.restore(bytes(packed))
    assert [step.kind for step in feed(fresh, [[("a", 6, 1.0)]])] == ["opened"]
