"""The outermost ASGI callable: knows who asks before it reads, and reads before anyone answers.

A credential is checked on the headers alone, so that a stranger's body is never held. The body
of a tenant is then read whole, up to the limit, within a deadline and the room for bodies.
Hypercorn's trio worker wedges a keep-alive connection that is answered before its body was read:
what is left of a refused one is thrown away for a moment, and a connection where that did not
reach the end is closed. The ingest route goes straight to its handler, the rest to Quart.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import attrs
import structlog
import trio

from atalaia.http.auth import Authenticator, header_fields
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.http.room import BodyRoom
from atalaia.http.turnstile import Turnstile
from atalaia.model.errors import NotFound, TooLarge, TooSlow
from atalaia.model.principal import Principal
from atalaia.telemetry.metrics import BATCHES, REQUEST_SECONDS

log = structlog.get_logger()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Direct = Callable[[Scope, bytes, Send], Awaitable[None]]

INGEST_PATH = "/v1/readings"
BODY_DEADLINE_S = 30.0  # a body of 8 MiB over 2 Mbit/s
DISCARD_S = 2.0
DISCARD_BYTES = 16 * 1024 * 1024  # twice the largest body: who sends a little too much is told

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class ClientGone(Exception):
    """The client left before its body was complete."""


@attrs.define(eq=False)
class Incoming:
    """A request's body while it arrives; `bytes_held` of it are in memory."""

    _receive: Receive
    ended: bool = False
    bytes_held: int = 0

    async def part(self) -> bytes:
        """The next bytes. Raises ClientGone."""
        event = await self._receive()
        if event["type"] == "http.disconnect":
            raise ClientGone
        self.ended = not event.get("more_body", False)
        return event.get("body", b"")  # type: ignore[no-any-return]

    async def discard(self) -> None:
        """Read on for a moment: a client that is cut off while it sends never sees the answer."""
        size = 0
        with trio.move_on_after(DISCARD_S):
            while not self.ended and size < DISCARD_BYTES:
                size += len(await self.part())


@attrs.frozen(eq=False)
class Front:
    """Sends the ingest route to `direct`, everything else to `app` with the body in hand.

    turnstile: what bodies for `direct` must pass before they are read.
    Both apps find `request_id` and, under /v1, `principal` in the scope's state.
    """

    app: App
    direct: Direct
    authenticator: Authenticator
    turnstile: Turnstile
    max_body_bytes: int
    room: BodyRoom = attrs.field(factory=BodyRoom)
    close: Callable[[], None] = lambda: None
    """Ends answers that would go on for ever, when the server shuts down."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            elif scope["type"] == "websocket":  # there are none: 403
                await send({"type": "websocket.close"})
            return
        request_id = uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)  # in this request's own task
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        began = trio.current_time()
        incoming = Incoming(receive)
        try:
            try:
                scope["path"] = _path(scope["path"])  # the router must see what is checked here
                body = await self._body(scope, incoming)
            except ClientGone:
                return
            except Exception as error:
                await _refuse(scope, incoming, send, error, began)
                return
            if _is_ingest(scope):
                await self.direct(scope, body, send)
            else:
                await self.app(scope, _replay(body, receive), send)
        finally:
            if incoming.bytes_held:
                self.room.give_back(scope["state"]["principal"].tenant_no, incoming.bytes_held)

    async def _body(self, scope: Scope, incoming: Incoming) -> bytes:
        if not scope["path"].startswith("/v1/"):  # nothing there takes a body
            await incoming.discard()
            if not incoming.ended:
                raise TooLarge
            return b""
        principal = scope["state"]["principal"] = await self.authenticator.principal(scope)
        if int(header_fields(scope).get(b"content-length", "0")) > self.max_body_bytes:
            raise self._too_large()
        if not _is_ingest(scope):
            return await self._read_in_time(principal, incoming)
        async with self.turnstile.passed(principal):
            return await self._read_in_time(principal, incoming)

    async def _read_in_time(self, principal: Principal, incoming: Incoming) -> bytes:
        try:
            with trio.fail_after(BODY_DEADLINE_S):
                return await self._read(principal, incoming)
        except trio.TooSlowError:
            raise TooSlow from None

    async def _read(self, principal: Principal, incoming: Incoming) -> bytes:
        body = bytearray()  # a list of parts would let tiny ones cost many times their size
        while not incoming.ended:
            part = await incoming.part()
            if len(body) + len(part) > self.max_body_bytes:
                raise self._too_large()
            self.room.take(principal.tenant_no, len(part))
            incoming.bytes_held += len(part)
            body += part
        return bytes(body)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A body may have {self.max_body_bytes} bytes; send smaller batches.")


def _path(target: str) -> str:
    """The path of a request target, of the absolute form too (RFC 9112, 3.2.2).

    Raises NotFound for one that the router would read as another.
    """
    origin = _ORIGIN.match(target)
    path = target if origin is None else target[origin.end() :] or "/"
    if not path.startswith("/") or path.startswith("//"):
        raise NotFound
    return path


def _is_ingest(scope: Scope) -> bool:
    return bool(scope["path"] == INGEST_PATH and scope["method"] == "POST")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive that hands out the body that was read, then the client's later events."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> dict[str, Any]:
        return pending.pop() if pending else await receive()

    return replayed


async def respond(
    send: Send, status: int, content_type: str, body: bytes, extra: list[tuple[str, str]]
) -> None:
    """One complete response."""
    pairs = [("content-type", content_type), ("content-length", str(len(body))), *extra]
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _refuse(
    scope: Scope, incoming: Incoming, send: Send, error: Exception, began: float
) -> None:
    """Answer a request whose body was not read to its end, or not kept."""
    request_id = scope["state"]["request_id"]
    known = as_error(error)
    status, _ = status_of(known)
    if status == 500:
        log.error("request_failed", exc_info=error)
    try:
        await incoming.discard()
    except ClientGone:
        return
    extra = [*headers(known), ("x-request-id", request_id)]
    if not incoming.ended and scope["http_version"] != "2":  # there it ends the stream anyway
        extra.append(("connection", "close"))
    route = "unknown"
    if _is_ingest(scope):
        route = INGEST_PATH
        BATCHES.labels(known.code).inc()
    took_s = trio.current_time() - began
    REQUEST_SECONDS.labels(route, str(status)).observe(took_s)
    log.debug(
        "request_answered",
        method=scope["method"],
        route=route,
        status=status,
        took_ms=round(1e3 * took_s, 1),
    )
    await respond(send, status, PROBLEM_JSON, encode(problem(known, request_id)), extra)
