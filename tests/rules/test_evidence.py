"""What an alert was opened on: taken at the judgement, whatever happens before and after it.

That batches and crashes change no byte of it is in test_semantics, whose steps hold it.
"""

import numpy as np
import pytest
from hypothesis import given

from atalaia.model.alert import Opening, Transition
from atalaia.model.ids import Micros
from atalaia.rules import conditions
from atalaia.rules.evidence import AGAIN, FEW_READ, KEPT, MOST_POINTS
from atalaia.rules.language import parse_rule
from atalaia.rules.regions import comparisons
from atalaia.rules.syntax import Node, aggregates
from tests.rules import oracle
from tests.rules.streams import build, feed, rule_texts, streams

PARTS = MOST_POINTS // KEPT


def openings(steps: list[Transition]) -> list[Opening]:
    """Of the steps that open, which alone have one."""
    found = [step.opening for step in steps if step.opening is not None]
    assert len(found) == sum(step.kind == "opened" for step in steps)
    return found


@given(rule_texts(), streams())
def test_an_opening_tells_what_the_oracle_sees(
    text: str, groups: list[list[oracle.Reading]]
) -> None:
    """The readings of each metric's longest window, the values, and what every comparison says."""
    spec, engine, seen = parse_rule(text), build([text]), list[oracle.Reading]()
    widths: dict[str, int] = {}
    for node in aggregates(spec.when):
        widths[node.metric] = max(widths.get(node.metric, 0), node.window_us)
    for group in groups:
        seen += group
        for step in feed(engine, [group]):
            if not openings([step]):
                continue
            (told,) = openings([step])
            assert told.text == text
            assert [(s.metric, s.window_us) for s in told.samples] == list(widths.items())
            for samples in told.samples:
                since = step.at - samples.window_us
                inside = [(t, v) for m, t, v in seen if m == samples.metric and since < t]
                assert samples.count == len(inside)
                assert samples.pairs() == thinned(inside, since, samples.window_us)
            for weighed, node in zip(
                told.weighed, dict.fromkeys(aggregates(spec.when)), strict=True
            ):
                value = oracle.evaluate(node, seen, step.at)
                assert weighed.expression == str(node)
                assert weighed.value == (None if value is None else pytest.approx(value, abs=1e-9))
            nodes = [(c, x) for c, tree in clauses(text) for x in comparisons(tree)]
            for comparison, (clause, found) in zip(told.comparisons, nodes, strict=True):
                assert (comparison.clause, comparison.text) == (clause, conditions.text_of(found))
                assert comparison.truth is oracle.evaluate(found, seen, step.at)


def clauses(text: str) -> list[tuple[str, Node]]:
    spec = parse_rule(text)
    levels = [(level.severity, level.when) for level in spec.levels if level.when is not None]
    return [("when", spec.when), *levels]


def thinned(
    points: list[tuple[int, float]], since: int, width: int, parts: int = PARTS
) -> list[tuple[int, float]]:
    """First, last, least and greatest of each part of the window; all where they are few."""
    if len(points) <= KEPT * parts:
        return points
    kept = set()
    for part in range(parts):
        low, high = (since + width * n // parts for n in (part, part + 1))
        inside = [point for point in points if low < point[0] <= high]
        if inside:
            kept |= {inside[0], inside[-1]}
            kept |= {min(inside, key=lambda p: p[1]), max(inside, key=lambda p: p[1])}
    return sorted(kept)


def test_many_readings_are_thinned_without_losing_the_extremes() -> None:
    """Thousands become MOST_POINTS at most, whatever batches they came in; the count stays."""
    text = "rule r on sensors when avg(a, 1h) > -9 and median(a, 2h) > -99 and last(b, 1s) > 0"
    random = np.random.default_rng(3)
    times = np.cumsum(random.integers(1, 5_000_000, 4_000)).tolist()
    values = random.normal(0, 1, len(times)).tolist()
    groups = [[("a", t, v)] for t, v in zip(times, values, strict=True)]
    groups.append([("b", times[-1] + 1, 1.0)])
    groups += [[("a", times[-1] + 2 + n, 0.0)] for n in range(3_000)]  # the fold goes on
    (told,) = openings(feed(build([text]), groups))
    at, width = times[-1] + 1, 7_200_000_000
    points = [(t, v) for t, v in zip(times, values, strict=True) if t > at - width]
    sampled = told.samples[0]
    assert sampled.count == len(points) > 2_000
    assert sampled.pairs() == thinned(points, at - width, width)
    assert len(sampled.pairs()) <= MOST_POINTS
    assert {min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])} <= {*sampled.pairs()}
    engine, parts = build([text]), []
    for start in range(0, len(groups), 700):
        parts += feed(engine, groups[start : start + 700])
    assert openings(parts) == [told]


