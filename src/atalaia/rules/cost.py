"""What a rule costs before it is saved: memory per sensor, time per reading.

Memory follows from the layout of windows.py, memory.py and states.py at a given sampling interval
(tests compare it with what the engine uses); room to grow is left out, as in `used_bytes`. Time is
a model with constants measured on a machine of two cores: a guide within a factor of two.
"""

from collections.abc import Iterable, Sequence

import attrs

from atalaia.rules.memory import BLOCK, FILL
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

Window = tuple[str, int]
"""Windows of one metric and width are one, whatever is asked of them."""


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
        ns_per_reading=NS_WINDOW * len(new)
        + NS_SPREAD * len(spread)
        + NS_AGGREGATE * len(set(rule.aggregates) - shared)
        + NS_RULE
        + NS_OPERATION * _operations(rule.when),
    )


def window_bytes(windows: set[Window], interval_us: int) -> int:
    """Of one sensor: rings, panes, looks and suffixes, once its windows are full."""
    total = 0
    for metric in {metric for metric, _ in windows}:
        widths = [width for m, width in windows if m == metric]
        ring = _readings(max(widths), interval_us)
        total += WORD  # which series it is
        total += WORD * BLOCK * (ring + FILL - 1) // FILL  # a ring begins anywhere in a block
        if ring > FEW:
            classes = len({pane_shift(width) for width in widths})
            total += WORD * classes * PANES * PANE
        for width in widths:
            total += WORD * LOOK
            if _readings(width, interval_us) > FEW:
                groups = (1 << pane_shift(width)) // interval_us // GROUP
                total += WORD * BLOCK * -(-groups // (FILL // 2))
    return total


def covers(wide: Selector, narrow: Selector) -> bool:
    """Whether one selector surely matches every sensor that the other one matches."""
    if not set(wide.tags) <= set(narrow.tags):
        return False
    if wide.name is None or (wide.name, wide.exact) == (narrow.name, narrow.exact):
        return True
    named = Selector(name=wide.name, exact=wide.exact)
    return narrow.exact and narrow.name is not None and named.matches(narrow.name, {})


def _windows(aggregates: Iterable[Aggregate]) -> set[Window]:
    return {(a.metric, a.window_us) for a in aggregates}


def _readings(width_us: int, interval_us: int) -> int:
    return -(-width_us // interval_us)


def _operations(when: Node) -> int:
    """Beyond the three nodes of a comparison of an aggregate with a number."""
    return max(0, size(when) - 3)
