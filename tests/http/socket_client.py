"""A WebSocket client for tests: wsproto over a socket, so that a test decides every frame."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from tests.stack import Stack


class Rejected(Exception):
    """The handshake was answered with something else."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status, self.body = status, body


@attrs.define(eq=False)
class Socket:
    """An open one. closed: the code it was closed with by the server."""

    stream: trio.SocketStream
    ws: WSConnection
    subprotocol: str | None = None
    extensions: list[Any] = attrs.field(factory=list)
    closed: int | None = None
    pings: int = 0
    _text: str = ""
    _messages: list[str] = attrs.field(factory=list)

    async def send(self, message: str | bytes, *, finished: bool = True) -> None:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        event: Event = kind(data=message, message_finished=finished)  # type: ignore[arg-type]
        await self.stream.send_all(self.ws.send(event))

    async def answer(self) -> dict[str, Any]:
        """The next message of the server."""
        with trio.fail_after(20):
            while not self._messages:
                assert self.closed is None, f"closed with {self.closed}"
                await self._receive()
        return json.loads(self._messages.pop(0))  # type: ignore[no-any-return]

    async def closing_code(self) -> int:
        """What it is closed with, whatever comes before."""
        with trio.fail_after(20):
            while self.closed is None:
                await self._receive()
        return self.closed

    async def _receive(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            self.closed = self.closed or 1006
            return
        self.ws.receive_data(data)
        for event in self.ws.events():
            match event:
                case TextMessage():
                    self._text += event.data
                    if event.message_finished:
                        self._messages.append(self._text)
                        self._text = ""
                case CloseConnection():
                    self.closed = int(event.code)
                    await self.stream.send_all(self.ws.send(event.response()))
                case Ping():
                    self.pings += 1
                    await self.stream.send_all(self.ws.send(event.response()))


@asynccontextmanager
async def connect(
    stack: Stack,
    target: str = "/v1/ingest",
    *,
    key: str = "",
    protocols: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Socket]:
    """headers: instead of that of the key. Raises Rejected."""
    host, port = stack.url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        ws = WSConnection(ConnectionType.CLIENT)
        given = {"x-api-key": key or stack.api_key} if headers is None else headers
        fields = [(name.encode(), text.encode()) for name, text in given.items()]
        asked = Request(host=host, target=target, extra_headers=fields,
                        subprotocols=list(protocols), extensions=[PerMessageDeflate()])  # fmt: skip
        await stream.send_all(ws.send(asked))
        accepted = await _handshake(stream, ws)
        yield Socket(stream, ws, accepted.subprotocol, list(accepted.extensions))


async def _handshake(stream: trio.SocketStream, ws: WSConnection) -> AcceptConnection:
    status, body = 0, b""
    with trio.fail_after(20):
        while True:
            ws.receive_data(await stream.receive_some() or None)
            for event in ws.events():
                match event:
                    case AcceptConnection():
                        return event
                    case RejectConnection():
                        status = event.status_code
                        if not event.has_body:
                            raise Rejected(status, body)
                    case RejectData():
                        body += event.data
                        if event.body_finished:
                            raise Rejected(status, body)
