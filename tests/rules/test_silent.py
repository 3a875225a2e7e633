"""Backtests of silence against a clock that is looked at every second, and against live code."""

from collections.abc import Sequence
from random import Random
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.engine.feed import Feed
from atalaia.model.errors import Invalid
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.backtest import Backtest
from atalaia.rules.language import parse_rule
from atalaia.rules.silent import SilentGroup
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from atalaia.rules.variants import make_variants
from tests.groups import REPLAY, group
from tests.rules import oracle
from tests.rules.streams import TENANT
from tests.rules.test_backtest import Alert, Stored, check, pour, small_chunks

S = 1_000_000
START = 1_700_000_000 * S
LATENESS = 4 * S
SILENT = "rule silent on sensors when no data for 5s severity critical"

Sensor = tuple[int, list[Stored]]
"""When it was registered, and its readings that were not late."""


@st.composite
def sensors(draw: st.DrawFn, number: int) -> Sensor:
    """Two metrics that arrive together, in turn, in bursts and not at all; times lag or lead, and
    some readings come after newer ones, which is no sign of life.
    """
    pause = st.sampled_from([1, 400_000, S, 3 * S, 5 * S - 1, 5 * S, 6 * S, 31 * S])
    registered = START + draw(st.sampled_from([-40 * S, -1, 0, 1, 250_000, 20 * S]))
    at = registered + draw(st.sampled_from([-3, 0, 2_700_000, 50 * S]))
    lag = draw(st.sampled_from([0, 90 * S, -2 * S]))
    stored: list[Stored] = []
    newest: dict[str, int] = {}
    for step, metrics in draw(
        st.lists(st.tuples(pause, st.sampled_from(["a", "b", "ab"])), max_size=30)
    ):
        for metric in metrics:
            newest[metric] = max(newest.get(metric, at - lag), at - lag)
            elder = newest[metric] - draw(st.sampled_from([0, 0, 0, 2 * S, 4 * S - 1]))
            if draw(st.booleans()) or (number, metric, elder) in {row[:3] for row in stored}:
                elder = at - lag
            stored.append((number, metric, elder, 1.0, at))
        lag -= min(max(lag, 0), S // 2)  # what was kept is delivered faster than it was measured
        at += step
    return registered, stored


def seconds(low: int, high: int) -> st.SearchStrategy[int]:
    """Times around the lines of the grid."""
    parts = st.tuples(st.integers(low, high), st.sampled_from([-1, 0, 1, 300_000]))
    return parts.map(lambda pair: START + pair[0] * S + pair[1])


def run(backtest: Backtest, crowd: Sequence[Sensor], random: Random) -> None:
    """As the engine does it, from lists instead of a table."""
    watched = [
        backtest.watch(
            UUID(int=100 + n), f"s{n}", {}, "ab" if rows else "", LATENESS, Micros(registered)
        )
        for n, (registered, rows) in enumerate(crowd)
    ]
    group = backtest.open_group([sensor for sensor in watched if sensor is not None])
    assert isinstance(group, SilentGroup)
    names = [(n, m) for n, (_, rows) in enumerate(crowd) if rows for m in "ab"]
    places = {name: place for place, name in enumerate(names)}
    since, received = [], []
    for name in names:
        mine = [row for row in crowd[name[0]][1] if row[:2] == name]
        before = [row for row in mine if row[4] < backtest.since]
        newest = max(before, key=lambda row: row[2], default=None)
        since.append(min([row[2] for row in mine], default=0) - 1 if newest is None else newest[2])
        received.append(-1 if newest is None else newest[4])
    group.hear_before(np.array(received, np.int64))
    until = backtest.until + 10 * S
    low = np.minimum(np.array(since, np.int64), until)
    feed = Feed(group.sensor_of, low, until, arrival=True, lateness=group.lateness_of)
    rows = [row for _, mine in crowd for row in mine]
    pour(feed, random.sample(rows, len(rows)), places, group.fold)
    group.close()


def news_of(rows: Sequence[Stored]) -> list[Stored]:
    """Those that were newer than their series' newest; rows in order of arrival."""
    newest: dict[str, int] = {}
    found = []
    for row in rows:
        _, metric, ts, *_ = row
        if ts > newest.get(metric, ts - 1):
            newest[metric] = ts
            found.append(row)
    return found


def arrivals_of(rows: Sequence[Stored]) -> list[int]:
    return sorted({row[4] for row in news_of(rows)})


def alerts_of(sensor: int, steps: Sequence[tuple[str, int, float]]) -> list[Alert]:
    found = []
    for n, (kind, at, _) in enumerate(steps):
        if kind == "opened":
            cleared = steps[n + 1][1] if n + 1 < len(steps) else None
            found.append(Alert(sensor, at, cleared, "critical"))
    return found


@given(
    st.integers(1, 3).flatmap(lambda n: st.tuples(*(sensors(k) for k in range(n)))),
    seconds(-10, 60), st.integers(1, 90 * S), st.integers(4, 40),
)  # fmt: skip
@group(REPLAY)
def test_trials_are_what_a_clock_would_have_seen(
    crowd: tuple[Sensor, ...], since: int, width: int, chunk: int
) -> None:
    """Every figure of every variant, however the readings are cut into chunks."""
    until = since + width
    live = ActiveRule(RuleNo(1), UUID(int=9), 3, parse_rule(SILENT.replace("5s", "3s")))
    variants = make_variants(parse_rule(SILENT), [1 * S, 5 * S, 30 * S], [])
    backtest = Backtest(TENANT, variants, live, Micros(since), Micros(until), "event")
    with small_chunks(chunk):
        run(backtest, crowd, Random(chunk))
    outcome = backtest.outcome()
    heard = [arrivals_of(rows) for _, rows in crowd]
    expected = []
    for variant in backtest.variants:
        assert variant.spec.silence is not None
        after = variant.spec.silence.after_us
        steps = [
            oracle.listen(after, registered, arrivals, since, until)
            for (registered, _), arrivals in zip(crowd, heard, strict=True)
        ]
        expected.append([a for n, mine in enumerate(steps) for a in alerts_of(n, mine)])
        assert [a.value for a in outcome.trials[len(expected) - 1].alerts] == [
            silent for _, _, silent in sorted(
                (at, n, silent) for n, mine in enumerate(steps) for kind, at, silent in mine
                if kind == "opened"
            )
        ]  # fmt: skip
    assert (backtest.order, [v.holds for v in backtest.variants]) == (
        "arrival", ["5s", "1s", "30s", "3s"],
    )  # fmt: skip
    for trial, alerts in zip(outcome.trials, expected, strict=True):
        check(trial, alerts, expected[backtest.live_at], until)
    assert outcome.readings == sum(
        since <= row[4] <= until for _, rows in crowd for row in rows if row in news_of(rows)
    )


@given(sensors(0), st.sampled_from([1, 2, 5, 30]))
@group(REPLAY)
def test_live_rules_open_and_clear_at_the_same_times(sensor: Sensor, after_s: int) -> None:
    """TenantRules, ticked every second and told of every arrival: the steps of the oracle."""
    registered, rows = sensor
    rule = ActiveRule(RuleNo(1), UUID(int=1), 1, parse_rule(SILENT.replace("5s", f"{after_s}s")))
    live = TenantRules(TENANT, [rule])
    slot = live.add_sensor(SensorNo(1), UUID(int=100), "s", {}, Micros(registered))
    series = {metric: live.add_series(slot, metric, None) for metric in "ab"}
    rows = [row for row in rows if row[4] in arrivals_of(rows)]
    arrivals = arrivals_of(rows)
    until = max([registered, *arrivals]) + 40 * S
    steps = []
    lines = range(registered + -registered % S, until + 1, S)
    for at, look in sorted([(a, 0) for a in arrivals] + [(line, 1) for line in lines]):
        if look:
            steps += live.tick(live.due(Micros(at)), Micros(at), Micros(at))
            continue
        batch = [row[1:3] for row in rows if row[4] == at]
        heard = live.hear(np.array([series[metric] for metric, _ in batch]), Micros(at))
        steps += live.end_silence(heard, Micros(at))
    first = min([registered, *arrivals])
    wanted = oracle.listen(after_s * S, registered, arrivals, first, until)
    assert [(step.kind, step.at, step.value) for step in steps] == wanted


@pytest.mark.parametrize(("late_us", "opened"), [(0, 1), (1, 2)])
def test_a_reading_at_the_very_deadline_is_in_time(late_us: int, opened: int) -> None:
    """A microsecond later the clock was looked at first."""
    arrivals = [START, START + 5 * S + late_us]
    rows: list[Stored] = [(0, "a", at, 1.0, at) for at in arrivals]
    backtest = Backtest(
        TENANT, make_variants(parse_rule(SILENT), [], []), None,
        Micros(START), Micros(START + 20 * S), "event",
    )  # fmt: skip
    run(backtest, [(START, rows)], Random(1))
    (trial,) = backtest.outcome().trials
    assert trial.opened == opened
    steps = oracle.listen(5 * S, START, arrivals, START, START + 20 * S)
    assert sum(kind == "opened" for kind, _, _ in steps) == opened


def test_an_older_reading_is_no_sign_of_life() -> None:
    """Though it is in time for its lateness: live is not told of it."""
    rows: list[Stored] = [(0, "a", START, 1.0, START), (0, "a", START - S, 1.0, START + 3 * S)]
    backtest = Backtest(
        TENANT, make_variants(parse_rule(SILENT), [], []), None,
        Micros(START), Micros(START + 20 * S), "event",
    )  # fmt: skip
    run(backtest, [(START, rows)], Random(1))
    (trial,) = backtest.outcome().trials
    assert [alert.opened_at for alert in trial.alerts] == [START + 5 * S]


def test_what_has_another_clock_is_not_compared() -> None:
    """A rule on readings beside one of silence, either way round."""
    of_readings, of_silence = parse_rule("rule r on sensors when t > 1"), parse_rule(SILENT)
    for tried, stored in ((of_readings, of_silence), (of_silence, of_readings)):
        live = ActiveRule(RuleNo(1), UUID(int=9), 1, stored)
        backtest = Backtest(
            TENANT, make_variants(tried, [], []), live, Micros(0), Micros(9), "event"
        )
        assert (backtest.live, backtest.live_at, len(backtest.variants)) == (None, -1, 1)
        assert backtest.incomparable


def test_a_sweep_of_silence_has_whole_seconds_and_no_threshold() -> None:
    """As the language has it; the other numbers stay."""
    spec = parse_rule(SILENT)
    found = make_variants(spec, [60 * S, 5 * S, 60 * S], [])
    assert [(v.holds, v.as_written, v.threshold) for v in found] == [
        ("5s", True, None), ("1m", False, None),
    ]  # fmt: skip
    assert found[1].spec.levels == spec.levels
    for holds, thresholds in (([500_000], []), ([0], []), ([], [1.0])):
        with pytest.raises(Invalid):
            make_variants(spec, holds, thresholds)


def test_a_sensor_that_no_variant_matches_is_not_watched() -> None:
    """And the one that has never sent anything is."""
    spec = parse_rule('rule r on sensor "x" when no data for 5s')
    backtest = Backtest(TENANT, make_variants(spec, [], []), None, Micros(0), Micros(9), "event")
    assert backtest.watch(UUID(int=1), "y", {}, ["t"]) is None
    assert backtest.watch(UUID(int=1), "x", {}, []) is not None
