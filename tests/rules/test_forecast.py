"""What memory will be is what it becomes."""

from uuid import UUID

import numpy as np
import pytest

from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.forecast import STATE_BYTES, mib
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from tests.rules.streams import TENANT

RULES = (
    "rule hot on sensors when avg(a, 5m) > 30 or max(a, 20m) > 40",
    'rule odd on sensors "s1*" when anomaly(a, 2m, season 10m) or stddev(b, 1h) > 5',
    'rule one on sensor "s3" when quantile(b, 0.9, 30m) > 5',
    'rule tagged on sensors where k = "v" when sum(a, 40m) > 9 and ewma(b, 3m) > 4',
    "rule silent on sensors when no data for 10m",
)
SENSORS = 30


def active(texts: list[str], first: int = 1) -> list[ActiveRule]:
    return [
        ActiveRule(RuleNo(n), UUID(int=n), 1, parse_rule(text))
        for n, text in enumerate(texts, first)
    ]


def build(rules: list[ActiveRule], tags: dict[int, dict[str, str]]) -> TenantRules:
    engine = TenantRules(TENANT, rules)
    for number in range(SENSORS):
        slot = engine.add_sensor(
            SensorNo(number), UUID(int=number), f"s{number}", tags.get(number, {})
        )
        for metric in "abc":
            engine.add_series(slot, metric, None)
    return engine


def intervals() -> np.ndarray:
    """Of every series; each sensor has its own."""
    return np.repeat(1_000_000.0 * (1 + np.arange(SENSORS) % 4), 3)


def fill(engine: TenantRules) -> None:
    """Two hours of readings at every sensor."""
    for sensor in range(SENSORS):
        step = int(intervals()[3 * sensor])
        count = 7_200_000_000 // step
        ts = np.repeat(1_700_000_000_000_000 + step * np.arange(count), 3)
        value = np.random.default_rng(sensor).normal(0, 1, 3 * count)
        slots = np.tile(3 * sensor + np.arange(3), count)
        engine.fold(slots, ts, value, Micros(1))


TAGGED = {n: {"k": "v"} for n in range(7)}


def test_a_forecast_is_what_full_windows_hold() -> None:
    """Of rules that are there, before their windows are full and after."""
    engine = build(active(list(RULES)), TAGGED)
    before = engine.forecast(intervals())
    assert engine.held_bytes < before.total / 4
    fill(engine)
    assert before.total == pytest.approx(engine.held_bytes, rel=0.05)
    assert engine.forecast(intervals()) == before
    assert 'max(a, 20m) of the rule "hot"' in str(before)
    assert before.costliest[0].size >= before.costliest[-1].size


@pytest.mark.parametrize("new", range(len(RULES)))
def test_a_rule_that_is_to_come_is_foreseen(new: int) -> None:
    """And one that takes the place of another; the forecast is that of the engine with it."""
    others = [text for n, text in enumerate(RULES) if n != new]
    there = build(active(others), TAGGED)
    (coming,) = active([RULES[new]], first=9)
    with_it = build([*active(others), coming], TAGGED)
    assert there.forecast(intervals(), new=[coming]).total == pytest.approx(
        with_it.forecast(intervals()).total
    )
    replaced = build(active([*others, "rule x on sensors when sum(c, 2h) > 1"]), TAGGED)
    instead = ActiveRule(RuleNo(len(RULES)), UUID(int=9), 2, coming.spec)
    assert replaced.forecast(intervals(), new=[instead]).total == pytest.approx(
        with_it.forecast(intervals()).total
    )


def test_tags_that_are_to_come_are_foreseen() -> None:
    """More rules at one sensor."""
    there, with_it = build(active(list(RULES)), TAGGED), dict(TAGGED)
    with_it[20] = {"k": "v"}
    found = there.forecast(intervals(), retagged=(20, {"k": "v"}))
    assert found.total == build(active(list(RULES)), with_it).forecast(intervals()).total
    assert found.total > there.forecast(intervals()).total


def test_sensors_that_join_are_counted_before() -> None:
    """What they take at once, without a reading."""
    engine = build(active(list(RULES[:3])), {})
    before = engine.held_bytes
    said = engine.joining_bytes(["s3", "new"])  # s3 as if it were new
    engine.add_sensor(SensorNo(90), UUID(int=90), "s3", {})
    engine.add_sensor(SensorNo(91), UUID(int=91), "new", {})
    assert said == engine.held_bytes - before


def test_rules_without_sensors_take_nothing() -> None:
    """And sizes are said so that people can read them."""
    engine = TenantRules(TENANT, active(list(RULES)))
    assert engine.forecast(np.empty(0)).total == 0
    assert mib(300 << 20) == "300.0 MiB"
    assert STATE_BYTES > 100
