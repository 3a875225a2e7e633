"""What is said of each bucket: the aggregates asked for, and what stands where nothing was read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import attrs
import numpy as np

from atalaia.buckets.cells import Cells
from atalaia.buckets.grid import Grid
from atalaia.model.batch import Bools, Floats, Int64s

Fill = Literal["none", "null", "previous", "linear"]
FILLS: tuple[Fill, ...] = ("none", "null", "previous", "linear")

SHARES = {"p50": 0.5, "p95": 0.95}
"""Aggregates that need every reading."""


def _mean(cells: Cells) -> Floats:
    return np.asarray(cells["sum"] / cells["count"])


def _deviation(cells: Cells) -> Floats:
    """Of a sample: it needs two readings."""
    several = cells["count"] > 1
    degrees = np.where(several, cells["count"] - 1, 1)
    return np.where(several, np.sqrt(cells["spread"] / degrees), np.nan)


_OF_CELLS: Mapping[str, Callable[[Cells], Floats]] = {
    "avg": _mean,
    "min": lambda cells: cells["low"],
    "max": lambda cells: cells["high"],
    "sum": lambda cells: cells["sum"],
    "count": lambda cells: cells["count"].astype(np.float64),
    "first": lambda cells: cells["first"],
    "last": lambda cells: cells["last"],
    "stddev": _deviation,
}
AGGREGATES = (*_OF_CELLS, *SHARES)


@attrs.frozen(eq=False)
class Table:
    """ts: where the buckets begin. columns: per aggregate a value, NaN for none."""

    ts: Int64s
    columns: Mapping[str, Floats]


def make_table(
    grid: Grid,
    cells: Cells,
    ranked: Mapping[str, Floats],
    wanted: Sequence[str],
    fill: Fill,
) -> Table:
    """cells: one for each bucket with readings; ranked: the quantiles of the same buckets."""
    with np.errstate(over="ignore", invalid="ignore"):
        dense = {
            name: ranked[name] if name in SHARES else _OF_CELLS[name](cells) for name in wanted
        }
    if fill == "none":
        return Table(cells["at"].copy(), dense)
    place = np.searchsorted(grid.starts, cells["at"])
    filled = np.zeros(len(grid.starts), np.bool_)
    filled[place] = True
    columns = {}
    for name, values in dense.items():
        column = np.full(len(grid.starts), 0.0 if name == "count" else np.nan)
        column[place] = values
        columns[name] = column if name == "count" else _fill(grid.starts, column, filled, fill)
    return Table(grid.starts, columns)


def _fill(starts: Int64s, column: Floats, filled: Bools, fill: Fill) -> Floats:
    """Values for empty buckets between such that have one; a bucket with readings stays as is."""
    known = np.flatnonzero(filled & np.isfinite(column))
    if fill == "null" or not len(known):
        return column
    empty = np.flatnonzero(~filled)
    before = np.searchsorted(known, empty) - 1
    if fill == "previous":
        fit = before >= 0
        column[empty[fit]] = column[known[before[fit]]]
        return column
    fit = (before >= 0) & (before + 1 < len(known))
    left, right = known[before[fit]], known[before[fit] + 1]
    share = (starts[empty[fit]] - starts[left]) / (starts[right] - starts[left])
    with np.errstate(over="ignore", invalid="ignore"):
        column[empty[fit]] = column[left] + (column[right] - column[left]) * share
    return column
