"""Which stored cells answer a question, and which readings have to be read for the rest.

Cells are stored up to a mark, in packs: minutes by the hour, hours by the day, days by 32 of them.
A pack of hours that has been touched since is stale, and so is every longer cell over it. What is
stale or not stored at one level is looked for at the level before, and in the end among readings.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from atalaia.buckets.cells import LEVELS_US, PACKS_US, Cells, floor, join, raise_cells
from atalaia.model.batch import Bools, Int64s

Spans = list[tuple[int, int]]
"""[begin, end) each, in order and apart."""


@attrs.frozen(eq=False)
class Plan:
    """For one series. stored: per level the spans to be taken from packs, but for stale cells.

    readings: the spans to be folded anew, into cells of minutes.
    """

    stored: Sequence[Spans]
    readings: Spans
    stale: Int64s

    def assemble(self, packs: Sequence[Cells], folded: Cells) -> Cells:
        """The cells of the highest level.

        packs: per level the cells of every pack that its spans touch; folded: of the readings.
        """
        cells = folded
        for level, spans in enumerate(self.stored):
            kept = [_within(packs[level], begin, end) for begin, end in spans]
            fit = [part[~self._is_stale(part["at"], level)] for part in kept]
            cells = join([*fit, cells if level == 0 else raise_cells(cells, level)])
        return cells

    def _is_stale(self, at: Int64s, level: int) -> Bools:
        size = max(LEVELS_US[level], PACKS_US[0])
        return np.isin(floor(at, size), floor(self.stale, size))


def make_plan(begin: int, end: int, level: int, mark: int, stale: Int64s) -> Plan:
    """How to make the cells of [begin, end), both multiples of the level.

    mark: a full hour up to which everything is stored; stale: hours of this series before it that
    were touched since.
    """
    stale = np.unique(stale[(stale >= floor(np.array([begin]), PACKS_US[0])) & (stale < end)])
    wanted: Spans = [(begin, end)] if begin < end else []
    stored: list[Spans] = []
    for here in range(level, -1, -1):
        clean = mark // PACKS_US[here] * PACKS_US[here]
        stored.append([(low, min(high, clean)) for low, high in wanted if low < clean])
        missing = [(max(low, clean), high) for low, high in wanted if high > clean]
        size = max(LEVELS_US[here], PACKS_US[0])
        for at in np.unique(floor(stale, size)).tolist():
            missing += [
                (max(low, at), min(high, at + size))
                for low, high in stored[-1]
                if low < at + size and at < high
            ]
        wanted = _apart(missing)
    return Plan(stored[::-1], wanted, stale)


def _apart(spans: Spans) -> Spans:
    found: Spans = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _within(cells: Cells, begin: int, end: int) -> Cells:
    low, high = np.searchsorted(cells["at"], [begin, end])
    return cells[low:high]
