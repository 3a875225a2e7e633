"""A tenant's bounded inbox. Putting never waits: what has no room is refused with a delay.

Room is counted in what is not settled yet, so that it also covers what waits for a commit:
readings in this inbox and over all of them, and the few edits of rules, tags and lateness.
"""

import math

import attrs
import trio

from atalaia.engine.messages import Message
from atalaia.model.errors import Closing, Overloaded, Unavailable


@attrs.define(eq=False)
class Budget:
    """Readings held in memory over all tenants."""

    limit_rows: int
    rows: int = 0


@attrs.define(eq=False)
class Inbox:
    """One per living actor; closed for good when the actor leaves."""

    limit_rows: int
    limit_edits: int
    budget: Budget
    rows: int = 0
    edits: int = 0
    _send: trio.MemorySendChannel[Message] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Message] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded in messages because room is counted below.
        self._send, self._receive = trio.open_memory_channel(math.inf)

    def reserve(self, rows: int) -> None:
        """Take room for a batch; `release` gives it back when its receipt is settled.

        Raises Overloaded (this tenant's share is full) or Unavailable (the whole process is).
        A batch larger than the share passes when nothing else is waiting.
        """
        if self.rows and self.rows + rows > self.limit_rows:
            raise Overloaded(
                "This tenant's readings arrive faster than they can be stored; "
                "send the same batch again after the delay."
            )
        if self.budget.rows and self.budget.rows + rows > self.budget.limit_rows:
            raise Unavailable(
                "The service holds as many readings as it may; "
                "send the same batch again after the delay.",
                code="saturated",
            )
        self.rows += rows
        self.budget.rows += rows

    def release(self, rows: int) -> None:
        self.rows -= rows
        self.budget.rows -= rows

    def reserve_edit(self) -> None:
        """Take room for an edit; `release_edit` gives it back. Raises Overloaded."""
        if self.edits >= self.limit_edits:
            raise Overloaded(
                f"{self.edits} changes of this tenant's rules, tags and lateness are not done yet; "
                "send this one again after the delay."
            )
        self.edits += 1

    def release_edit(self) -> None:
        self.edits -= 1

    def put(self, message: Message) -> None:
        """Raises Closing when the actor takes no more messages."""
        try:
            self._send.send_nowait(message)
        except trio.ClosedResourceError:
            raise Closing from None

    async def receive(self) -> Message:
        """The next message. Raises trio.EndOfChannel when closed and empty."""
        return await self._receive.receive()

    def empty(self) -> bool:
        return self._receive.statistics().current_buffer_used == 0

    def close(self) -> None:
        """Take no more messages; those within are still received."""
        self._send.close()

    def close_if_empty(self) -> bool:
        """Close and return True unless a message waits. One step: nothing can slip in between."""
        if not self.empty():
            return False
        self.close()
        return True

    def drain(self) -> list[Message]:
        """Take out every waiting message at once."""
        waiting = []
        while True:
            try:
                waiting.append(self._receive.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return waiting
