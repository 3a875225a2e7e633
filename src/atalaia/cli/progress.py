"""Progress for a person: a bar or a spinner on a terminal, a line per 5 s elsewhere.

And the end by Ctrl-C: whoever stops a command still gets its account.
"""

import signal
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

import attrs
import rich.progress
import trio
from rich.console import Console

PLAIN_INTERVAL_S = 5.0


@attrs.define(eq=False)
class Progress:
    """A context manager; `update` may be called as often as one likes.

    With _total (of whatever `update` is given) there is a bar, without it a spinner.
    """

    _console: Console
    _total: float | None = None
    _said: float = attrs.field(factory=time.monotonic)
    _live: rich.progress.Progress | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = rich.progress.Progress(*self._columns(), console=self._console)
            self._live.add_task("", total=self._total)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, done: float, line: str) -> None:
        if self._live is not None:
            self._live.update(self._live.task_ids[0], completed=done, description=line)
            return
        now = time.monotonic()
        if now - self._said >= PLAIN_INTERVAL_S:
            self._said = now
            share = f"{min(done / self._total, 1):.0%}, " if self._total else ""
            self._console.print(share + line)

    def _columns(self) -> list[rich.progress.ProgressColumn]:
        text = rich.progress.TextColumn("{task.description}")
        if self._total is None:
            return [rich.progress.SpinnerColumn(), text]
        share = rich.progress.TaskProgressColumn()
        return [rich.progress.BarColumn(), share, rich.progress.TimeRemainingColumn(), text]


def open_console() -> Console:
    """stderr, without markup or wrapping: names of columns and paths may hold brackets."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def say_failure(console: Console, text: str) -> None:
    console.print(f"atalaia: {text}", style="red")


async def interrupted(work: Callable[[], Awaitable[object]]) -> bool:
    """Run `work` to its end, or cancel it at Ctrl-C and return True.

    Raises what `work` raises, as it is.
    """
    stopped = False
    failure: Exception | None = None
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal stopped
                async for _ in signals:
                    stopped = True
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            try:
                await work()
            except Exception as error:
                failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return stopped
