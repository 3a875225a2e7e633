"""An answer that is read as it comes and left at will, over a bare socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import trio


@attrs.define(eq=False)
class Answer:
    """In HTTP/1.0, so that its body is what the socket holds, up to its end."""

    stream: trio.SocketStream
    status: int = 0
    headers: dict[str, str] = attrs.field(factory=dict)
    _held: bytes = b""

    async def line(self) -> str | None:
        """The next line without its end; None after the last."""
        while b"\n" not in self._held:
            data = await self.stream.receive_some()
            if not data:
                return None
            self._held += data
        line, self._held = self._held.split(b"\n", 1)
        return line.decode().removesuffix("\r")

    async def lines(self) -> list[str]:
        """Those that are left."""
        found = []
        while (line := await self.line()) is not None:
            found.append(line)
        return found


@asynccontextmanager
async def ask(url: str, path: str, **headers: str) -> AsyncIterator[Answer]:
    """Leaving closes the connection, whatever is still to come."""
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    stream = await trio.open_tcp_stream(place.hostname, place.port)
    async with stream:
        fields = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        await stream.send_all(f"GET {path} HTTP/1.0\r\n{fields}\r\n".encode("latin-1"))
        answer = Answer(stream)
        answer.status = int((await answer.line() or "").split()[1])
        while line := await answer.line():
            name, _, text = line.partition(": ")
            answer.headers[name.lower()] = text
        yield answer
