"""Work on what people send, in a thread beside the event loop.

Nobody's texts keep another tenant from the thread for long: a tenant has one place in the line, and
long work gives it up from time to time.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import attrs
import trio

from atalaia.http.locks import Locks
from atalaia.model.ids import TenantNo
from atalaia.rules.steps import Steps

T = TypeVar("T")

TURN_S = 0.2  # of steps; a turn ends after the step in which it is over


@attrs.frozen(eq=False)
class Aside:
    """One at a time: a thousand rules take longer to read than anybody's readings may wait, and
    more threads than one would only take turns with the event loop more often.
    """

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))
    _places: Locks = attrs.field(factory=Locks)

    async def run(self, tenant_no: TenantNo, work: Callable[..., T], *args: Any) -> T:
        """In the tenant's turn, after what it sent before."""
        async with self._places.one(tenant_no):
            return await trio.to_thread.run_sync(partial(work, *args), limiter=self._limiter)

    async def finish(self, tenant_no: TenantNo, steps: Steps[T]) -> T:
        """In as many turns as it takes: others' come between, and those of what the same tenant
        sends meanwhile.
        """
        while True:
            done: list[T] = await self.run(tenant_no, _go_on, steps)
            if done:
                return done[0]


def _go_on(steps: Steps[T]) -> list[T]:
    """What came of it; nothing yet when the turn is over."""
    ends = time.perf_counter() + TURN_S
    try:
        next(steps)
        while time.perf_counter() < ends:
            next(steps)
    except StopIteration as end:
        return [end.value]
    return []
