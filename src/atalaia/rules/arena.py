"""The memory of one tenant's windows: one array of 8-byte words, given out in blocks."""

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s

FIRST_WORDS = 1024


@attrs.define(eq=False)
class Arena:
    """Grows by doubling; blocks given back serve the next request of their size."""

    words: Int64s = attrs.field(factory=lambda: np.empty(FIRST_WORDS, np.int64))
    numbers: Floats = attrs.field(init=False)
    _used: int = 0
    _free: dict[int, list[int]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.numbers = self.words.view(np.float64)

    def take(self, size: int) -> int:
        """The place of a block of `size` words, with whatever it held before."""
        if self._free.get(size):
            return self._free[size].pop()
        start = self._used
        self._used += size
        if self._used > len(self.words):
            more = np.empty(max(2 * len(self.words), self._used), np.int64)
            more[:start] = self.words[:start]
            self.words, self.numbers = more, more.view(np.float64)
        return start

    def give_back(self, start: int, size: int) -> None:
        """A block that `take(size)` gave out."""
        self._free.setdefault(size, []).append(start)
