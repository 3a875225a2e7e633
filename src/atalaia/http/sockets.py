"""`/v1/ingest`: readings over a WebSocket, each message answered after its commit.

A message is its sender's id, a new line, and a body as one of the HTTP routes takes it; its answer
is theirs, as JSON with that id. Messages are taken in order, several at a time, and answered in
order. How many may be unanswered is told first: the credit. Whoever sends beyond it is
cut off, so that what is held here is bounded; whoever keeps to it is slowed down by its quota.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import attrs
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.ingest import Body
from atalaia.http.auth import CHECK_S, Authenticator, require
from atalaia.http.errors import as_error, encode, problem, status_of
from atalaia.http.faces import Scope, account
from atalaia.http.handshake import options_of, protocol_of, refuse
from atalaia.http.ingest import Take
from atalaia.http.peers import Peers
from atalaia.http.room import BodyRoom
from atalaia.http.tickets import SOCKET_PATH
from atalaia.model.errors import (
    AtalaiaError,
    Busy,
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    QuotaUsedUp,
    Unauthenticated,
    Unavailable,
)
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal
from atalaia.telemetry.metrics import BATCHES
from atalaia.wire.options import WireOptions

log = structlog.get_logger()

MIB = 1024 * 1024
MAX_MESSAGE_BYTES = MIB
CREDIT_MESSAGES, CREDIT_BYTES = 32, 4 * MIB
MOST_PER_TENANT = 16
LAST_ANSWERS_S = 12.0  # more than an answer may take

NORMAL, LEAVING = 1000, 1001
BAD_MESSAGE, KEY_REVOKED, SCOPE_LOST, BEYOND_CREDIT = 4400, 4401, 4403, 4429

_ID = re.compile(rb"[!-~]{1,64}")


@attrs.define(eq=False)
class Sockets:
    """All of them. admit: raises what a batch would be refused with now. leaving: set when the
    server is about to end.
    """

    take: Take
    admit: Callable[[Principal], None]
    authenticator: Authenticator
    clock: WallClock
    room: BodyRoom
    peers: Peers
    leaving: trio.Event = attrs.field(factory=trio.Event)
    _open: Counter[TenantNo] = attrs.field(factory=Counter)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One of them, from its handshake to its end."""
        await receive()  # websocket.connect
        if scope["path"] != SOCKET_PATH:  # there are no others: 403
            await send({"type": "websocket.close"})
            return
        request_id, client = uuid4().hex, self.peers.see(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id, client=client)
        scope["state"] = dict(scope.get("state", {}))
        try:
            self.peers.check_secure(scope)
            self.peers.check_origin(scope)
            principal = await self.peers.identify(self.authenticator.principal, scope)
            require(principal, "ingest")
            protocol = protocol_of(scope)
            options = options_of(scope, principal, protocol)
            self._enter(principal)
        except Exception as error:
            await refuse(send, as_error(error), request_id)
            return
        try:
            chosen = protocol if protocol in scope["subprotocols"] else None
            await send({"type": "websocket.accept", "subprotocol": chosen})
            log.debug("socket_opened", protocol=protocol)
            conversation = Conversation(self, scope, principal, options, receive, send, request_id)
            code = await conversation.run()
            log.debug("socket_closed", code=code)
        finally:
            self._leave(principal)

    def _enter(self, principal: Principal) -> None:
        if self.leaving.is_set():
            raise Unavailable(code="closing")
        if self._open[principal.tenant_no] >= MOST_PER_TENANT:
            raise Busy(
                f"This tenant has {MOST_PER_TENANT} sockets open; close one, or send more over "
                "each.",
                code="too_many_sockets",
                retry_after_s=5,
            )
        self._open[principal.tenant_no] += 1

    def _leave(self, principal: Principal) -> None:
        self._open[principal.tenant_no] -= 1
        if not self._open[principal.tenant_no]:
            del self._open[principal.tenant_no]


@attrs.frozen(eq=False)
class Message:
    """One body with its sender's id. size: with the id."""

    text_id: str
    data: bytes
    size: int


