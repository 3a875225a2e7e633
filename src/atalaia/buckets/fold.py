"""Readings of one series, as they come, into cells; and quantiles, which no cell can give.

The rows of the cell that may go on are kept for the next chunk, so that every cell is folded from
all of its readings at once.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from atalaia.buckets.cells import LEVELS_US, Cells, floor, fold_readings, join
from atalaia.buckets.grid import Grid
from atalaia.model.batch import Floats, Int64s

_no_times = attrs.field(factory=lambda: np.empty(0, np.int64))
_no_values = attrs.field(factory=lambda: np.empty(0, np.float64))


@attrs.define(eq=False)
class Fold:
    """minutes: into cells of minutes; else into the buckets of the grid.

    shares: which quantiles are asked for, per bucket of the grid.
    """

    grid: Grid
    minutes: bool
    shares: Sequence[float] = ()
    _cells: list[Cells] = attrs.field(factory=list)
    _ranked: list[Sequence[Floats]] = attrs.field(factory=list)
    _ts: Int64s = _no_times
    _value: Floats = _no_values

    def take(self, ts: Int64s, value: Floats) -> None:
        """More readings, later than all before."""
        self._ts = np.concatenate((self._ts, ts))
        self._value = np.concatenate((self._value, value))
        if len(self._ts):
            unit = self._buckets(self._ts) if self.shares else self._begins(self._ts)
            self._close(int(np.searchsorted(unit, unit[-1])))

    def end(self) -> Cells:
        """Every cell, in order of time."""
        self._close(len(self._ts))
        return join(self._cells)

    def quantiles(self) -> list[Floats]:
        """After the end: per share its values, of the buckets that have readings."""
        return [
            np.concatenate([ranked[n] for ranked in self._ranked] or [np.empty(0)])
            for n in range(len(self.shares))
        ]

    def _close(self, count: int) -> None:
        if not count:
            return
        ts, value = self._ts[:count], self._value[:count]
        self._cells.append(fold_readings(self._begins(ts), value))
        if self.shares:
            self._ranked.append(rank(self._buckets(ts), value, self.shares))
        self._ts, self._value = self._ts[count:], self._value[count:]

    def _begins(self, ts: Int64s) -> Int64s:
        return floor(ts, LEVELS_US[0]) if self.minutes else self._buckets(ts)

    def _buckets(self, ts: Int64s) -> Int64s:
        return self.grid.begins(ts)


def rank(at: Int64s, value: Floats, shares: Sequence[float]) -> list[Floats]:
    """Per share the quantile of each bucket, linear between the two nearest ranks.

    at: the bucket of each value, sorted.
    """
    _, starts = np.unique(at, return_index=True)
    last = np.diff(starts, append=len(at)) - 1
    ordered = value[np.lexsort((value, at))]
    found = []
    for share in shares:
        place = share * last
        below = np.floor(place).astype(np.int64)
        low = ordered[starts + below]
        high = ordered[starts + np.minimum(below + 1, last)]
        with np.errstate(over="ignore", invalid="ignore"):
            found.append(low + (high - low) * (place - below))
    return found
