"""The outermost ASGI callable: reads the bounded body before anyone may answer.

Hypercorn's trio worker wedges a keep-alive connection that is answered before its body was read.
So the whole body is read here, up to the limit and within a deadline; whoever goes beyond gets
413 or 408 and a closed connection. The ingest route then goes straight to its handler, the rest
to Quart.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import attrs
import structlog
import trio

from atalaia.http.errors import PROBLEM_JSON, as_error, encode, problem, status_of
from atalaia.model.errors import AtalaiaError, TooLarge

log = structlog.get_logger()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Direct = Callable[[Scope, bytes, Send, str], Awaitable[None]]

INGEST_PATH = "/v1/readings"
BODY_DEADLINE_S = 30.0  # a body of 8 MiB over 2 Mbit/s

DISCARD_S = 2.0
DISCARD_BYTES = 64 * 1024 * 1024


class ClientGone(Exception):
    """The client left before its body was complete."""


@attrs.frozen(eq=False)
class Front:
    """Sends the ingest route to `direct`, everything else to `app` with the body in hand."""

    app: App
    direct: Direct
    max_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)  # in this request's own task
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        try:
            with trio.fail_after(BODY_DEADLINE_S):
                body = await self._read(receive)
        except ClientGone:
            return
        except trio.TooSlowError:
            await refuse(send, AtalaiaError("The body arrived too slowly."), request_id, status=408)
            return
        except TooLarge as error:
            await refuse(send, error, request_id)
            return
        if scope["path"] == INGEST_PATH and scope["method"] == "POST":
            await self.direct(scope, body, send, request_id)
            return
        await self.app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            part = event.get("body", b"")
            size += len(part)
            if size > self.max_body_bytes:
                parts.clear()
                if event.get("more_body", False):
                    await _discard(receive)
                raise TooLarge(
                    f"A body may have {self.max_body_bytes} bytes; send smaller batches."
                )
            parts.append(part)
            if not event.get("more_body", False):
                return b"".join(parts)


async def _discard(receive: Receive) -> None:
    """Read on for a moment: a client that is cut off while it sends never sees the answer."""
    with trio.move_on_after(DISCARD_S):
        size = 0
        while size < DISCARD_BYTES:
            event = await receive()
            size += len(event.get("body", b""))
            if not event.get("more_body", False):
                return


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


async def refuse(
    send: Send, error: Exception, request_id: str, *, status: int | None = None
) -> None:
    """Answer a body that was not read to its end, and close."""
    known = as_error(error)
    log.debug("request_refused", status=status or status_of(known)[0])
    body = problem(known, request_id)
    if status is not None:
        body |= {"status": status, "title": "Too slow", "code": "timeout"}
    await respond(
        send,
        status or status_of(known)[0],
        PROBLEM_JSON,
        encode(body),
        [("connection", "close"), ("x-request-id", request_id)],
    )
