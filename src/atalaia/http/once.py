"""Requests with an `Idempotency-Key`: carried out once, and answered the same for a day.

Draft -07 of the HTTP API working group. Stands around the routes that make something, which know
nothing of it. What succeeded is kept, sealed, since it may hold what is shown once. What was
refused has done nothing, and its key is free again. Where nobody knows (a 5xx, a process that
died), the key is held for LAPSES_S, longer than the request may run, and then the same request may
try again.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import attrs
import msgspec
import structlog
import trio

from atalaia.http.access import check_access
from atalaia.http.asgi import respond
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.http.incoming import App, Receive, Scope, Send
from atalaia.model.errors import Conflict, InProgress, Invalid, KeyReused, Unavailable
from atalaia.model.principal import Principal
from atalaia.model.repeats import Claim
from atalaia.people import Repeats
from atalaia.ports import StoreRefused, StoreUnavailable
from atalaia.security.sealing import Seal

log = structlog.get_logger()

ROUTES = (
    "/v1/admin/tenants",
    "/v1/api-keys",
    "/v1/api-keys/<key>/rotate",
    "/v1/rules",
    "/v1/sensors",
    "/v1/users",
    "/v1/users/<user>/link",
)
"""That make something by POST; not imports: the same file again does what is left."""

LAPSES_S = 60
RUNS_S = 45.0  # less than the above, and more than its steps may take together
KEEPING_S = 5.0
REPLAYED = (b"idempotency-replayed", b"true")

_PATTERNS = [(re.compile(re.sub("<[a-z]+>", "[^/]+", route)), route) for route in ROUTES]
KEY = re.compile(r'"([ !#-\[\]-~]{1,255})"|([!#-\[\]-~]{1,255})')


class _Kept(msgspec.Struct):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


@attrs.frozen(eq=False)
class Once:
    """An ASGI app around `app`; the whole body comes with the first event."""

    app: App
    repeats: Repeats
    seal: Seal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = _route(scope)
        sent = [value for name, value in scope["headers"] if name == b"idempotency-key"]
        if route is None or not sent:
            await self.app(scope, receive, send)
            return
        try:
            principal: Principal = scope["state"]["principal"]
            check_access(principal, "POST", route)
            event = await receive()
            kept = await self._answer(scope, principal, _key(sent), event)
        except Exception as error:
            known = as_error(error)
            if status_of(known)[0] == 500:
                log.error("request_failed", exc_info=error)
            request_id = scope["state"]["request_id"]
            pairs = [*headers(known), ("x-request-id", request_id)]
            body = encode(problem(known, request_id))
            await respond(send, status_of(known)[0], PROBLEM_JSON, body, pairs)
            return
        await send({"type": "http.response.start", "status": kept.status, "headers": kept.headers})
        await send({"type": "http.response.body", "body": kept.body})

    async def _answer(
        self, scope: Scope, principal: Principal, key: str, event: dict[str, Any]
    ) -> _Kept:
        """Raises InProgress, KeyReused, Conflict, Unavailable, StoreUnavailable."""
        claim = _claim(scope, principal, key, event["body"])
        tenant_no = principal.tenant_no
        found = await self.repeats.claim(tenant_no, claim, lapses_s=LAPSES_S)
        if found is None:
            kept = await self._carry_out(scope, event)
            # Whoever left meanwhile will ask again: what was done must be known then.
            with trio.move_on_after(KEEPING_S, shield=True):
                await self._remember(principal, claim, kept)
            return kept
        if found.fingerprint != claim.fingerprint:
            raise KeyReused
        if found.answer is None:
            raise InProgress(retry_after_s=found.left_s)
        opened = self.seal.open(found.answer)
        if opened is None:
            raise Conflict(
                "This was done, and its answer can no longer be read, since the secrets of the "
                "service were changed: look for what it made.",
                code="idempotency_answer_lost",
            )
        log.debug("answer_repeated")
        kept = msgspec.msgpack.decode(opened, type=_Kept)
        current = (b"x-request-id", scope["state"]["request_id"].encode())
        return _Kept(kept.status, [*kept.headers, current, REPLAYED], kept.body)

    async def _carry_out(self, scope: Scope, event: dict[str, Any]) -> _Kept:
        """The whole answer, whether its client stays or not."""
        events: list[dict[str, Any]] = []
        pending = [event]

        async def receive() -> dict[str, Any]:
            return pending.pop() if pending else await trio.sleep_forever()

        async def send(event: dict[str, Any]) -> None:
            events.append(event)

        with trio.CancelScope(deadline=trio.current_time() + RUNS_S, shield=True) as running:
            await self.app(scope, receive, send)
        if running.cancelled_caught or not events:
            raise Unavailable("This takes too long and may still be done: look for it.")
        body = b"".join(event.get("body", b"") for event in events[1:])
        return _Kept(events[0]["status"], _plain(events[0]["headers"]), body)

    async def _remember(self, principal: Principal, claim: Claim, kept: _Kept) -> None:
        """Of what cannot be written now nobody knows later: its claim lapses."""
        tenant_no = principal.tenant_no
        try:
            if kept.status < 300:
                own = [pair for pair in kept.headers if pair[0] != b"x-request-id"]
                said = msgspec.msgpack.encode(_Kept(kept.status, own, kept.body))
                await self.repeats.keep_answer(tenant_no, claim, self.seal.close(said))
            elif kept.status < 500:
                await self.repeats.release(tenant_no, claim)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("answer_not_kept", error=str(error))


def _plain(pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(bytes(name).lower(), bytes(value)) for name, value in pairs]


def _route(scope: Scope) -> str | None:
    if scope["method"] != "POST":
        return None
    path = scope["path"]
    return next((route for pattern, route in _PATTERNS if pattern.fullmatch(path)), None)


def _key(sent: Sequence[bytes]) -> str:
    """What it says, with or without the quotes of a structured field. Raises Invalid."""
    match = KEY.fullmatch(sent[0].decode("latin-1").strip()) if len(sent) == 1 else None
    if match is None:
        raise Invalid(
            "Idempotency-Key: give one of 1 to 255 visible ASCII characters, in quotes or not, "
            "without quotes and backslashes in it.",
            code="bad_idempotency_key",
        )
    return match[1] or match[2]


def _claim(scope: Scope, principal: Principal, key: str, body: bytes) -> Claim:
    """A key is its sender's alone: another credential of the tenant never sees the answer."""
    key_hash = hashlib.sha256(f"{principal.subject}\n{key}".encode()).digest()
    said = b"\n".join(
        [scope["method"].encode(), scope["path"].encode(), scope["query_string"], b""]
    )
    return Claim(key_hash, hashlib.sha256(said + body).digest(), uuid4())
