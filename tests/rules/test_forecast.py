"""What memory will be is what it becomes."""

from uuid import UUID

import numpy as np
import pytest

from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.forecast import AS_IT_IS, STATE_BYTES, Plan, mib
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from tests.rules.streams import TENANT

pytestmark = pytest.mark.compiled

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
    before = engine.foresight.forecast(intervals())
    assert engine.held_bytes < before.total / 4
    fill(engine)
    assert before.total == pytest.approx(engine.held_bytes, rel=0.05)
    assert engine.foresight.forecast(intervals()) == before
    assert 'max(a, 20m) of the rule "hot"' in str(before)
    assert before.costliest[0].size >= before.costliest[-1].size


@pytest.mark.parametrize("new", range(len(RULES)))
def test_a_rule_that_is_to_come_is_foreseen(new: int) -> None:
    """And one that takes the place of another; the forecast is that of the engine with it."""
    others = [text for n, text in enumerate(RULES) if n != new]
    there = build(active(others), TAGGED)
    (coming,) = active([RULES[new]], first=9)
    with_it = build([*active(others), coming], TAGGED)
    assert there.foresight.forecast(intervals(), Plan([coming])).total == pytest.approx(
        with_it.foresight.forecast(intervals()).total
    )
    replaced = build(active([*others, "rule x on sensors when sum(c, 2h) > 1"]), TAGGED)
    instead = ActiveRule(RuleNo(len(RULES)), UUID(int=9), 2, coming.spec)
    assert replaced.foresight.forecast(intervals(), Plan([instead])).total == pytest.approx(
        with_it.foresight.forecast(intervals()).total
    )


def test_a_rule_that_is_to_go_is_foreseen() -> None:
    """The forecast is that of the engine without it."""
    without = build(active(list(RULES[1:]), first=2), TAGGED)
    found = build(active(list(RULES)), TAGGED).foresight.forecast(
        intervals(), Plan(gone=frozenset([1]))
    )
    assert found.total == pytest.approx(without.foresight.forecast(intervals()).total)


def wide(metrics: range, sensors: str = "") -> str:
    """A rule over so many metrics."""
    return f"rule r on sensors {sensors} when " + " or ".join(f"m{n} > 1" for n in metrics)


THERE = [wide(range(40)), wide(range(30, 70)), wide(range(66, 80))]  # the second is left out


@pytest.mark.parametrize(
    ("text", "number", "fits"),
    [
        (wide(range(40)).replace("> 1", "> 2"), 1, True),  # no worse
        (wide(range(30)), 1, True),  # less
        (wide(range(41)), 1, True),  # another of those that are looked at anyway
        (wide(range(-1, 40)).replace("m-1", "x"), 1, False),  # more
        (wide(range(30, 69)), 2, True),
        (wide(range(30, 71)), 2, True),
        (wide(range(35, 83)), 2, False),
        (wide(range(66, 81)), 3, False),
        (wide(range(5)), -1, False),  # it would be left out
        (wide(range(5), '"x*"'), -1, True),
        (wide(range(30, 70), '"x*"'), 2, True),
    ],
)
def test_who_has_too_many_metrics_may_have_less(text: str, number: int, fits: bool) -> None:
    """Step by step; not more, and nothing that is looked at now may be left out."""
    there = build(active(THERE), {})
    edited = ActiveRule(RuleNo(number), UUID(int=99), 2, parse_rule(text))
    found = there.foresight.crowded(AS_IT_IS, Plan([edited]))
    assert (found is None) == fits
    assert found is None or found[1] == "s0"
    beside = Plan([edited], gone=frozenset([1, 2, 3]) - {number})
    assert there.foresight.crowded(AS_IT_IS, beside) is None


def test_tags_that_make_it_less_are_taken() -> None:
    """Of a sensor whose rules are too many."""
    tagged = [wide(range(40)), wide(range(30, 70), 'where k = "v"'), wide(range(80, 90))]
    there = build(active(tagged), {0: {"k": "v"}})
    assert [rule.rule_no for rule in there.left_out(0)] == [2, 3]
    assert not there.foresight.crowds(0, {})
    assert not there.foresight.crowds(0, {"k": "v", "l": "w"})
    assert there.foresight.crowds(1, {"k": "v"})


def test_tags_that_are_to_come_are_foreseen() -> None:
    """More rules at one sensor."""
    there, with_it = build(active(list(RULES)), TAGGED), dict(TAGGED)
    with_it[20] = {"k": "v"}
    found = there.foresight.forecast(intervals(), retagged={20: {"k": "v"}})
    assert found.total == build(active(list(RULES)), with_it).foresight.forecast(intervals()).total
    assert found.total > there.foresight.forecast(intervals()).total


def test_sensors_that_join_are_counted_before() -> None:
    """What they take at once, without a reading."""
    engine = build(active(list(RULES[:3])), {})
    before = engine.held_bytes
    # s3 as if it were new
    said = sum(engine.foresight.joining_bytes(name, {}) for name in ("s3", "new"))
    engine.add_sensor(SensorNo(90), UUID(int=90), "s3", {})
    engine.add_sensor(SensorNo(91), UUID(int=91), "new", {})
    assert said == engine.held_bytes - before


def test_rules_without_sensors_take_nothing() -> None:
    """And sizes are said so that people can read them."""
    engine = TenantRules(TENANT, active(list(RULES)))
    assert engine.foresight.forecast(np.empty(0)).total == 0
    assert mib(300 << 20) == "300.0 MiB"
    assert STATE_BYTES > 100
