"""Cells: what is kept of the readings of one series in one stretch of time.

A cell of minutes is folded from readings, one of hours from cells of minutes, one of days from
cells of hours, always in order of time and never in another way. So a cell is a function of the
readings in it, bit for bit, whether it is made now or was stored long ago.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import DAY_US, HOUR_US, MINUTE_US

CELL = np.dtype(
    [
        ("at", "<i8"),
        ("count", "<i8"),
        ("sum", "<f8"),
        ("low", "<f8"),
        ("high", "<f8"),
        ("first", "<f8"),
        ("last", "<f8"),
        ("spread", "<f8"),
    ]
)
"""at: where it begins, UTC epoch µs. spread: the sum of squared distances from the mean."""

Cells = npt.NDArray[Any]
"""Of CELL, in order of time, none of them empty."""

LEVELS_US = (MINUTE_US, HOUR_US, DAY_US)
"""How long the cells are that are stored: each holds whole ones of the level before."""

PACKS_US = (HOUR_US, DAY_US, 32 * DAY_US)
"""How much time of each level is stored together, aligned to the epoch."""

NO_CELLS: Cells = np.empty(0, CELL)


def floor(ts: Int64s, step_us: int) -> Int64s:
    """The last multiple of the step that is not later."""
    return ts // step_us * step_us


def fold_readings(at: Int64s, value: Floats) -> Cells:
    """The cells of readings in order of time. at: where the cell of each begins."""
    starts = _starts(at)
    cells = np.empty(len(starts), CELL)
    if not len(starts):
        return cells
    count = np.diff(starts, append=len(at))
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(value, starts)
        distance = value - np.repeat(total / count, count)
        cells["spread"] = np.add.reduceat(distance * distance, starts)
    cells["at"] = at[starts]
    cells["count"] = count
    cells["sum"] = total
    cells["low"] = np.minimum.reduceat(value, starts)
    cells["high"] = np.maximum.reduceat(value, starts)
    cells["first"] = value[starts]
    cells["last"] = value[starts + count - 1]
    return cells


def merge_cells(cells: Cells, at: Int64s) -> Cells:
    """Longer cells from shorter ones. at: where the longer one of each begins.

    Spreads add up as in Chan, Golub and LeVeque, 1979.
    """
    starts = _starts(at)
    merged = np.empty(len(starts), CELL)
    if not len(starts):
        return merged
    size = np.diff(starts, append=len(at))
    counts, sums = cells["count"].copy(), cells["sum"].copy()
    count = np.add.reduceat(counts, starts)
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduceat(sums, starts)
        apart = sums / counts - np.repeat(total / count, size)
        merged["spread"] = np.add.reduceat(cells["spread"] + counts * apart * apart, starts)
    merged["at"] = at[starts]
    merged["count"] = count
    merged["sum"] = total
    merged["low"] = np.minimum.reduceat(cells["low"], starts)
    merged["high"] = np.maximum.reduceat(cells["high"], starts)
    merged["first"] = cells["first"][starts]
    merged["last"] = cells["last"][starts + size - 1]
    return merged


def raise_cells(cells: Cells, level: int) -> Cells:
    """Cells of the level before as cells of this one."""
    return merge_cells(cells, floor(cells["at"], LEVELS_US[level]))


def join(parts: list[Cells]) -> Cells:
    """Cells of different times as one array in order of time."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else NO_CELLS
    cells = np.concatenate(parts)
    return cells[np.argsort(cells["at"], kind="stable")]


def _starts(at: Int64s) -> Int64s:
    """Where in sorted times each distinct one begins."""
    if not len(at):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
