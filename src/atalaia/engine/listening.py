"""Since when we can hear: what silence is measured against, besides the sensors themselves.

While commits stall nothing that arrives is heard, and nobody's silence counts. Written by the
flusher and by whoever gives up on the database, read by the actors.
"""

import attrs
import trio

from atalaia.engine.clock import WallClock
from atalaia.model.ids import Micros

DEAF_S = 2.0
"""A commit that takes longer is a stall; silence counts in seconds, so a shorter one is none."""


@attrs.define(eq=False)
class Listening:
    """since: nobody's silence began before it."""

    clock: WallClock
    since: Micros
    _commit_began: float | None = None

    @property
    def deaf(self) -> bool:
        """Whether a commit is stalled just now."""
        began = self._commit_began
        return began is not None and trio.current_time() - began > DEAF_S

    def begin_commit(self) -> None:
        self._commit_began = trio.current_time()

    def end_commit(self) -> None:
        """Done or failed; after a stall everybody's silence begins anew."""
        if self.deaf:
            self.restart()
        self._commit_began = None

    def restart(self) -> None:
        """Something was not heard until now."""
        self.since = self.clock.now_us()