def test_a_rule_over_many_metrics_shares_the_points() -> None:
    """Fifty metrics do not make fifty times the evidence."""
    names = [f"m{n}" for n in range(50)]
    text = "rule r on sensors when " + " and ".join(f"avg({name}, 10m) > 0" for name in names)
    engine = build([text])
    slots = np.array([engine.add_series(0, name, None) for name in names])
    ts = np.repeat(np.arange(1, 401) * 1_000_000, len(names))
    value = np.where(ts < 400_000_000, -1.0, 1e9)
    (told,) = openings(engine.fold(np.tile(slots, 400), ts, value, Micros(1)))
    points = [(1_000_000 * n, 1e9 if n == 400 else -1.0) for n in range(1, 401)]
    assert {samples.count for samples in told.samples} == {400}
    for samples in told.samples:
        assert samples.pairs() == thinned(points, -200_000_000, 600_000_000, parts=2)


def test_a_rule_that_flaps_over_a_long_window_is_not_walked_through_each_time() -> None:
    """Within a 64th of the window after the last opening the newest reading stands for all."""
    width, step = 10_000_000_000, 1_000_000
    engine = build([f"rule r on sensors when last(a, {width // 1_000_000}s) > 0"])
    feed(engine, [[("a", n * step, -1.0)] for n in range(6_000)])
    at = 6_000 * step
    later = [at, at + width // AGAIN - step, at + 2 * (width // AGAIN)]
    steps = feed(engine, [[("a", t + d, v)] for t in later for d, v in ((0, 1.0), (step, -1.0))])
    told = [opening.samples[0] for opening in openings(steps)]
    assert [len(samples.pairs()) > 30 for samples in told] == [True, False, True]
    assert told[1].pairs() == [(later[1], 1.0)]
    assert told[1].count == told[0].count + 2 > FEW_READ


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("avg(t, 5m) > 30", "avg(t, 5m) > 30"),
        ("30 < avg(t, 300s)", "30 < avg(t, 5m)"),
        ('(a - (b - 1.5)) * -2 / c >= abs("x/y")',
         '(last(a, 5m) - (last(b, 5m) - 1.5)) * -2 / last(c, 5m) >= abs(last("x/y", 5m))'),
        ("not (a > 1 or b > 2) and c > 3",
         "not (last(a, 5m) > 1 or last(b, 5m) > 2) and last(c, 5m) > 3"),
    ],
)  # fmt: skip
def test_conditions_are_written_as_they_can_be_read(text: str, written: str) -> None:
    """The text means what the condition means."""
    when = parse_rule(f"rule r on sensors when {text}").when
    assert conditions.text_of(when) == written
    assert parse_rule(f"rule r on sensors when {written}").when == when


def test_a_comparison_is_seen_from_the_side_that_looks_at_readings() -> None:
    """Mirrored where the number is written first; below a `not` the opposite is wanted."""
    when = parse_rule("rule r on sensors when not (30 <= t) and u / v < 2").when
    values = dict.fromkeys(aggregates(when), 0.0)
    first, second = (one.weigh(values) for one in conditions.compared("when", when))
    assert (first.value, first.operator, first.threshold) == (0.0, ">=", 30.0)
    assert (first.needs, first.truth) == (False, False)
    assert (second.value, second.truth, second.needs) == (None, None, True)  # division by zero
