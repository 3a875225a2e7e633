"""Bytes to a socket and an answer back: for requests that no client library would send."""

import json
from typing import Any

import attrs
import trio

from tests.stack import Stack

WAIT_S = 20


@attrs.frozen
class Reply:
    """status 0: the connection was closed without a word."""

    status: int
    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]


@attrs.define(eq=False)
class RawClient:
    """One keep-alive connection, opened again whenever it was closed."""

    stack: Stack
    _stream: trio.SocketStream | None = None
    _held: bytes = b""

    @property
    def host(self) -> str:
        return self.stack.url.removeprefix("http://")

    async def send(self, request: bytes) -> Reply:
        fresh = self._stream is None
        try:
            with trio.fail_after(WAIT_S):
                return await self._send(request)
        except trio.TooSlowError:
            await self.close()
            return Reply(0, body=b"nothing within the time")
        except (trio.BrokenResourceError, EOFError):
            await self.close()
            # An idle connection may be closed at any time: that is no answer.
            return Reply(0) if fresh else await self.send(request)

    async def leave(self, request: bytes) -> None:
        """Send, and be gone."""
        await self.close()
        stream = await self._open()
        await stream.send_all(request)
        await self.close()

    async def close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
        self._stream, self._held = None, b""

    async def _open(self) -> trio.SocketStream:
        host, _, port = self.host.partition(":")
        self._stream = await trio.open_tcp_stream(host, int(port))
        return self._stream

    async def _send(self, request: bytes) -> Reply:
        stream = self._stream or await self._open()
        await stream.send_all(request)
        head = await self._until(stream, b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        code = int(status.split()[1])
        if code < 400 and "transfer-encoding" in headers:  # without end, perhaps
            await self.close()
            return Reply(code, headers)
        if "transfer-encoding" in headers:
            body = await self._chunks(stream)
        else:
            body = await self._exactly(stream, int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            await self.close()
        return Reply(code, headers, body)

    async def _chunks(self, stream: trio.SocketStream) -> bytes:
        body = b""
        while size := int(await self._until(stream, b"\r\n"), 16):
            body += await self._exactly(stream, size)
            await self._until(stream, b"\r\n")
        await self._until(stream, b"\r\n")
        return body

    async def _until(self, stream: trio.SocketStream, mark: bytes) -> bytes:
        while mark not in self._held:
            self._held += await _some(stream)
        found, _, self._held = self._held.partition(mark)
        return found

    async def _exactly(self, stream: trio.SocketStream, size: int) -> bytes:
        while len(self._held) < size:
            self._held += await _some(stream)
        found, self._held = self._held[:size], self._held[size:]
        return found


async def _some(stream: trio.SocketStream) -> bytes:
    data = await stream.receive_some()
    if not data:
        raise EOFError
    return data
