"""The cost that is shown: the memory is that of the engine, shared windows are free."""

import numpy as np
import pytest

from atalaia.model.ids import Micros
from atalaia.rules.cost import covers, estimate_costs, most_ns_per_reading
from atalaia.rules.language import parse_rule, parse_rules
from atalaia.rules.syntax import Selector, TagTest
from tests.rules.streams import build

pytestmark = pytest.mark.compiled

SENSORS = 20


def used_bytes(texts: list[str], interval_us: int, readings: int) -> float:
    """Per sensor, after as many readings of metrics a and b, a sensor after the other."""
    engine = build(texts, sensors=SENSORS)
    step = interval_us * np.arange(readings)
    for sensor in range(SENSORS):
        start = 1_700_000_000_000_000 + sensor * 7_333_333  # each at another place of the grid
        slots = np.tile([3 * sensor, 3 * sensor + 1], readings)
        ts = np.repeat(start + step, 2)
        engine.fold(slots, ts, np.random.default_rng(sensor).normal(0, 1, len(ts)), Micros(1))
    return engine.used_bytes / SENSORS


@pytest.mark.parametrize(
    ("others", "rule", "interval_s"),
    [
        ([], "when avg(a, 5m) > 9", 1),
        ([], "when avg(a, 10s) > 9", 1),
        ([], "when stddev(a, 1h) > 9 and max(b, 1m) > 9", 2),
        ([], "when avg(a, 1h) > 9 clear when avg(a, 1m) < 7", 60),
        (["when avg(a, 5m) > 8"], "when max(a, 5m) > 9", 1),
        (["when avg(a, 5m) > 8"], "when max(a, 30m) > 9 or max(a, 3m) > 20", 1),
        (["when avg(a, 30m) > 8", "when b > 9"], "when max(a, 10m) > 9", 5),
        ([], "when anomaly(a, 30m) and quantile(b, 0.9, 1m) > 3", 1),
        ([], "when anomaly(a, 5m, season 20m)", 1),
        (["when avg(a, 9m) > 8"], "when zscore(a, 1m, season 5m) > 4 or anomaly(b, 9m)", 2),
        (["when avg(a, 30m) > 8"], "when median(a, 30m) > 9 and mad(a, 5m) > 1", 1),
    ],
)
def test_memory_is_what_the_engine_takes(others: list[str], rule: str, interval_s: int) -> None:
    """What the rule adds to full windows, within a tenth and a block or two."""
    interval_us = interval_s * 1_000_000
    texts = [f"rule r{n} on sensors {text}" for n, text in enumerate([*others, rule])]
    specs = [parse_rule(text) for text in texts]
    (cost,) = estimate_costs(specs[-1:], specs[:-1], interval_us)
    readings = 4_000 // interval_s + 50
    added = used_bytes(texts, interval_us, readings) - used_bytes(texts[:-1], interval_us, readings)
    assert cost.bytes_per_sensor == pytest.approx(added, rel=0.1, abs=2 * 264)


def test_shared_windows_are_free() -> None:
    """Those of rules in force that watch the same sensors, and of the rules before it."""
    others = parse_rules(
        'rule a on sensors when avg(t, 5m) > 1 rule b on sensors "x*" when avg(u, 5m) > 1'
    )
    rules = parse_rules(
        "rule c on sensors when max(t, 5m) > 1 and max(u, 5m) > 1 and max(v, 5m) > 1"
        " rule d on sensors when max(v, 5m) > 2"
    )
    first, second = estimate_costs(rules, others, 1_000_000)
    assert (first.windows, first.new_windows) == (3, 2)  # b does not watch all of c's sensors
    assert (second.windows, second.new_windows, second.bytes_per_sensor) == (1, 0, 8)
    assert first.ns_per_reading > second.ns_per_reading > 0


def test_a_scan_costs_what_it_looks_at() -> None:
    """By the readings of its window, and no more once it goes by a grid; shared by its kind."""
    rules = parse_rules(
        "rule a on sensors when median(t, 1m) > 1 rule b on sensors when mad(t, 4m) > 1"
        " rule c on sensors when anomaly(t, 1h) rule d on sensors when anomaly(t, 1d)"
        " rule e on sensors when quantile(t, 0.5, 1m) > 2 rule f on sensors when avg(t, 1m) > 1"
    )
    a, b, c, d, e, f = (cost.ns_per_reading for cost in estimate_costs(rules, [], 1_000_000))
    assert 600 < a < 1_000 < 4_000 < b < 6_000
    assert 2_000 < c < 6_000
    assert 0.5 < c / d < 2
    assert e < 20 < f < 100


def test_a_season_costs_its_history() -> None:
    """The ring reaches back over it; a reading costs little more than without."""
    plain, season = estimate_costs(
        parse_rules(
            "rule a on sensors when anomaly(t, 1h) rule b on sensors when anomaly(u, 1h, season 1d)"
        ),
        [],
        1_000_000,
    )
    assert season.bytes_per_sensor == pytest.approx(26 / 1 * plain.bytes_per_sensor, rel=0.1)
    assert plain.ns_per_reading < season.ns_per_reading < 1.1 * plain.ns_per_reading


@pytest.mark.parametrize("interval_us", [1_000, 100_000, 1_000_000, 60_000_000])
def test_the_most_a_reading_costs(interval_us: int) -> None:
    """Is not less than what it costs at any interval, however many rules look at it."""
    rules = parse_rules(
        "rule a on sensors when median(t, 1m) > 1 and avg(t, 5m) > 2 or stddev(t, 5m) > 3"
        " rule b on sensors when mad(t, 4m) > 1 for 5s clear when mad(t, 4m) < 0.5"
        " rule c on sensors when anomaly(t, 1h) rule d on sensors when max(t, 1d) - min(t, 1d) > 1"
    )
    for count in range(1, len(rules) + 1):
        costs = estimate_costs(rules[:count], [], interval_us)
        total = sum(cost.ns_per_reading for cost in costs)
        assert total <= most_ns_per_reading(rules[:count])


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (Selector(), Selector("a", exact=True), True),
        (Selector("a*"), Selector("ab", exact=True), True),
        (Selector("a*"), Selector("ab*"), False),  # not shown, though it is so
        (Selector("b*"), Selector("ab", exact=True), False),
        (Selector("a", exact=True), Selector(), False),
        (Selector("a*"), Selector("a*"), True),
        (Selector(), Selector(tags=(TagTest("k", "v", exact=True),)), True),
        (Selector(tags=(TagTest("k", "v", exact=True),)), Selector(), False),
    ],
)
def test_covering_is_said_when_it_is_sure(wide: Selector, narrow: Selector, expected: bool) -> None:
    """Names, patterns and tags."""
    assert covers(wide, narrow) == expected
