"""What the windows and states of a tenant will take once they are full, sensor by sensor.

Unlike the cost of a rule (cost.py), which is said for a sensor at one interval, this counts the
sensors that there are, by how often their readings really come. Pure.
"""

from collections.abc import Sequence
from functools import cached_property

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.rules.cost import WORD, Window, series_bytes
from atalaia.rules.program import ActiveRule, fitting
from atalaia.rules.windows import LOOK

STATE_BYTES = WORD + 130
"""Of a rule at a sensor: its word, and what Python keeps of it (measured)."""

SHOWN = 3
MUCH = 0.1


@attrs.frozen
class Share:
    """What some part takes: of a window over every sensor that has it, in bytes."""

    what: str
    size: float

    def __str__(self) -> str:
        return f"{self.what}, {mib(self.size)}"


NOTHING = Share("nothing", 0.0)


@attrs.frozen
class Forecast:
    """total: in bytes, those of readings that wait for their lateness included. costliest: what
    takes most of it, the first most.
    """

    total: float
    waiting: float
    costliest: tuple[Share, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.costliest))


def cures(total: float, waiting: float) -> str:
    """What makes it less, where so much of it is readings that wait."""
    found = []
    if waiting > MUCH * total:
        found.append("set a smaller lateness")
    if total - waiting > MUCH * total:
        found.append("shorten windows, or watch fewer sensors by them")
    return ", ".join(found)


def mib(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB"


@attrs.frozen(eq=False)
class Plan:
    """What rules are to become. new: such that are to watch, in the place of those with their
    numbers; those with negative ones are younger than all. gone: numbers of those that are to go.
    """

    new: Sequence[ActiveRule] = ()
    gone: frozenset[int] = frozenset()

    @cached_property
    def _numbers(self) -> frozenset[int]:
        return self.gone.union(rule.rule_no for rule in self.new)

    def of(
        self, there: Sequence[ActiveRule], matching: Sequence[ActiveRule]
    ) -> Sequence[ActiveRule]:
        """Of a sensor that these rules watch, and whom these new ones match: in order of age."""
        kept = [rule for rule in there if rule.rule_no not in self._numbers]
        return sorted([*kept, *matching], key=lambda rule: (rule.rule_no < 0, abs(rule.rule_no)))


AS_IT_IS = Plan()


@attrs.define(eq=False)
class Group:
    """Sensors under the same rules, in the order of their age: those that fit watch. first: one."""

    rules: Sequence[ActiveRule]
    first: int
    sensors: int = 0


def forecast(
    groups: Sequence[Group],
    group_of: Int32s,
    metric_of: Int64s,
    metrics: Sequence[str],
    interval_us: Floats,
    fixed: float,
    waiting: Share,
) -> Forecast:
    """group_of, metric_of, interval_us: of every series. fixed: what does not depend on rules."""
    total, states = fixed + waiting.size, 0.0
    shares: dict[tuple[str, str], list[float]] = {}
    order = np.lexsort((metric_of, group_of))
    pairs = np.stack([group_of[order], metric_of[order]])
    starts = np.flatnonzero(np.append(True, (np.diff(pairs) != 0).any(axis=0)))
    series = {
        (int(pairs[0, start]), metrics[int(pairs[1, start])]): order[start:end]
        for start, end in zip(starts, [*starts[1:], len(order)], strict=True)
        if len(order)
    }
    for number, group in enumerate(groups):
        rules = [rule for rule in group.rules if rule.spec.silence is None]
        silent = len(group.rules) - len(rules)
        rules = rules[: fitting(rules)]
        asked = _asked(rules)
        looks = sum(len(windows) for windows in asked.values())
        each = STATE_BYTES * (len(rules) + silent) + WORD * (LOOK * looks + len(asked))
        total += group.sensors * each
        states += group.sensors * STATE_BYTES * (len(rules) + silent)
        for metric, windows in asked.items():
            mine = series.get((number, metric))
            if mine is None:
                continue
            for window, sizes in series_bytes(list(windows), interval_us[mine]).items():
                size = float(sizes.sum())
                total += size
                share = shares.setdefault(windows[window], [0, 0.0])
                share[0] += len(mine)
                share[1] += size
    found = [
        Share(f'{window} of the rule "{rule}" at {count:,.0f} sensors', size)
        for (window, rule), (count, size) in shares.items()
    ]
    found += (Share("what is kept of every rule at every sensor", states), waiting)
    found.sort(key=lambda share: -share.size)
    return Forecast(
        total, waiting.size, tuple(share for share in found[:SHOWN] if share.size > 0.02 * total)
    )


def _asked(rules: Sequence[ActiveRule]) -> dict[str, dict[Window, tuple[str, str]]]:
    """Per metric its windows, each with an aggregate and a rule that asks for it."""
    asked: dict[str, dict[Window, tuple[str, str]]] = {}
    for rule in rules:
        for aggregate in rule.spec.aggregates:
            windows = asked.setdefault(aggregate.metric, {})
            windows.setdefault(Window.of(aggregate), (str(aggregate), rule.spec.name))
    return asked
