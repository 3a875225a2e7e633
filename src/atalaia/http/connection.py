"""One client's connection: Hypercorn's, which fails alone and whose idle timer ends in time.

Its trio worker lets the timer run on when the client has left, and waits for it: socket and
buffers would stay for the whole keep-alive time, so that a thousand short connections are a
thousand open files. And Quart cancels its scope when an answer is out, which cancels the start
of the timer and the close: a connection would then stay until its client leaves. And whatever it
raises ends the server: a body that goes on after its answer is a KeyError in its HTTP/2.
"""

import hypercorn.trio.run
import structlog
import trio
from hypercorn.events import Closed, Event, Updated
from hypercorn.trio.tcp_server import TCPServer

log = structlog.get_logger()


class Connection(TCPServer):
    """Ends with its client, or after the keep-alive time without a request."""

    _over = False

    async def run(self) -> None:
        try:
            await super().run()
        except* Exception as group:
            log.warning("connection_failed", error=repr(group))

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and self._over:
            return
        # These only start or stop the timer, or close.
        with trio.CancelScope(shield=isinstance(event, Updated | Closed)):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        await super()._read_data()
        self._over = True
        await self.idle_task.stop()


def use_connection() -> None:
    """Have Hypercorn's worker use ours; it has no setting for it."""
    hypercorn.trio.run.TCPServer = Connection  # type: ignore[attr-defined]
