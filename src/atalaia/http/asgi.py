"""The outermost ASGI callable: knows who asks before it reads, and reads before anyone answers.

A credential is checked on the headers alone, so that a stranger's body is never held, but for the
few bytes of signing in. The body of a tenant is then read whole, up to the limit, within a deadline
and the room for bodies; large answers need room too, while they are taken.
Hypercorn's trio worker wedges a keep-alive connection that is answered before its body was read:
what is left of a refused one is thrown away for a moment, and a connection where that did not
reach the end is closed. The ingest routes go straight to their handler, the rest to Quart. When
the server is about to end, whatever still comes is refused, and each answer ends its connection.
"""

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol
from uuid import uuid4

import attrs
import structlog
import trio

from atalaia.http.access import OPEN_PATHS
from atalaia.http.auth import Authenticator, header_fields
from atalaia.http.errors import as_error, status_of
from atalaia.http.faces import Face, ReadingsFace, Rendered
from atalaia.http.incoming import App, ClientGone, Incoming, Receive, Scope, Send
from atalaia.http.outgoing import Outgoing
from atalaia.http.peers import Peers
from atalaia.http.rates import fields
from atalaia.http.room import AnswerRoom, BodyRoom
from atalaia.http.turnstile import Turnstile
from atalaia.model.errors import AtalaiaError, Closing, NotFound, TooLarge, TooSlow
from atalaia.model.principal import Principal
from atalaia.model.standing import Standing
from atalaia.telemetry.metrics import BATCHES, REQUEST_SECONDS

log = structlog.get_logger()

Direct = Callable[[Scope, bytes, Send], Coroutine[Any, Any, None]]
"""Holds the body no longer than until it begins to answer."""

BODY_DEADLINE_S = 30.0  # a body of 8 MiB over 2 Mbit/s
STRANGERS_BODY_BYTES = 8 * 1024
LONG_ANSWERS = {"/v1/export", "/v1/query", "/v1/rules/backtest", "/v1/stream"}

_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class SocketApp(Protocol):
    """What serves WebSockets. leaving: set when the server is about to end."""

    leaving: trio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@attrs.frozen(eq=False)
