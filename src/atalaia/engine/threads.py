"""Long computations, in a thread beside the event loop: one tenant's rules stall nobody else.

The kernel holds no lock of Python's. What is short stays where it is: a thread costs a tenth of a
millisecond. Which it is follows from a count and not from a clock, so that the same input takes the
same road.
"""

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

import attrs
import trio

T = TypeVar("T")
Args = TypeVarTuple("Args")

LONG_NS = 2_000_000
AT_ONCE = 2  # the queue is first in, first out and a tenant stands in it once: they take turns
TURN_NS = 20_000_000


@attrs.define(eq=False)
class _Turn:
    """The place of one computation among the few that run at once."""

    _limiter: trio.CapacityLimiter
    _held: bool = False

    async def begin(self) -> None:
        await self._limiter.acquire_on_behalf_of(self)
        self._held = True

    async def pass_on(self) -> None:
        """To whoever waits longest; back when it is our turn again."""
        self.end()
        await self.begin()

    def end(self) -> None:
        if self._held:
            self._held = False
            self._limiter.release_on_behalf_of(self)


@attrs.frozen(eq=False)
class Threads:
    """Shared by all tenants. What is long is to `let_others` every TURN_NS, if it can."""

    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(AT_ONCE))
    _room: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(math.inf))
    """For threads: those that wait for their next turn have one, too."""
    _here: threading.local = attrs.field(factory=threading.local)

    async def run(self, ns: float, work: Callable[[*Args], T], *args: *Args) -> T:
        """work(*args), which takes about ns. Cancelled: the end of its turn is still waited for."""
        if ns < LONG_NS:
            return work(*args)
        turn = _Turn(self._limiter)
        await turn.begin()
        try:
            return await trio.to_thread.run_sync(
                self._work, turn, partial(work, *args), limiter=self._room
            )
        finally:
            turn.end()

    def _work(self, turn: _Turn, work: Callable[[], T]) -> T:
        self._here.turn = turn
        try:
            return work()
        finally:
            self._here.turn = None

    def let_others(self) -> None:
        """Called by work that `run` has put into a thread: who waits goes first. Elsewhere it does
        nothing. Raises Cancelled: then what it works on is to be given up.
        """
        turn: _Turn | None = getattr(self._here, "turn", None)
        if turn is None:
            return
        trio.from_thread.check_cancelled()
        if self._limiter.statistics().tasks_waiting:
            trio.from_thread.run(turn.pass_on)
