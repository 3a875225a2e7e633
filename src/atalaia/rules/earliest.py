"""The earliest time at which an alert can open, if from now on the condition holds. Pure."""

from collections.abc import Iterator

from atalaia.model.ids import DAY_US, Micros
from atalaia.rules.states import Standing
from atalaia.rules.syntax import RuleSpec

AHEAD_US = 15 * DAY_US
"""How far ahead a schedule is looked through: it repeats within a week."""


def _intervals(spec: RuleSpec, since: int, until: int) -> Iterator[tuple[int, int]]:
    """When the rule may open, [start, end), those that touch made one."""
    if spec.schedule is None:
        yield since, until
        return
    start = end = None
    for opens, closes in spec.schedule.intervals(since, until):
        if start is None or end is None:
            start, end = opens, closes
        elif opens <= end:
            end = max(end, closes)
        else:
            yield start, end
            start, end = opens, closes
    if start is not None and end is not None:
        yield start, end


def next_open(spec: RuleSpec, at: int) -> Micros | None:
    """The first time from `at` on at which the schedule lets the rule open."""
    for start, end in _intervals(spec, at, at + AHEAD_US):
        if end > at:
            return Micros(max(start, at))
    return None


def earliest(spec: RuleSpec, standing: Standing, clock: Micros) -> Micros | None:
    """No alert can open before; it does then if the condition holds at every reading from the
    sensor's clock on, and readings are no further apart than the longest window.

    None: never, the schedule being shorter than `for`.
    """
    first = clock + 1 if standing.opened == clock else clock  # once in a microsecond
    since: int | None = None
    last = 0
    if standing.phase == "pending" and standing.since is not None and standing.last is not None:
        since, last = standing.since, standing.last
    for start, end in _intervals(spec, first, first + spec.for_us + AHEAD_US):
        if end <= first:
            continue
        begin = max(start, first)
        if since is None or begin - last > spec.gap_us:
            since = begin
        at = max(since + spec.for_us, begin)
        if at < end:
            return Micros(at)
        last = end - 1  # nothing need be judged while the schedule is closed
    return None
