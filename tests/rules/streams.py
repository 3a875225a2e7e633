"""Rules and streams for the tests of the engine's rules."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np
from hypothesis import strategies as st

from atalaia.model.alert import Transition
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from tests.rules.oracle import Reading

TENANT = UUID(int=7)
SECOND = 1_000_000
LATENESS = st.sampled_from([1, 250_000, SECOND, 4 * SECOND, 30 * SECOND])

T = TypeVar("T")

CONDITIONS = (
    "avg({a}, {w}) > 1.25",
    "max({a}, {w}) >= 3",
    "min({a}, {w}) < -2",
    "sum({a}, {w}) > 5.25",
    "count({a}, {w}) >= 3",
    "stddev({a}, {w}) > 1.9",
    "first({a}, {w}) > 1 and last({b}, {v}) < 2",
    "delta({a}, {w}) > 3",
    "rate({a}, {w}) > 0.37",
    "not (min({a}, {w}) > -1) or avg({b}, {v}) > 2.25",
    "abs(last({a}, {w}) - last({b}, {v})) * 2 > 5",
    "avg({a}, {w}) / avg({b}, {v}) > 1.01",
    "-last({a}, {w}) + 1 <= 0",
    "quantile({a}, 0.8, {w}) > 1.3 or median({b}, {v}) < -1.1",
    "mad({a}, {w}) > 1.2 and ewma({b}, {v}) > 0.1",
    "zscore({a}, {w}) > 0.7",
    "abs(anomaly({a}, {w})) > 0.9",
    "abs(anomaly({a}, {w}, season 1m)) > 0.9 or zscore({b}, {v}, season 2m) > 0.7",
)


@st.composite
def rule_texts(draw: st.DrawFn, name: str = "r", *, schedules: bool = True) -> str:
    """One rule over metrics a and b with small windows."""
    window = st.sampled_from(["1s", "3s", "10s", "1m"])

    def condition() -> str:
        return draw(st.sampled_from(CONDITIONS)).format(
            a=draw(st.sampled_from("ab")),
            b=draw(st.sampled_from("ab")),
            w=draw(window),
            v=draw(window),
        )

    text = f"rule {name} on sensors when {condition()}"
    if draw(st.booleans()):
        text += f" for {draw(st.sampled_from(['1s', '4s', '500ms']))}"
    if schedules and draw(st.integers(0, 4)) == 0:
        text += draw(st.sampled_from([" during thu 00:00-00:01 UTC", " during daily UTC",
                                      " during tue,wed 22:00-22:30 Asia/Kathmandu"]))  # fmt: skip
    if draw(st.booleans()):
        text += f" clear when {condition()}"
        if draw(st.booleans()):
            text += f" for {draw(st.sampled_from(['1s', '3s']))}"
    text += " severity info"
    if draw(st.booleans()):
        text += f", warning when {condition()}"
        if draw(st.booleans()):
            text += f", critical when {condition()}"
    if draw(st.integers(0, 3)) == 0:
        text += f" on no data {draw(st.sampled_from(['clear', 'alert']))}"
    return text


LAG = 7_000_003
"""Of a lagging metric b, in µs; no step is as long, so that no two groups fall on one time."""


STEPS = (1, 250_000, 500_000, 1_000_000, 3_000_000, 10_000_000, 61_000_000)
EDGES = (1, (1 << 17) - 1, 1 << 17, 1 << 19, 1 << 21, 1 << 23, 1_000_000, 3_000_000, 10_000_000)
"""Panes of the windows above are 2**17, 2**19, 2**21 and 2**23 µs wide."""

EXTREMES = (1e300, -1e300, 9.99e299, 1e-300, -1e-300, 5e-324, -5e-324, 2.5e-310, 0.0, -0.0, 1.0)


@st.composite
def streams(
    draw: st.DrawFn, steps: Sequence[int] = STEPS, values: Sequence[float] | None = None
) -> list[list[Reading]]:
    """Groups of one time each, per metric ascending; gaps, bursts, window edges, equal times.

    Bursts fill windows beyond windows.FEW. In some streams metric b lags behind the sensor's
    clock. values: those to choose from; without, halves.
    """
    value = st.integers(-10, 10).map(lambda n: n / 2) if values is None else st.sampled_from(values)
    parts = draw(
        st.lists(
            st.tuples(
                st.sampled_from(steps),
                st.sampled_from(["a", "b", "ab", "c"]),
                st.lists(value, min_size=2, max_size=5),
                st.sampled_from([1, 1, 1, 1, 1, 50]),
            ),
            min_size=1,
            max_size=40,
        )
    )
    at = draw(st.sampled_from([-30_000_000, -(1 << 25), 0, 1 << 50, 1_700_000_000_000_000]))
    lag = draw(st.sampled_from([0, 0, LAG]))
    groups = []
    for step, metrics, some, times in parts:
        for n in range(times):
            at += step
            group = [
                (metric, at - lag * (metric == "b"), some[(n + k) % len(some)])
                for k, metric in enumerate(metrics)
            ]
            groups += [[reading] for reading in group] if lag else [group]
    return groups


def any_streams() -> st.SearchStrategy[list[list[Reading]]]:
    """Of ordinary values, on every kind of time."""
    return st.one_of(streams(), streams(steps=EDGES))


def wild_streams() -> st.SearchStrategy[list[list[Reading]]]:
    """Of values that overflow when squared, vanish, or swallow each other, too."""
    return st.one_of(any_streams(), streams(values=EXTREMES), streams(EDGES, EXTREMES))


@st.composite
def disorders(draw: st.DrawFn, groups: Sequence[Sequence[Reading]], most: int) -> list[Reading]:
    """The readings in an order of arrival in which none is more than `most` behind another."""
    rows = [reading for group in groups for reading in group]
    delays = draw(
        st.lists(
            st.sampled_from([0, 0, most // 3, most - 1, most]),
            min_size=len(rows), max_size=len(rows),
        )
    )  # fmt: skip
    shuffled = draw(st.permutations(range(len(rows))))
    return [rows[n] for n in sorted(shuffled, key=lambda n: rows[n][1] + delays[n])]


@st.composite
def cuts_of(draw: st.DrawFn, rows: Sequence[T]) -> list[list[T]]:
    """Some batches, in each of which the order is any."""
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    parts = [list(rows[a:b]) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True) if b > a]
    return [list(draw(st.permutations(part))) if len(part) < 9 else part for part in parts]


def build(texts: Sequence[str], sensors: int = 1) -> TenantRules:
    """An engine with sensors 1..n, each with series a, b, c in slots 3k, 3k+1, 3k+2."""
    rules = [
        ActiveRule(RuleNo(n), UUID(int=n), 1, parse_rule(text)) for n, text in enumerate(texts, 1)
    ]
    engine = TenantRules(TENANT, rules)
    for number in range(1, sensors + 1):
        slot = engine.add_sensor(SensorNo(number), UUID(int=100 + number), f"s{number}", {})
        for metric in "abc":
            engine.add_series(slot, metric, None)
    return engine


def feed(
    engine: TenantRules, groups: Sequence[Sequence[Reading]], sensor: int = 0
) -> list[Transition]:
    """All groups in one fold."""
    rows = [reading for group in groups for reading in group]
    if not rows:
        return []
    return engine.fold(
        np.array([3 * sensor + "abc".index(metric) for metric, _, _ in rows]),
        np.array([ts for _, ts, _ in rows]),
        np.array([value for _, _, value in rows]),
        Micros(1),
    )
