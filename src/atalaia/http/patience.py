"""How long is waited for clients that do not read what they asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import attrs
import trio


@attrs.define(eq=False)
class Patience:
    """stall_s: without any progress. last_stall_s: when the server is about to end."""

    stall_s: float = 30.0
    last_stall_s: float = 5.0
    _held: set[trio.CancelScope] = attrs.field(factory=set)

    @contextmanager
    def held(self, latest: float = inf) -> Iterator[None]:
        """Shielded from cancellation, and so for a while only, and until `latest` at most. Raises
        trio.TooSlowError then.
        """
        deadline = trio.current_time() + self.stall_s
        with trio.CancelScope(deadline=min(deadline, latest), shield=True) as scope:
            self._held.add(scope)
            try:
                yield
            finally:
                self._held.discard(scope)
        if scope.cancelled_caught:
            raise trio.TooSlowError

    def hurry(self) -> None:
        """From now on it is `last_stall_s`, for those who are waited for already, too."""
        self.stall_s = min(self.stall_s, self.last_stall_s)
        latest = trio.current_time() + self.stall_s
        for scope in self._held:
            scope.deadline = min(scope.deadline, latest)
