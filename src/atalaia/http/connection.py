"""One client's connection: Hypercorn's, which fails alone and whose idle timer ends in time.

Its trio worker lets the timer run on when the client has left, and waits for it: socket and
buffers would stay for the whole keep-alive time, so that a thousand short connections are a
thousand open files. And Quart cancels its scope when an answer is out, which cancels the start
of the timer and the close: a connection would then stay until its client leaves. And whatever it
raises ends the server: a body that goes on after its answer is a KeyError in its HTTP/2.
"""

import contextlib
import resource
from collections import Counter
from typing import Any, ClassVar

import attrs
import hypercorn.trio.run
import structlog
import trio
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol import ws_stream
from hypercorn.trio.tcp_server import TCPServer
from wsproto.events import Message

log = structlog.get_logger()


MOST_CONNECTIONS = 10_000
SPARE_FILES = 100  # for the database, logs and data files
REFUSAL_S = 0.2
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-type: text/plain\r\ncontent-length: 22\r\n\r\ntoo many connections\r\n"
)


@attrs.define(eq=False)
class Crowd:
    """How many connections there are. One address holds half of the room at most."""

    room: int
    _open: Counter[str] = attrs.field(factory=Counter)
    _total: int = 0

    def enter(self, address: str) -> bool:
        """False when there is no room; else `leave` gives it back."""
        if self._total >= self.room or self._open[address] >= max(self.room // 2, 1):
            return False
        self._open[address] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        self._total -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class Connection(TCPServer):
    """Ends with its client, or after the keep-alive time without a request."""

    crowd: ClassVar[Crowd]
    _over = False

    async def run(self) -> None:
        try:
            address = str(self.stream.socket.getpeername()[0])
        except OSError:  # it has left already
            await self.stream.aclose()
            return
        if not self.crowd.enter(address):
            await self._refuse()
            return
        try:
            await super().run()
        except* Exception as group:
            log.warning("connection_failed", error=repr(group))
        finally:
            self.crowd.leave(address)

    async def _refuse(self) -> None:
        with trio.move_on_after(REFUSAL_S):
            with contextlib.suppress(trio.BrokenResourceError):
                await self.stream.send_all(FULL)
        await trio.aclose_forcefully(self.stream)

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


class MessageBuffer(ws_stream.WebsocketBuffer):
    """Holds no more than it may: Hypercorn's own goes on growing when it has said so."""

    def extend(self, event: Message[Any]) -> None:
        if self.length + len(event.data) > self.max_length:
            self.value, self.length = None, self.max_length
            raise ws_stream.FrameTooLargeError
        super().extend(event)


def _no_extensions(*_: object) -> None:
    """No compression of messages: what is read at once could be inflated a thousandfold."""


def use_connection() -> None:
    """Have Hypercorn's worker use ours; it has no setting for it."""
    room = Crowd(min(MOST_CONNECTIONS, _raise_limit_of_files() - SPARE_FILES))
    ours = type("Connection", (Connection,), {"crowd": room})  # each server has its own crowd
    hypercorn.trio.run.TCPServer = ours  # type: ignore
    ws_stream.WebsocketBuffer = MessageBuffer  # type: ignore
    ws_stream.server_extensions_handshake = _no_extensions  # type: ignore


def _raise_limit_of_files() -> int:
    """Each connection is an open file: take as many as this process may have, if needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return wanted if soft == resource.RLIM_INFINITY else soft