class Front:
    """Sends the ingest routes to `direct`, everything else with the body in hand to `once`, which
    stands around `app`.

    find_face: whose route a request is, if `direct` takes it. turnstile: what bodies for `direct`
    must pass before they are read. Both apps find `request_id` and, under /v1 and at a face,
    `principal` in the scope's state; `direct` finds `face`.
    """

    app: App
    once: App
    direct: Direct
    find_face: Callable[[Scope], Face | None]
    authenticator: Authenticator
    turnstile: Turnstile
    peers: Peers
    standings: Callable[[Principal], Sequence[Standing]]
    """Of the quotas of a sender of readings."""
    max_body_bytes: int
    room: BodyRoom
    answers: AnswerRoom
    sockets: SocketApp
    close: Callable[[], None]
    """Ends answers that would go on for ever, when the server shuts down."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self.sockets if scope["type"] == "websocket" else self.app)(scope, receive, send)
            return
        request_id, client = uuid4().hex, self.peers.see(scope)
        # In this request's own task.
        structlog.contextvars.bind_contextvars(request_id=request_id, client=client)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        began = trio.current_time()
        incoming, outgoing = Incoming(receive), Outgoing(self.answers)
        kept = False

        async def answer(event: dict[str, Any]) -> None:
            """Send it, where there is room for it while its client reads."""
            if event["type"] == "http.response.start":
                if not kept:  # nobody holds the body now, and its client may read for long
                    self._give_back(incoming)
                outgoing.begin(scope, event["status"], event["headers"])
            if outgoing.refusal is None:
                await last(event)

        async def last(event: dict[str, Any]) -> None:
            """Send it, as the last one where the connection ends with it."""
            if event["type"] == "http.response.start":
                if self.sockets.leaving.is_set() or not incoming.ended:
                    event = {**event, "headers": [*event["headers"], (b"connection", b"close")]}
                if found := self._standings(scope["state"]):
                    event = {**event, "headers": [*event["headers"], *fields(found)]}
            await send(event)

        try:
            try:
                scope["path"] = _path(scope["path"])  # the router must see what is checked here
                face = scope["state"]["face"] = self.find_face(scope)
                body = await self._body(scope, face, incoming)
            except ClientGone:
                return
            except Exception as error:
                await _refuse(scope, incoming, answer, error, began)
                return
            if face is not None:
                directly = self.direct(scope, body, answer)
                del body
                await directly
            else:
                kept = True
                await self.once(scope, _replay(body, receive, scope["path"]), answer)
            if outgoing.refusal is not None:  # what was built is no longer held
                log.info("answer_refused", code=outgoing.refusal.code, path=scope["path"])
                await _tell(scope, last, _refusal(scope, outgoing.refusal))
        finally:
            self._give_back(incoming)
            outgoing.end()

    def _standings(self, state: dict[str, Any]) -> Sequence[Standing]:
        """Of whatever was counted for this request."""
        if state.get("face") is not None and (principal := state.get("principal")) is not None:
            return self.standings(principal)
        counted: Sequence[Standing] = state.get("standings", ())
        return counted

    def _give_back(self, incoming: Incoming) -> None:
        if incoming.bytes_held:
            self.room.give_back(incoming.tenant_no, incoming.bytes_held)
            incoming.bytes_held = 0

    async def _body(self, scope: Scope, face: Face | None, incoming: Incoming) -> bytes:
        if face is None and not scope["path"].startswith("/v1/"):  # nothing there takes a body
            await incoming.discard()
            if not incoming.ended:
                raise TooLarge
            return b""
        if self.sockets.leaving.is_set():
            raise Closing
        self.peers.check_secure(scope)
        self.peers.check_origin(scope)
        if scope["path"] in OPEN_PATHS:
            self.peers.count_stranger(scope)
            return await self._read_in_time(incoming, STRANGERS_BODY_BYTES)
        asking = scope if face is None else _with_key(scope, face.credential(scope))
        principal = await self.peers.identify(self.authenticator.principal, asking)
        scope["state"]["principal"] = principal
        if face is None:  # readings are counted by quotas
            self.peers.count(scope, principal)
        incoming.tenant_no, incoming.share = principal.tenant_no, principal.quota.waiting_bytes
        if int(header_fields(scope).get(b"content-length", "0")) > self.max_body_bytes:
            raise _too_large(self.max_body_bytes)
        if face is None:
            return await self._read_in_time(incoming, self.max_body_bytes)
        async with self.turnstile.passed(principal):
            return await self._read_in_time(incoming, self.max_body_bytes)

    async def _read_in_time(self, incoming: Incoming, most_bytes: int) -> bytes:
        try:
            with trio.fail_after(BODY_DEADLINE_S):
                return await self._read(incoming, most_bytes)
        except trio.TooSlowError:
            raise TooSlow from None

    async def _read(self, incoming: Incoming, most_bytes: int) -> bytes:
        body = bytearray()  # a list of parts would let tiny ones cost many times their size
        try:
            while not incoming.ended:
                part = await incoming.part()
                if len(body) + len(part) > most_bytes:
                    raise _too_large(most_bytes)
                self.room.take(incoming.tenant_no, len(part), incoming.share)
                incoming.bytes_held += len(part)
                body += part
            return bytes(body)
        finally:
            body.clear()  # an error would keep it until it is answered


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"A body may have {most_bytes} bytes; send smaller batches.")


def _path(target: str) -> str:
    """The path of a request target, of the absolute form too (RFC 9112, 3.2.2).

    Raises NotFound for one that the router would read as another.
    """
    origin = _ORIGIN.match(target)
    path = target if origin is None else target[origin.end() :] or "/"
    if not path.startswith("/") or path.startswith("//"):
        raise NotFound
    return path


def _with_key(scope: Scope, key: str | None) -> Scope:
    """As if the key had come where ours comes."""
    if key is None:
        return scope
    return {**scope, "headers": [*scope["headers"], (b"x-api-key", key.encode())]}


def _replay(body: bytes, receive: Receive, path: str) -> Receive:
    """A receive that hands out the body that was read, and that the client has left only where an
    answer may go on for long: a client that has only stopped sending gets the others.
    """
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> dict[str, Any]:
        if pending:
            return pending.pop()
        event = await receive()
        if path not in LONG_ANSWERS:
            await trio.sleep_forever()  # until it is answered, or its connection's end
        return event

    return replayed


async def respond(
    send: Send, status: int, content_type: str, body: bytes, extra: list[tuple[str, str]]
) -> None:
    """One complete response."""
    pairs = [("content-type", content_type), ("content-length", str(len(body))), *extra]
    if status == 204:
        pairs = extra
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _refuse(
    scope: Scope, incoming: Incoming, send: Send, error: Exception, began: float
) -> None:
    """Answer a request whose body was not read to its end, or not kept."""
    known = as_error(error)
    if status_of(known)[0] == 500:
        log.error("request_failed", exc_info=error)
    try:
        await incoming.discard()
    except ClientGone:
        return
    face, rendered = scope["state"].get("face"), _refusal(scope, known)
    route = "unknown"
    if face is not None:
        route = face.route
        BATCHES.labels(rendered.outcome).inc()
    took_s = trio.current_time() - began
    REQUEST_SECONDS.labels(route, str(rendered.status)).observe(took_s)
    log.debug(
        "request_answered",
        method=scope["method"],
        route=route,
        status=rendered.status,
        took_ms=round(1e3 * took_s, 1),
    )
    await _tell(scope, send, rendered)


def _refusal(scope: Scope, error: AtalaiaError) -> Rendered:
    face: Face = scope["state"].get("face") or ReadingsFace()
    return face.refuse(error, scope["state"]["request_id"])


async def _tell(scope: Scope, send: Send, rendered: Rendered) -> None:
    extra = [*rendered.headers, ("x-request-id", scope["state"]["request_id"])]
    await respond(send, rendered.status, rendered.content_type, rendered.body, extra)
