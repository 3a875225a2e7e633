"""The memory of one tenant's windows: one array of 8-byte words, given out piece by piece.

Most pieces are blocks of one size, linked into chains: rings of readings and chains of suffixes
(windows.py). The kernel takes and gives blocks by itself; a block given back serves whoever needs
one next, so that nothing is lost to fragmentation while thousands of rings grow and shrink.
"""

from typing import Any

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.rules.jit import compiled, inlined

FILL = 16
"""Readings per block: a ring wastes half a block at each end."""

BLOCK = 1 + 2 * FILL
"""Words per block: the link to the next one, FILL times, FILL values."""

FIRST_WORDS = 1024

# The control words: the chain of free blocks and its length, the first unused word, the end.
C_FREE, C_FREE_COUNT, C_NEXT, C_END = range(4)


@inlined
def take_block(words: Any, control: Any) -> int:
    """The place of a block; its caller has made sure that there is one (`blocks_left`)."""
    block = control[C_FREE]
    if block >= 0:
        control[C_FREE] = words[block]
        control[C_FREE_COUNT] -= 1
    else:
        block = control[C_NEXT]
        control[C_NEXT] = block + BLOCK
    words[block] = -1
    return block  # type: ignore[no-any-return]


@inlined
def give_block(words: Any, control: Any, block: int) -> None:
    words[block] = control[C_FREE]
    control[C_FREE] = block
    control[C_FREE_COUNT] += 1


@compiled
def blocks_left(control: Any) -> int:
    """How many blocks can be taken before the memory must grow."""
    left = control[C_FREE_COUNT] + (control[C_END] - control[C_NEXT]) // BLOCK
    return left  # type: ignore[no-any-return]


@attrs.define(eq=False)
class Memory:
    """The array as integers (`words`) and as numbers, with its control words. Grows by doubling."""

    words: Int64s = attrs.field(factory=lambda: np.empty(FIRST_WORDS, np.int64))
    numbers: Floats = attrs.field(init=False)
    control: Int64s = attrs.field(factory=lambda: np.array([-1, 0, 0, FIRST_WORDS], np.int64))

    def __attrs_post_init__(self) -> None:
        self.numbers = self.words.view(np.float64)

    @property
    def used_bytes(self) -> int:
        """What is in use, free blocks and unused room left out."""
        return 8 * int(self.control[C_NEXT] - BLOCK * self.control[C_FREE_COUNT])

    def take(self, size: int) -> int:
        """The place of `size` words for good, with whatever they held before."""
        self._ensure(size)
        start = int(self.control[C_NEXT])
        self.control[C_NEXT] += size
        return start

    def ensure_blocks(self, count: int) -> None:
        """Grow until `count` blocks can be taken."""
        self._ensure(BLOCK * (count - int(self.control[C_FREE_COUNT])))

    def _ensure(self, size: int) -> None:
        used = int(self.control[C_NEXT])
        if used + size > len(self.words):
            more = np.empty(max(2 * len(self.words), used + size), np.int64)
            more[:used] = self.words[:used]
            self.words, self.numbers = more, more.view(np.float64)
            self.control[C_END] = len(more)