@attrs.define(eq=False)
class Conversation:
    """One open socket."""

    sockets: Sockets
    scope: Scope
    principal: Principal
    options: WireOptions
    receive: Any
    send: Any
    request_id: str
    _unanswered: int = 0
    _unanswered_bytes: int = 0
    _under_way: int = 0
    _ending: tuple[int, str] | None = None
    _talking: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)
    _quiet: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> int | None:
        """The code it was closed with; None: its client left. What was handed over goes on."""
        put, get = trio.open_memory_channel[Message](CREDIT_MESSAGES)
        try:
            async with trio.open_nursery() as answering:
                with self._talking:
                    await self._say({
                        "credit": {"messages": CREDIT_MESSAGES, "bytes": CREDIT_BYTES},
                        "max_message_bytes": MAX_MESSAGE_BYTES,
                    })  # fmt: skip
                    async with trio.open_nursery() as talking:
                        talking.start_soon(self._watch_key)
                        talking.start_soon(self._watch_leaving)
                        talking.start_soon(self._hand_over, get, answering)
                        await self._read(put)
                        talking.cancel_scope.cancel()
                if self._ending is not None and self._under_way:
                    self._quiet = trio.Event()
                    with trio.move_on_after(LAST_ANSWERS_S):
                        await self._quiet.wait()
                answering.cancel_scope.cancel()
        finally:
            self.sockets.room.give_back(self.principal.tenant_no, self._unanswered_bytes)
        if self._ending is None:
            return None
        code, reason = self._ending
        await self.send({"type": "websocket.close", "code": code, "reason": reason})
        return code

    def _end(self, code: int, reason: str) -> None:
        if self._ending is None:
            self._ending = code, reason
        self._talking.cancel()

    async def _read(self, put: trio.MemorySendChannel[Message]) -> None:
        """Until the client leaves."""
        while True:
            event = await self.receive()
            if event["type"] == "websocket.disconnect":
                return
            data = event.get("bytes")
            message = _split(event["text"].encode() if data is None else data)
            if message is None:
                self._end(BAD_MESSAGE, "a message is an id of 1 to 64 characters, a new line, "
                                       "and a body")  # fmt: skip
            elif self._takes(message):
                put.send_nowait(message)
            await trio.lowlevel.checkpoint()

    def _takes(self, message: Message) -> bool:
        """Whether there is credit for it, and room; else the conversation ends."""
        if (
            self._unanswered >= CREDIT_MESSAGES
            or self._unanswered_bytes + message.size > CREDIT_BYTES
        ):
            self._end(BEYOND_CREDIT, "more unanswered messages or bytes than the credit")
            return False
        try:
            share = self.principal.quota.waiting_bytes
            self.sockets.room.take(self.principal.tenant_no, message.size, share)
        except (Overloaded, Unavailable) as error:
            self._end(BEYOND_CREDIT, error.code)
            return False
        self._unanswered += 1
        self._unanswered_bytes += message.size
        return True

    async def _hand_over(
        self, get: trio.MemoryReceiveChannel[Message], answering: trio.Nursery
    ) -> None:
        """In order, as the quota allows."""
        before = trio.Event()
        before.set()
        async for message in get:
            await self._wait_for_quota()
            self._under_way += 1
            parsed, answered = trio.Event(), trio.Event()
            answering.start_soon(self._answer, message, parsed, before, answered)
            before = answered
            # It runs to where it waits for the commit before another one can begin.
            await parsed.wait()

    async def _wait_for_quota(self) -> None:
        while True:
            try:
                self.sockets.admit(self.principal)
            except QuotaUsedUp as used_up:
                await trio.sleep(used_up.wait_s)
            except AtalaiaError:
                return  # its answer will say so
            else:
                return

    async def _answer(
        self, message: Message, parsed: trio.Event, before: trio.Event, answered: trio.Event
    ) -> None:
        """before: of the message before this one, what answered is of this one."""
        options = attrs.evolve(self.options, now_us=self.sockets.clock.now_us())
        body = Body(message.data, "identity", options, parsed)
        try:
            answer = await self.sockets.take(self.principal, body)
            status, _, said, outcome = account(answer, self.request_id)
        except Exception as error:
            known = as_error(error)
            status, outcome = status_of(known)[0], known.code
            if status == 500:
                log.exception("message_failed")
            said = problem(known, self.request_id)
            if isinstance(known, Overloaded | Unavailable):
                said["retry_after"] = known.retry_after_s
            parsed.set()  # or refused before
        BATCHES.labels(outcome).inc()
        await before.wait()  # whose commit was no later, but tasks wake in any order
        await self._say({"id": message.text_id, **said, "status": status})
        self.sockets.room.give_back(self.principal.tenant_no, message.size)
        self._unanswered -= 1
        self._unanswered_bytes -= message.size
        self._under_way -= 1
        answered.set()
        if not self._under_way:
            self._quiet.set()

    async def _say(self, document: dict[str, Any]) -> None:
        async with self._sending:
            await self.send({"type": "websocket.send", "text": encode(document).decode()})

    async def _watch_key(self) -> None:
        """Ends the conversation when its key no longer may; takes on a quota that was changed."""
        while True:
            await trio.sleep(CHECK_S)
            try:
                principal = await self.sockets.authenticator.still(self.scope)
                require(principal, "ingest")
            except Unauthenticated as error:
                self._end(KEY_REVOKED, error.code)
            except (Forbidden, NotFound, Conflict) as error:
                self._end(SCOPE_LOST, error.code)
            except Exception as error:
                log.warning("key_not_checked", error=str(error))  # the database is away
            else:
                self.principal = principal

    async def _watch_leaving(self) -> None:
        await self.sockets.leaving.wait()
        self._end(LEAVING, "closing")


def _split(data: bytes) -> Message | None:
    """None for what has no id."""
    text_id, newline, body = data.partition(b"\n")
    if not newline or _ID.fullmatch(text_id) is None:
        return None
    return Message(text_id.decode(), body, len(data))
