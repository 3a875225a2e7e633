"""A request's body while it arrives, and the first words of ASGI."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from atalaia.model.errors import TinyChunks
from atalaia.model.ids import TenantNo

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

STRANGERS = TenantNo(0)  # who signs in; their bodies have the room of one tenant together
FREE_PARTS = 1_000  # of a body; each costs 0.1 ms, whatever it holds
LEAST_BYTES = 32  # in each, on average, where there are more: a row, say
DISCARD_S = 2.0
DISCARD_BYTES = 16 * 1024 * 1024  # twice the largest body: who sends a little too much is told


class ClientGone(Exception):
    """The client left before its body was complete."""


@attrs.define(eq=False)
class Incoming:
    """A request's body while it arrives; `bytes_held` of it are in memory. share: of the room,
    where its tenant has one of its own.
    """

    _receive: Receive
    ended: bool = False
    bytes_held: int = 0
    tenant_no: TenantNo = STRANGERS
    share: int | None = None
    _parts: int = 0
    _size: int = 0

    async def part(self) -> bytes:
        """The next bytes. Raises ClientGone, TinyChunks."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        self.ended = not event.get("more_body", False)
        part: bytes = event.get("body", b"")
        self._parts += 1
        self._size += len(part)
        if self._parts > FREE_PARTS and self._size < LEAST_BYTES * self._parts:
            raise TinyChunks
        return part

    async def discard(self) -> None:
        """Read on for a moment: a client that is cut off while it sends never sees the answer."""
        size = 0
        with trio.move_on_after(DISCARD_S), suppress(TinyChunks):
            while not self.ended and size < DISCARD_BYTES:
                size += len(await self.part())
