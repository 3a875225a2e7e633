"""Work that can be laid down: a generator that yields where others may come between, and returns
what came of it.
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """For who has nobody to give way to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
