"""The series of one tenant as the actor knows them: names to slots, and each one's newest time.

Slots are dense indexes into arrays, in the order of discovery; they live as long as the actor.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int32s, Int64s, SeriesName
from atalaia.model.ids import DAY_US, SECOND_US, Micros, SeriesNo

NEVER = np.iinfo(np.int64).min
"""The newest time of a series that has no reading."""

REMEMBERED = 256
"""Gaps between readings that are remembered, twice as many at most."""

TELLING = 16
"""Gaps that have to be seen: two readings a millisecond apart do not make a thousand a second."""

LONGEST_GAP_US = DAY_US
"""A longer one is an outage, after which the pace is learnt anew."""


@attrs.define(eq=False)
class SeriesTable:
    """Grows by `add`; arrays double."""

    _slot_of: dict[SeriesName, int] = attrs.field(factory=dict)
    _series_no: Int32s = attrs.field(factory=lambda: np.zeros(16, np.int32))
    _sensor: Int32s = attrs.field(factory=lambda: np.zeros(16, np.int32))
    _newest: Int64s = attrs.field(factory=lambda: np.full(16, NEVER, np.int64))
    _gaps: Int64s = attrs.field(factory=lambda: np.zeros(16, np.int64))
    _since: Int64s = attrs.field(factory=lambda: np.full(16, NEVER, np.int64))
    """So many gaps between readings were seen since then."""
    asked: bool = False
    """Whether the store has been asked for what was not seen."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, name: SeriesName) -> bool:
        return name in self._slot_of

    @property
    def series_no(self) -> Int32s:
        return self._series_no[: len(self)]

    @property
    def sensor(self) -> Int32s:
        """The slot of each series' sensor."""
        return self._sensor[: len(self)]

    @property
    def newest(self) -> Int64s:
        """Writable: the newest event time per slot."""
        return self._newest[: len(self)]

    def slots(self, names: Sequence[SeriesName]) -> Int64s:
        """The slot of each name, -1 for unknown ones."""
        get = self._slot_of.get
        return np.array([get(name, -1) for name in names], np.int64)

    def seen(self) -> Int64s:
        """The slots that have had a reading."""
        return np.flatnonzero(self.newest != NEVER)

    def observe(self, touched: Int64s, last: Int64s, ts: Int64s) -> None:
        """See how often readings come. ts: newer than what was seen, by series and time; last:
        where those of each series in `touched` end. Cost: a dozen numpy calls, few for one reading.
        """
        if len(ts) == 1:
            self._observe_one(int(touched[0]), int(ts[0]))
            return
        counts = last + 1
        counts[1:] -= last[:-1] + 1
        first = ts[last - counts + 1]
        anew = (first - LONGEST_GAP_US > self._newest[touched]) | (counts > REMEMBERED)
        anew |= self._since[touched] == NEVER
        if anew.any():
            begun = touched[anew]
            self._since[begun] = first[anew]
            self._gaps[begun] = -1
        self._gaps[touched] += counts
        many = self._gaps[touched] > 2 * REMEMBERED
        if many.any():
            old = touched[many]
            newest = ts[last[many]]
            share = REMEMBERED / self._gaps[old]
            self._since[old] = newest - ((newest - self._since[old]) * share).astype(np.int64)
            self._gaps[old] = REMEMBERED

    def _observe_one(self, slot: int, ts: int) -> None:
        """The same of one reading."""
        if ts - LONGEST_GAP_US > self._newest[slot] or self._since[slot] == NEVER:
            self._since[slot], self._gaps[slot] = ts, 0
            return
        self._gaps[slot] += 1
        if self._gaps[slot] > 2 * REMEMBERED:
            self._since[slot] = ts - (ts - int(self._since[slot])) // 2
            self._gaps[slot] //= 2

    def interval_us(self) -> Floats:
        """From one reading of each series to the next, lately; where little was seen the middle of
        what is known, and a second when nothing is.
        """
        gaps = self._gaps[: len(self)]
        known = gaps >= TELLING
        found = np.full(len(self), float(SECOND_US))
        if known.any():
            span = self.newest[known] - self._since[: len(self)][known]
            found[known] = np.maximum(span / gaps[known], 1.0)
            found[~known] = np.median(found[known])
        return found

    def untold(self) -> Int64s:
        """The slots that have had readings, too few of them seen to tell how often they come."""
        return np.flatnonzero((self._gaps[: len(self)] < TELLING) & (self.newest != NEVER))

    def learn(self, slots: Int64s, since: Int64s, gaps: Int64s) -> None:
        """So many gaps of each lay between then and its newest reading."""
        self._since[slots], self._gaps[slots] = since, gaps

    def adopt(self, other: "SeriesTable") -> None:
        """Know what another life of this table has seen of how often readings come, if more."""
        self.asked |= other.asked
        if not len(other):
            return
        order = np.argsort(other.series_no, kind="stable")
        at = np.searchsorted(other.series_no[order], self.series_no).clip(max=len(order) - 1)
        there = order[at]
        same = other.series_no[there] == self.series_no
        same &= other._gaps[there] > self._gaps[: len(self)]
        self._gaps[: len(self)][same] = other._gaps[there[same]]
        self._since[: len(self)][same] = other._since[there[same]]

    def add(
        self, name: SeriesName, series_no: SeriesNo, sensor: int, newest: Micros | None
    ) -> None:
        slot = len(self._slot_of)
        if slot == len(self._series_no):
            self._series_no = np.concatenate([self._series_no, np.zeros_like(self._series_no)])
            self._sensor = np.concatenate([self._sensor, np.zeros_like(self._sensor)])
            self._newest = np.concatenate([self._newest, np.full_like(self._newest, NEVER)])
            self._gaps = np.concatenate([self._gaps, np.zeros_like(self._gaps)])
            self._since = np.concatenate([self._since, np.full_like(self._since, NEVER)])
        self._slot_of[name] = slot
        self._series_no[slot] = series_no
        self._sensor[slot] = sensor
        self._newest[slot] = NEVER if newest is None else newest
