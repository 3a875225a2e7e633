"""The schedules of one tenant as the kernel reads them: of each its beginnings and ends.

Laid out only for the days on which something is judged: a reading of 1970 costs a few days and not
all since then. Whatever a schedule says of such a day is there; of other days nothing is known.
"""

from collections.abc import Callable

import attrs
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US
from atalaia.rules.schedule import Schedule

BEFORE, BEHIND = 3, 1
"""Days of a place whose hours may fall on a day of UTC, around it: a span begins up to a day before
it ends and lasts into a second one; clocks differ by half a day, and a place may skip a day."""

EPOCH = 719_163
"""The ordinal of 1970-01-01."""

MOST_LAID = 1 << 17
"""Days that are laid out, times schedules: a few MB. Beyond, the old ones are forgotten."""

NS_PER_DAY = 20_000
"""Of one schedule."""

DAYS_PER_TURN = 500


@attrs.define(eq=False)
class Hours:
    """Equal schedules, of whatever rules, are one. edges: of every schedule its beginnings and
    ends in turn, ascending; those of schedule s from edges_at[s, 0] to edges_at[s, 1].
    """

    schedules: list[Schedule] = attrs.field(factory=list)
    edges: Int64s = attrs.field(factory=lambda: np.empty(0, np.int64))
    edges_at: Int64s = attrs.field(factory=lambda: np.zeros((0, 2), np.int64))
    _numbers: dict[Schedule, int] = attrs.field(factory=dict)
    _days: set[int] = attrs.field(factory=set)
    """Days of UTC since 1970 that are laid out; `_places`: the days of a place that it took."""
    _places: set[int] = attrs.field(factory=set)
    _spans: list[Int64s] = attrs.field(factory=list)
    """Per schedule the beginning and the end of each span."""

    def number(self, schedule: Schedule) -> int:
        """Of a schedule, which is new or known."""
        if schedule not in self._numbers:
            self._numbers[schedule] = len(self.schedules)
            self.schedules.append(schedule)
        return self._numbers[schedule]

    def cover(self, times: Int64s, rest: Callable[[], None] | None = None) -> None:
        """Lay out the days of these times. Cost: days not seen before, times schedules.

        rest: called every DAYS_PER_TURN of them.
        """
        wanted = _days_of(times)
        if wanted <= self._days and len(self._spans) == len(self.schedules):
            return
        if len(self._places) * len(self.schedules) > MOST_LAID:
            self._days, self._places, self._spans = set(), set(), []
        self._days |= wanted
        more = _places_of(wanted) - self._places
        self._places |= more
        known, laid = len(self._spans), 0
        for number, schedule in enumerate(self.schedules):
            days = more if number < known else self._places
            found: list[tuple[int, int]] = []
            ordered = sorted(days)
            for start in range(0, len(ordered), DAYS_PER_TURN):
                some = schedule.of_days(ordered[start : start + DAYS_PER_TURN])
                found += (span for span in some if span[0] < span[1])
                laid += len(ordered[start : start + DAYS_PER_TURN])
                if rest is not None and laid >= DAYS_PER_TURN:
                    rest()
                    laid = 0
            spans = np.array(found, np.int64).reshape(-1, 2)
            if number < known:
                self._spans[number] = np.concatenate([self._spans[number], spans])
            else:
                self._spans.append(spans)
        self._lay_out()

    def ns_to_cover(self, times: Int64s) -> int:
        """What `cover` takes, about."""
        if not self.schedules:
            return 0
        more = _places_of(_days_of(times) - self._days) - self._places
        return NS_PER_DAY * len(more) * len(self.schedules)

    def _lay_out(self) -> None:
        edges = [_edges(spans) for spans in self._spans]
        ends = np.cumsum([0, *map(len, edges)])
        self.edges = np.concatenate(edges)
        self.edges_at = np.stack([ends[:-1], ends[1:]], axis=1)


def _days_of(times: Int64s) -> set[int]:
    days = times // DAY_US
    return set(days[np.flatnonzero(np.diff(days, append=days[-1:] + 1))].tolist())


def _places_of(days: set[int]) -> set[int]:
    """As ordinals."""
    return {EPOCH + day + n for day in days for n in range(-BEFORE, BEHIND + 1)}


def _edges(spans: Int64s) -> Int64s:
    """The union of spans: what touches is one, as midnight to midnight, day after day."""
    opens, closes = spans[np.argsort(spans[:, 0], kind="stable")].T
    until = np.maximum.accumulate(closes)
    begins = np.ones(len(opens), np.bool_)
    begins[1:] = opens[1:] > until[:-1]
    ends = np.ones(len(opens), np.bool_)
    ends[:-1] = begins[1:]
    return np.stack([opens[begins], until[ends]], axis=1).ravel()
