"""The one door between trio and asyncio: an asyncio loop in a thread of its own.

asyncpg is an asyncio library; everything else here is trio. `Bridge.call` crosses once per unit
of work (a whole transaction), never per statement: a crossing costs 0.2 to 0.4 ms of CPU.
Invariant: when a call returns, raises or is cancelled, its asyncio task has ended, clean-up
included; no work outlives its scope.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple, cast

import attrs
import outcome
import trio

T = TypeVar("T")
Args = TypeVarTuple("Args")


@attrs.define(eq=False)
class _Crossing:
    """One call under way: written by the asyncio thread, read by the trio task it wakes."""

    token: trio.lowlevel.TrioToken
    waiter: trio.lowlevel.Task
    task: asyncio.Task[Any] | None = None
    raise_cancel: Callable[[], object] | None = None


@attrs.define(eq=False)
class Bridge:
    """Runs asyncio coroutines for trio tasks. Made by `open_bridge`, which closes it."""

    _loop: asyncio.AbstractEventLoop

    async def call(self, fn: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
        """Run `await fn(*args)` on the asyncio thread and return its result.

        Errors arrive with their type and cause. On cancellation the asyncio task is cancelled
        and its clean-up awaited before `Cancelled` is raised; a result that was ready first
        is returned. Raises ConnectionAbortedError when asyncio cancels the task by itself.
        Checkpoints.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        crossing = _Crossing(trio.lowlevel.current_trio_token(), trio.lowlevel.current_task())

        def start() -> None:
            coroutine = cast("Coroutine[Any, Any, T]", fn(*args))
            crossing.task = self._loop.create_task(coroutine)
            if crossing.raise_cancel is not None:
                crossing.task.cancel()
            crossing.task.add_done_callback(finish)

        def finish(task: asyncio.Task[Any]) -> None:
            result: outcome.Outcome[Any]
            if task.cancelled():
                result = outcome.Error(asyncio.CancelledError())
            else:
                result = outcome.capture(task.result)
            crossing.token.run_sync_soon(trio.lowlevel.reschedule, crossing.waiter, result)

        def abort(raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            crossing.raise_cancel = raise_cancel
            self._loop.call_soon_threadsafe(
                lambda: crossing.task.cancel() if crossing.task is not None else None
            )
            return trio.lowlevel.Abort.FAILED  # wait until the asyncio side has really ended

        self._loop.call_soon_threadsafe(start)
        try:
            return cast("T", await trio.lowlevel.wait_task_rescheduled(abort))
        except asyncio.CancelledError as error:
            if crossing.raise_cancel is not None:
                crossing.raise_cancel()
            # trio knows nothing of this BaseException: no handler there would stop it.
            raise ConnectionAbortedError("the call was cancelled on its asyncio side") from error


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """Start the asyncio thread; leaving stops the loop and joins the thread.

    Every call must have ended by then: the bridge is the outermost of the nested lifetimes.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="asyncio-bridge", daemon=True)
    thread.start()
    try:
        yield Bridge(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join)
        loop.close()
