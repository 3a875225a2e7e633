"""What a rule costs before it is saved: memory per sensor, time per reading.

Memory follows from the layout of windows.py, memory.py and states.py at a given sampling interval
(tests compare it with what the engine uses); room to grow is left out, as in `used_bytes`. Time is
a model with constants measured on a machine of two cores: a guide within a factor of two.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import attrs
import numpy as np

from atalaia.model.batch import Floats
from atalaia.rules.memory import BLOCK, FILL
from atalaia.rules.scanning import EXACT, RESIDUALS, scan_shift
from atalaia.rules.syntax import Aggregate, Node, RuleSpec, Selector, size
from atalaia.rules.windows import FEW, GROUP, LOOK, PANE, PANES, pane_shift

WORD = 8

# ns, from rule sets that differ in one thing each, on the readings of bench/rules.py (windows full,
# 100 sensors, batches of 1,000): another window, another rule on the same aggregate, and so on. A
# reading that no rule watches costs about 10.
NS_WINDOW = 55
NS_SPREAD = 15  # on top, for a window of which stddev is asked
NS_AGGREGATE = 3
NS_RULE = 5  # one comparison, not in alert
NS_OPERATION = 2  # each further operator, number or aggregate of a condition

NS_SCANNED = {"quantile": 12, "median": 12, "mad": 21, "ewma": 6, "zscore": 3, "anomaly": 21}
"""Per reading that such an aggregate looks at: all of the window, or fewer often (scanning.py)."""

NS_SEASON = 100  # to find the reading a season before


@attrs.frozen
class Window:
    """What is kept once for all who ask. scan: the aggregate that looks at every reading, if any;
    sums, extremes and ends of one metric and width share a window. history_us: how far it looks
    back, which is further than its width when it has a season.
    """

    metric: str
    width_us: int
    scan: tuple[str, float] | None
    history_us: int

    @classmethod
    def of(cls, aggregate: Aggregate) -> "Window":
        scan = None
        if aggregate.function in NS_SCANNED:
            function = "quantile" if aggregate.function == "median" else aggregate.function
            scan = (function, 0.5 if aggregate.parameter is None else aggregate.parameter)
        return cls(aggregate.metric, aggregate.window_us, scan, aggregate.history_us)

    @property
    def step_us(self) -> int:
        """Of the grid that a scanned window goes by."""
        return 1 << scan_shift(self.width_us) if self.scan else 0

    def readings(self, interval_us: int) -> int:
        return -(-self.width_us // interval_us)

    def ns(self, interval_us: int) -> float:
        """Of one reading."""
        if self.scan is None:
            return NS_WINDOW
        count = self.readings(interval_us)
        often = 1.0 if count <= EXACT else min(1.0, interval_us / self.step_us)
        season = NS_SEASON if self.history_us > self.width_us else 0
        return NS_WINDOW + season + NS_SCANNED[self.scan[0]] * count * often


@attrs.frozen
class Cost:
    """What a rule adds to what is there.

    windows: those it looks through; new_windows: those that no rule in force keeps already.
    ns_per_reading: for each reading of its metrics.
    """

    windows: int
    new_windows: int
    bytes_per_sensor: int
    ns_per_reading: int


def most_ns_per_reading(rules: Sequence[RuleSpec]) -> int:
    """Of a reading that all of these rules watch, however often readings come: never much less than
    it takes, and much more where they watch different sensors.
    """
    aggregates = [set(rule.aggregates) for rule in rules]
    windows = _windows(chain.from_iterable(aggregates))
    return sum(
        NS_WINDOW + NS_SPREAD + (NS_SCANNED[window.scan[0]] * EXACT if window.scan else 0)
        for window in windows
    ) + sum(
        NS_AGGREGATE * len(asked) + NS_RULE + NS_OPERATION * _operations(rule.when)
        for rule, asked in zip(rules, aggregates, strict=True)
    )


def estimate_costs(
    rules: Sequence[RuleSpec], others: Iterable[RuleSpec], interval_us: int
) -> list[Cost]:
    """The cost of each rule beside others in force and the rules before it.

    A window counts as shared when a rule that watches all the same sensors keeps it; where only
    some of them are shared the rule is cheaper than said. interval_us: from one reading of a
    metric to the next.
    """
    kept: dict[Selector, set[Aggregate]] = {}
    for other in others:
        kept.setdefault(other.selector, set()).update(other.aggregates)
    found = []
    for rule in rules:
        shared = {a for other, those in kept.items() if covers(other, rule.selector) for a in those}
        found.append(_estimate(rule, shared, interval_us))
        kept.setdefault(rule.selector, set()).update(rule.aggregates)
    return found


def _estimate(rule: RuleSpec, shared: set[Aggregate], interval_us: int) -> Cost:
    own, before = _windows(rule.aggregates), _windows(shared)
    new = own - before
    spread = _windows(a for a in rule.aggregates if a.function == "stddev")
    spread -= _windows(a for a in shared if a.function == "stddev")
    added = window_bytes(before | own, interval_us) - window_bytes(before, interval_us)
    return Cost(
        windows=len(own),
        new_windows=len(new),
        bytes_per_sensor=added + WORD,
        ns_per_reading=round(
            sum(window.ns(interval_us) for window in new)
            + NS_SPREAD * len(spread)
            + NS_AGGREGATE * len(set(rule.aggregates) - shared)
            + NS_RULE
            + NS_OPERATION * _operations(rule.when)
        ),
    )


def window_bytes(windows: set[Window], interval_us: int) -> int:
    """Of one sensor: rings, panes, looks and suffixes, once its windows are full."""
    total = 0.0
    interval = np.array([interval_us], np.float64)
    for metric in {window.metric for window in windows}:
        mine = [window for window in windows if window.metric == metric]
        total += WORD  # which series it is
        total += WORD * LOOK * len(mine)
        total += sum(sizes[0] for sizes in series_bytes(mine, interval).values())
    return round(total)


def series_bytes(windows: Sequence[Window], interval_us: Floats) -> dict[Window, Floats]:
    """What each of these windows over one metric keeps per series, once it is full.

    interval_us: of every series. The ring that they share is that of the one that looks back
    furthest.
    """
    longest = max(windows, key=lambda window: window.history_us + window.step_us)
    ring = np.ceil((longest.history_us + longest.step_us) / interval_us)
    found = {window: np.zeros(len(interval_us)) for window in windows}
    found[longest] += WORD * BLOCK * (ring + FILL - 1) / FILL  # it begins anywhere in a block
    classes = len({pane_shift(window.width_us) for window in windows if window.scan is None})
    found[longest] += np.where(ring > FEW, WORD * classes * PANES * PANE, 0)
    for window in windows:
        readings = np.ceil(window.width_us / interval_us)
        if window.history_us > window.width_us:
            found[window] += WORD * BLOCK * (readings + RESIDUALS) / RESIDUALS
        if window.scan is None:
            groups = (1 << pane_shift(window.width_us)) // interval_us // GROUP
            blocks = np.ceil(groups / (FILL // 2))
            found[window] += np.where(readings > FEW, WORD * BLOCK * blocks, 0)
    return found


def covers(wide: Selector, narrow: Selector) -> bool:
    """Whether one selector surely matches every sensor that the other one matches."""
    if not set(wide.tags) <= set(narrow.tags):
        return False
    if wide.name is None or (wide.name, wide.exact) == (narrow.name, narrow.exact):
        return True
    named = Selector(name=wide.name, exact=wide.exact)
    return narrow.exact and narrow.name is not None and named.matches(narrow.name, {})


def _windows(aggregates: Iterable[Aggregate]) -> set[Window]:
    return {Window.of(aggregate) for aggregate in aggregates}


def _operations(when: Node) -> int:
    """Beyond the three nodes of a comparison of an aggregate with a number."""
    return max(0, size(when) - 3)
