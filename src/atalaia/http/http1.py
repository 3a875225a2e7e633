"""HTTP/1.1 and nothing else: Hypercorn's protocol, which becomes HTTP/2 for whoever asks.

Nobody who sends readings or stands before this service needs HTTP/2 in clear text, and its streams
would be as many answers for each connection, without a bound on what they hold (decision 16).
"""

from typing import Any

import trio
from hypercorn.events import Closed, Event
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

NOT_SERVED = 505
DISCONNECT_S = 1.0


class _NotServed(Exception):
    """Another version of HTTP."""


class Http1(H11Protocol):
    """`Upgrade: h2c` is ignored, as it may be; the preface of HTTP/2 is refused."""

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except _NotServed:
            await self._send_error_response(NOT_SERVED)
            await self.send(Closed())

    async def _check_protocol(self, event: Any) -> None:
        """event: the head of a request, as h11 has it."""
        if not event.http_version.startswith(b"1."):
            raise _NotServed

    async def _close_stream(self) -> None:
        """Whoever answers is told; or has stopped reading what came, and would never hear it."""
        if self.stream is not None:
            with trio.move_on_after(DISCONNECT_S):
                await self.stream.handle(StreamClosed(stream_id=STREAM_ID))
            self.stream = None
