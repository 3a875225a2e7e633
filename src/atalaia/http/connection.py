"""One client's connection: Hypercorn's, which fails alone and ends soon after its client.

Its trio worker lets the timer run on when the client has left, and waits for it: socket and
buffers would stay for the whole keep-alive time, so that a thousand short connections are a
thousand open files. And Quart cancels its scope when an answer is out, which cancels the start
of the timer and the close: a connection would then stay until its client leaves. And it waits
without end, and shielded, for a client that does not read its answer. And whatever it raises ends
the server.
"""

import contextlib
import resource
import socket
import struct
from collections import Counter
from typing import Any, ClassVar

import attrs
import hypercorn.protocol.h11
import hypercorn.trio.run
import structlog
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ws_stream
from hypercorn.trio.tcp_server import TCPServer
from wsproto.events import Message

from atalaia.http.downloads import LEAST_BYTES_PER_S, WINDOW_S
from atalaia.http.frames import Frames
from atalaia.http.http1 import Http1
from atalaia.http.patience import Patience

log = structlog.get_logger()


MOST_CONNECTIONS = 10_000
SPARE_FILES = 100  # for the database, logs and data files
REFUSAL_S = 0.2
LEFT_S = 15.0  # more than an answer may take: whoever has only stopped sending still gets it
PART_BYTES = 16 * 1024  # of an answer; a client that takes one in time makes progress
_RESET = struct.pack("ii", 1, 0)  # on closing, what was not sent is not kept
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-type: text/plain\r\ncontent-length: 22\r\n\r\ntoo many connections\r\n"
)


@attrs.define(eq=False)
class Crowd:
    """How many connections there are. One address holds half of the room at most, unless it is that
    of a proxy.
    """

    room: int
    proxied: bool = False
    _open: Counter[str] = attrs.field(factory=Counter)
    _total: int = 0
    _empty: trio.Event = attrs.field(factory=trio.Event)

    def enter(self, address: str) -> bool:
        """False when there is no room; else `leave` gives it back."""
        share = self.room if self.proxied else max(self.room // 2, 1)
        if self._total >= self.room or self._open[address] >= share:
            return False
        self._open[address] += 1
        self._total += 1
        return True

    def leave(self, address: str) -> None:
        self._total -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
        if not self._total:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until there is none."""
        if self._total:
            self._empty = trio.Event()
            await self._empty.wait()


class Connection(TCPServer):
    """Ends with its client, or after the keep-alive time without a request, or when the client
    takes nothing of its answer.
    """

    crowd: ClassVar[Crowd]
    patience: ClassVar[Patience]
    _over = False
    _address = ""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        try:
            self._address = address = str(self.stream.socket.getpeername()[0])
        except OSError:  # it has left already
            await self.stream.aclose()
            return
        if not self.crowd.enter(address):
            await self._refuse()
            return
        try:
            # Around all of it: Hypercorn's own group of tasks lets what cancels it get out.
            with self._scope:
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
        if isinstance(event, RawData):
            await self._send(event.data)
            return
        if isinstance(event, Updated) and self._over:
            return
        if isinstance(event, Closed):
            self._end_within(LEFT_S)
        # These only start or stop the timer, or close.
        with trio.CancelScope(shield=isinstance(event, Updated | Closed)):
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """Whole, whatever is cancelled meanwhile; or the connection is over."""
        parts = memoryview(data)
        async with self.send_lock:
            latest = trio.current_time() + WINDOW_S + len(parts) / LEAST_BYTES_PER_S
            try:
                for start in range(0, len(parts), PART_BYTES):
                    with self.patience.held(latest):
                        await self.stream.send_all(parts[start : start + PART_BYTES])
            except trio.TooSlowError:
                log.info("client_stalled", address=self._address)
                with contextlib.suppress(OSError):
                    self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                await trio.aclose_forcefully(self.stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            else:
                return
        self._end_within(0)  # nobody is there to hear of anything

    async def _read_data(self) -> None:
        await super()._read_data()
        self._over = True
        self._end_within(LEFT_S)
        await self.idle_task.stop()

    def _end_within(self, seconds: float) -> None:
        """Whatever still works for this client, or waits for it, is given up then."""
        latest = trio.current_time() + seconds
        self._scope.deadline = min(self._scope.deadline, latest)


class MessageBuffer(ws_stream.WebsocketBuffer):
    """Holds no more than it may: Hypercorn's own goes on growing when it has said so."""

    def extend(self, event: Message[Any]) -> None:
        if self.length + len(event.data) > self.max_length:
            self.value, self.length = None, self.max_length
            raise ws_stream.FrameTooLargeError
        super().extend(event)


def _no_extensions(*_: object) -> None:
    """No compression of messages: what is read at once could be inflated a thousandfold."""


def use_connection(patience: Patience, *, proxied: bool = False) -> Crowd:
    """Have Hypercorn's worker use ours; it has no setting for it. Each server has its own crowd."""
    crowd = Crowd(min(MOST_CONNECTIONS, _raise_limit_of_files() - SPARE_FILES), proxied)
    ours = type("Connection", (Connection,), {"crowd": crowd, "patience": patience})
    hypercorn.trio.run.TCPServer = ours  # type: ignore
    hypercorn.protocol.H11Protocol = Http1  # type: ignore
    hypercorn.protocol.h11.WSStream = Frames  # type: ignore
    ws_stream.WebsocketBuffer = MessageBuffer  # type: ignore
    ws_stream.server_extensions_handshake = _no_extensions  # type: ignore
    return crowd


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
