"""Long computations, in a thread beside the event loop: one tenant's rules stall nobody else.

The kernel holds no lock of Python's. What is short stays where it is: a thread costs a tenth of a
millisecond. Which it is follows from a count and not from a clock, so that the same input takes the
same road.
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import attrs
import trio

T = TypeVar("T")
Args = TypeVarTuple("Args")

LONG_NS = 2_000_000
AT_ONCE = 2  # the queue is first in, first out and a tenant stands in it once: they take turns


@attrs.frozen(eq=False)
class Threads:
    """Shared by all tenants."""

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(AT_ONCE))

    async def run(self, ns: float, work: Callable[[*Args], T], *args: *Args) -> T:
        """work(*args), which takes about ns. Cancelled: it is still waited for."""
        if ns < LONG_NS:
            return work(*args)
        return await trio.to_thread.run_sync(work, *args, limiter=self._limiter)
