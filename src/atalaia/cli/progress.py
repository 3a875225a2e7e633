"""Progress for a person: one line that changes on a terminal, a line per 5 s elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType

import attrs
from rich.console import Console
from rich.status import Status

PLAIN_INTERVAL_S = 5.0


@attrs.define(eq=False)
class Progress:
    """A context manager; `update` may be called as often as one likes."""

    _console: Console
    _line: Callable[[int, float], str]
    _began: float = attrs.field(factory=time.monotonic)
    _said: float = attrs.field(factory=time.monotonic)
    _status: Status | None = None

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, sent: int) -> None:
        now = time.monotonic()
        line = self._line(sent, sent / max(now - self._began, 1e-9))
        if self._status is not None:
            self._status.update(line)
        elif now - self._said >= PLAIN_INTERVAL_S:
            self._said = now
            self._console.print(line, highlight=False)
