"""Backtests against the naive oracle: the same alerts, counted by hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from random import Random
from unittest import mock
from uuid import UUID

import attrs
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atalaia.engine import feed as feeds
from atalaia.engine.backtest import Judge
from atalaia.engine.feed import Feed, Rows
from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, Micros, RuleNo
from atalaia.rules import backtest as backtests
from atalaia.rules.backtest import Backtest, Group, Order
from atalaia.rules.language import parse_rule
from atalaia.rules.outcome import Trial
from atalaia.rules.silent import Watched
from atalaia.rules.syntax import SEVERITY_ORDER, RuleSpec
from atalaia.rules.tally import FLAP_US
from atalaia.rules.tenant_state import ActiveRule
from atalaia.rules.variants import Variant, make_variants
from tests.groups import ORDER, REPLAY, group
from tests.rules import oracle
from tests.rules.streams import (
    LATENESS,
    SECOND,
    TENANT,
    any_streams,
    build,
    cuts_of,
    disorders,
    feed,
    rule_texts,
    streams,
)

Stored = tuple[int, str, int, float, int]
"""Sensor, metric, ts, value, received_at."""

METRICS = "abc"


@attrs.frozen
class Alert:
    sensor: int
    opened: int
    cleared: int | None
    peak: str

    def meets(self, other: "Alert") -> bool:
        return (
            self.sensor == other.sensor
            and (other.cleared is None or self.opened < other.cleared)
            and (self.cleared is None or other.opened < self.cleared)
        )


def alerts_of(
    spec: RuleSpec, sensor: int, groups: Sequence[Sequence[oracle.Reading]]
) -> list[Alert]:
    found: list[Alert] = []
    for kind, at, severity in oracle.run(spec, groups):
        if kind == "opened":
            found.append(Alert(sensor, at, None, severity))
        elif kind == "cleared":
            found[-1] = attrs.evolve(found[-1], cleared=at)
        else:
            peak = max(found[-1].peak, severity, key=SEVERITY_ORDER.index)
            found[-1] = attrs.evolve(found[-1], peak=peak)
    return found


@contextmanager
def small_chunks(rows: int) -> Iterator[None]:
    with mock.patch.multiple(feeds, CHUNK_ROWS=rows, MOST_ROWS=3 * rows, FIRST_SLICE_US=1_000_000):
        yield


def run(
    backtest: Backtest,
    stored: Sequence[Stored],
    sensors: int,
    group: int,
    lateness: Sequence[int] = (0, 0, 0),
) -> None:
    """As the engine does it, from a list instead of a table."""
    watched = [
        backtest.watch(UUID(int=100 + n), f"s{n}", {}, METRICS, lateness[n]) for n in range(sensors)
    ]
    for first in range(0, sensors, group):
        members = [w for w in watched[first : first + group] if w is not None]
        places = {
            (n, metric): place
            for place, (n, metric) in enumerate(
                (int(w.name[1:]), metric) for w in members for metric in w.metrics
            )
        }
        opened = backtest.open_group(members)
        assert isinstance(opened, Group)
        arrival = backtest.order == "arrival"
        before = backtest.since - 1
        of = opened.sensor_of[: len(places)]
        warmth = Feed(of, before - backtest.reach_us, before, arrival=False)
        pour(warmth, stored, places, opened.warm)
        late_by = opened.lateness_of[: len(of)]
        pour(Feed(of, before, backtest.until, arrival, late_by), stored, places, opened.fold)
        opened.close()


def pour(
    source: Feed, stored: Sequence[Stored], places: dict[tuple[int, str], int], judge: Judge
) -> None:
    """Slice by slice, from a list; places: of the series that are asked for."""
    while not source.done:
        asked = source.next_slice()
        bounds = dict(
            zip(
                asked.series.tolist(),
                zip(asked.since.tolist(), asked.until.tolist(), strict=True),
                strict=True,
            )
        )
        wanted = [
            (places[row[:2]], *row[2:])
            for row in stored
            if row[:2] in places
            and places[row[:2]] in bounds
            and bounds[places[row[:2]]][0] < row[2] <= bounds[places[row[:2]]][1]
        ][: feeds.MOST_ROWS]
        columns = list(zip(*wanted, strict=True)) or [()] * 4
        rows = source.take(
            asked,
            Rows(
                np.array(columns[0], np.int64),
                np.array(columns[1], np.int64),
                np.array(columns[2], np.float64),
                np.array(columns[3], np.int64),
            ),
        )
        judge(rows.series, rows.ts, rows.value, rows.received)


def check(trial: Trial, alerts: list[Alert], live: list[Alert] | None, until: int) -> None:
    """The trial beside what can be counted from the oracle's alerts."""
    assert trial.opened == len(alerts)
    assert trial.open_at_end == sum(a.cleared is None for a in alerts)
    assert trial.firing_us == sum(
        (until if a.cleared is None else a.cleared) - a.opened for a in alerts
    )
    flaps = 0
    for _, mine in groupby(alerts, key=lambda a: a.sensor):
        several = list(mine)
        for a, b in pairwise(several):
            assert a.cleared is not None
            flaps += b.opened - a.cleared <= FLAP_US
    assert trial.flaps == flaps
    peaks = [a.peak for a in alerts]
    assert trial.severities == {name: peaks.count(name) for name in SEVERITY_ORDER}
    days = [a.opened // DAY_US for a in alerts]
    assert trial.busiest_day == (
        None
        if not days
        else (
            min(set(days), key=lambda d: (-days.count(d), d)) * DAY_US,
            max(map(days.count, days)),
        )
    )
    by_sensor = [a.sensor for a in alerts]
    assert trial.noisiest == sorted(
        ((f"s{n}", by_sensor.count(n)) for n in set(by_sensor)), key=lambda x: (-x[1], x[0])
    )
    assert [(a.sensor_at, a.opened_at, a.cleared_at, a.severity) for a in trial.alerts] == [
        (a.sensor, a.opened, a.cleared, a.peak)
        for a in sorted(alerts, key=lambda a: (a.opened, a.sensor))
    ]
    if live is not None and trial.difference is not None:
        kept = sum(any(a.meets(b) for b in alerts) for a in live)
        new = sum(not any(b.meets(a) for a in live) for b in alerts)
        found = trial.difference
        assert (found.kept, found.gone, found.new) == (kept, len(live) - kept, new)


@given(
    rule_texts(), rule_texts(), st.lists(any_streams(), min_size=1, max_size=3),
    st.sampled_from(["event", "arrival"]), st.integers(1, 3), st.integers(4, 60), st.data(),
)  # fmt: skip
@group(REPLAY)
def test_trials_are_what_the_oracle_counts(
    text: str,
    live_text: str,
    streams_: list[list[list[oracle.Reading]]],
    order: Order,
    group: int,
    chunk: int,
    data: st.DataObject,
) -> None:
    """Every figure of every variant, over several sensors, however readings are cut into chunks.

    Readings of one sensor and time in several batches are judged apart in order of arrival, and
    together in order of time; some streams lag, so that the two orders differ.
    """
    live = ActiveRule(RuleNo(1), UUID(int=9), 3, parse_rule(live_text))
    stored: list[Stored] = []
    judged: list[list[list[oracle.Reading]]] = []
    for sensor, groups in enumerate(streams_):
        if data.draw(st.booleans()):
            groups = [[reading] for one in groups for reading in one]
        rows = [(n, r) for n, one in enumerate(groups) for r in one]
        stored += [(sensor, r[0], r[1], r[2], n) for n, r in rows]
        if order == "event":
            by_time = sorted((r for _, r in rows), key=lambda r: r[1])
            groups = [list(same) for _, same in groupby(by_time, key=lambda r: r[1])]
        judged.append(groups)
    times = [row[2] for row in stored]
    since, until = Micros(min(times)), Micros(max(times) + 5)
    backtest = Backtest(
        TENANT, make_variants(parse_rule(text), [0, 2_000_000], []), live, since, until, order
    )
    with small_chunks(chunk):
        run(backtest, Random(chunk).sample(stored, len(stored)), len(streams_), group)
    outcome = backtest.outcome()
    expected = [
        [alert for n, groups in enumerate(judged) for alert in alerts_of(v.spec, n, groups)]
        for v in backtest.variants
    ]
    # An alert that ends at the clock reading of its beginning overlaps by chance of the order.
    exact = all(alert.opened != alert.cleared for alerts in expected for alert in alerts)
    if (
        order == "arrival"
    ):  # so do two that touch, in batches of one time with a chunk's end between
        begins = {(alert.sensor, alert.opened) for alerts in expected for alert in alerts}
        ends = {(alert.sensor, alert.cleared) for alerts in expected for alert in alerts}
        exact = exact and not begins & ends
    assert outcome.trials[backtest.live_at].live
    for trial, alerts in zip(outcome.trials, expected, strict=True):
        check(trial, alerts, expected[backtest.live_at] if exact else None, until)


@given(
    rule_texts(), st.lists(streams(), min_size=1, max_size=2), st.integers(1, 2),
    st.integers(4, 60), st.data(),
)  # fmt: skip
@group(ORDER)
def test_in_order_of_arrival_readings_wait_as_they_did_live(
    text: str,
    streams_: list[list[list[oracle.Reading]]],
    group: int,
    chunk: int,
    data: st.DataObject,
) -> None:
    """Out of order within each sensor's lateness and beyond, what is late left out; what waits at
    the end is not judged.
    """
    spec = parse_rule(text)
    lateness = [data.draw(LATENESS | st.just(0)) for _ in streams_]
    stored: list[Stored] = []
    expected: list[Alert] = []
    readings = 0
    for sensor, groups in enumerate(streams_):
        arrived = data.draw(disorders(groups, 2 * max(lateness[sensor], SECOND)))
        batches = data.draw(cuts_of(arrived))
        fates, judged = oracle.arrive(batches, lateness[sensor])
        stored += [
            (sensor, *row, n)
            for n, (batch, fate) in enumerate(zip(batches, fates, strict=True))
            for row, what in zip(batch, fate, strict=True)
            if what == "judged"
        ]
        expected += alerts_of(spec, sensor, [one for groups in judged for one in groups])
        readings += sum(len(one) for groups in judged for one in groups)
    times = [row[2] for row in stored]
    since, until = Micros(min(times)), Micros(max(times) + 5)
    backtest = Backtest(TENANT, make_variants(spec, [], []), None, since, until, "arrival")
    with small_chunks(chunk):
        shuffled = Random(chunk).sample(stored, len(stored))
        run(backtest, shuffled, len(streams_), group, lateness)
    (trial,) = backtest.outcome().trials
    check(trial, expected, None, until)
    assert backtest.readings == readings


@given(rule_texts(), any_streams(), st.integers(0, 40))
@group(REPLAY)
def test_a_range_that_begins_later_has_warm_windows(
    text: str, groups: list[list[oracle.Reading]], cut: int
) -> None:
    """As a rule that is made at that moment: windows are full, nothing is pending."""
    times = [reading[1] for group in groups for reading in group]
    assume(times == sorted(times) and cut < len(groups))
    since = Micros(groups[cut][0][1])
    rows = [(0, m, ts, value, n) for n, group in enumerate(groups) for m, ts, value in group]
    backtest = Backtest(
        TENANT, make_variants(parse_rule(text), [], []), None, since, Micros(times[-1]), "event"
    )
    with small_chunks(20):
        run(backtest, rows, 1, 1)
    engine = build([text])
    before = [reading for group in groups[:cut] for reading in group]
    for place, metric in enumerate(METRICS):
        mine = [(ts, value) for m, ts, value in before if m == metric]
        engine.warm(
            np.full(len(mine), place, np.int64),
            np.array([ts for ts, _ in mine], np.int64),
            np.array([value for _, value in mine], np.float64),
        )
    opened = [step for step in feed(engine, groups[cut:]) if step.kind == "opened"]
    (trial,) = backtest.outcome().trials
    assert [(a.opened_at, a.value) for a in trial.alerts] == [(s.at, s.value) for s in opened]


@pytest.mark.parametrize(("order", "opened"), [("arrival", 1), ("event", 0)])
def test_batches_of_one_time_are_judged_one_after_the_other(order: Order, opened: int) -> None:
    """As live judged them: between the two batches the condition held."""
    spec = parse_rule("rule r on sensors when a > b")
    rows = [(0, "a", 0, 0.0, 1), (0, "b", 0, 1.0, 1), (0, "a", 9, 2.0, 2), (0, "b", 9, 3.0, 3)]
    backtest = Backtest(TENANT, make_variants(spec, [], []), None, Micros(0), Micros(9), order)
    run(backtest, rows, 1, 1)
    (trial,) = backtest.outcome().trials
    assert (trial.opened, trial.open_at_end, backtest.readings) == (opened, 0, 4)


def test_a_metric_that_comes_much_later_is_judged_when_it_came() -> None:
    """Its slices of time are asked for long after those of the other; the sensor waits."""
    spec = parse_rule("rule r on sensors when count(a, 1d) > 0 and b > 1")
    rows = [(0, "a", n * 1_000_000, 1.0, 2 * n) for n in range(200)]
    rows += [(0, "b", n * 1_000_000, 2.0 * (n % 50 == 7), 2 * n + 121) for n in range(200)]
    backtest = Backtest(
        TENANT, make_variants(spec, [], []), None, Micros(0), Micros(10**9), "arrival"
    )
    with small_chunks(9):
        run(backtest, rows, 1, 1)
    groups = [[(m, ts, value)] for _, m, ts, value, _ in sorted(rows, key=lambda r: r[4])]
    (trial,) = backtest.outcome().trials
    assert [(a.opened_at, a.cleared_at) for a in trial.alerts] == [
        (alert.opened, alert.cleared) for alert in alerts_of(spec, 0, groups)
    ]
    assert trial.opened == 4


def test_only_the_first_alerts_are_listed_and_all_are_counted() -> None:
    """Over variants, sensors and chunks; the earliest of all sensors."""
    spec = parse_rule("rule r on sensors when a > 1")
    until = Micros(2_000_000_000)
    with mock.patch.object(backtests, "ALERTS_SHOWN", 80):
        backtest = Backtest(TENANT, make_variants(spec, [], [1.5]), None, Micros(0), until, "event")
    rows = [
        (sensor, "a", n * 10_000_000 + sensor, float(2 * (n % 2)), n)
        for sensor in range(3) for n in range(200)
    ]  # fmt: skip
    with small_chunks(30):
        run(backtest, rows, 3, 1)
    for trial in backtest.outcome().trials:
        assert (trial.opened, len(trial.alerts), trial.flaps) == (300, 40, 297)
        assert [a.opened_at for a in trial.alerts] == sorted(
            row[2] for row in rows if row[3]
        )[:40]  # fmt: skip


def test_the_live_rule_is_a_variant_of_its_own_unless_one_judges_the_same() -> None:
    """A comment or a name makes no other rule."""
    live = ActiveRule(RuleNo(1), UUID(int=9), 3, parse_rule("rule r on sensors when a > 1"))
    same = make_variants(parse_rule("rule q on sensors when a > 1  # new"), [], [2.0])
    one = Backtest(TENANT, same, live, Micros(0), Micros(9), "event")
    assert (len(one.variants), one.live_at) == (2, 0)
    other = make_variants(parse_rule("rule r on sensors when b > 1"), [], [])
    two = Backtest(TENANT, other, live, Micros(0), Micros(9), "event")
    assert (len(two.variants), two.live_at) == (2, 1)
    assert two.watch(UUID(int=1), "s", {}, "abc") == Watched(UUID(int=1), "s", {}, ("a", "b"))
    assert two.watch(UUID(int=1), "s", {}, "c") is None


def test_windows_beyond_all_memory_are_refused() -> None:
    """In one sentence, not by the operating system."""
    variant = Variant(parse_rule("rule r on sensors when avg(a, 30d) > 1"), 1.0, as_written=True)
    backtest = Backtest(TENANT, (variant,), None, Micros(0), Micros(10**9), "event")
    rows = [(0, "a", n, 1.0, n) for n in range(1, 2_000)]
    with mock.patch.object(backtests, "MAX_STATE_BYTES", 10_000), pytest.raises(Invalid):
        run(backtest, rows, 1, 1)


@given(streams(), LATENESS, st.integers(4, 30), st.data())
def test_a_feed_keeps_the_order_of_arrival_of_readings_out_of_order(
    groups: list[list[oracle.Reading]], lateness: int, chunk: int, data: st.DataObject
) -> None:
    """It looks ahead by the lateness, and gives every reading once."""
    rows = [
        ("abc".index(metric), ts, n)
        for n, (metric, ts, _) in enumerate(data.draw(disorders(groups, lateness)))
    ]
    slot, ts, received = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    given_: list[int] = []
    with small_chunks(chunk):
        source = Feed(
            np.zeros(3, np.int64), int(ts.min()) - 1, int(ts.max()), True, np.full(3, lateness)
        )
        while not source.done:
            asked = source.next_slice()
            since, until = np.full(3, 1 << 62), np.full(3, -(1 << 62))
            since[asked.series], until[asked.series] = asked.since, asked.until
            at = np.flatnonzero((ts > since[slot]) & (ts <= until[slot]))[: feeds.MOST_ROWS]
            rows_ = Rows(slot[at], ts[at], np.zeros(len(at)), received[at])
            given_ += sorted(source.take(asked, rows_).received.tolist())
    assert given_ == list(range(len(rows)))
