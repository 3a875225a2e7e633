"""Passwords are hashed in threads of their own, few at a time, and whoever finds the line full is
told to come back. bcrypt takes a quarter of a second: on the event loop it would stall everybody.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from atalaia.model.errors import Unavailable

AT_ONCE = 2
MOST_WAITING = 16  # some two seconds

T = TypeVar("T")


@attrs.define(eq=False)
class Hashing:
    """One per process."""

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(AT_ONCE))
    _inside: int = 0

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Raises Unavailable when too many wait. What was begun runs to its end."""
        if self._inside >= AT_ONCE + MOST_WAITING:
            raise Unavailable(
                "Too many people sign in at once; try again after the delay.", code="saturated"
            )
        self._inside += 1
        try:
            return await trio.to_thread.run_sync(function, *args, limiter=self._limiter)
        finally:
            self._inside -= 1
