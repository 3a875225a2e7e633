"""The publisher of the role `http`: a message is answered when RabbitMQ has confirmed it.

Messages gather while the last ones are on their way, and cross to the driver together. Bytes that
are not confirmed are bounded; everything ends within `publish_s`, with a confirmation or with
Unavailable: the broker away, blocked, full, or silent.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import attrs
import structlog
import trio

from atalaia.amqp.limits import AmqpLimits, backoff_s
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, told
from atalaia.amqp.messages import Message
from atalaia.amqp.outlet import Fate, Outlet, open_outlet_aio
from atalaia.amqp.topology import READINGS
from atalaia.bridge import Bridge
from atalaia.engine.receipt import Receipt
from atalaia.model.errors import Unavailable
from atalaia.telemetry.metrics import PUBLISHED

log = structlog.get_logger()

CROSSINGS = 4  # at once: while one waits for its confirmations the next are on their way
LOOK_S = 0.25
CLOSE_S = 5.0
AWAY = "RabbitMQ does not take messages now; send the same batch again after the delay."
SLOW = "RabbitMQ does not confirm in time; send the same again, what it has counts as duplicate."


@attrs.frozen(eq=False)
class Parcel:
    """A message on its way, and who waits for it. Nobody waits beyond its deadline."""

    message: Message
    receipt: Receipt[None]
    deadline: float


@attrs.define(eq=False)
class Publisher:
    """Made by `open_publisher`."""

    _bridge: Bridge
    _url: str = attrs.field(repr=False)
    _limits: AmqpLimits
    health: Literal["ok", "unavailable", "blocked"] = "unavailable"
    _held_bytes: int = 0
    _said: str = ""
    _send: trio.MemorySendChannel[Parcel] = attrs.field(init=False)
    _parcels: trio.MemoryReceiveChannel[Parcel] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded in messages because bytes are counted, and every message has a deadline.
        self._send, self._parcels = trio.open_memory_channel(math.inf)

    def check(self) -> str:
        """For readiness."""
        return self.health

    async def publish(self, *messages: Message) -> None:
        """Return when a queue holds all. Raises Unavailable, at the latest after publish_s."""
        if self.health != "ok":
            raise Unavailable(AWAY)
        size = sum(len(message.body) for message in messages)
        if self._held_bytes and self._held_bytes + size > self._limits.publish_bytes:
            raise Unavailable(
                "RabbitMQ is slower than what arrives; send the same again after the delay.",
                code="saturated",
            )
        deadline = trio.current_time() + self._limits.publish_s
        try:
            with trio.fail_at(deadline):
                for message in messages:  # one by one: crossings may overtake each other
                    await self._send_one(message, deadline).wait()
        except trio.TooSlowError:
            raise Unavailable(SLOW) from None

    def _send_one(self, message: Message, deadline: float) -> Receipt[None]:
        size = len(message.body)
        self._held_bytes += size
        receipt: Receipt[None] = Receipt(partial(self._release, size))
        self._send.send_nowait(Parcel(message, receipt, deadline))
        return receipt

    def _release(self, size: int) -> None:
        self._held_bytes -= size

    async def run(self) -> None:
        """Keep a connection, and send over it."""
        tries = 0
        while True:
            try:
                outlet = await self._bridge.call(open_outlet_aio, self._url, READINGS, "publisher")
            except (BrokerUnavailable, BrokerRefused, OSError) as error:
                if told(error) != self._said:
                    log.error("broker_unavailable", error=told(error))
                    self._said = told(error)
                tries += 1
                first_s, last_s = self._limits.first_retry_s, self._limits.reconnect_s
                await trio.sleep(backoff_s(tries, first_s, last_s))
                continue
            tries, self._said = 0, ""
            log.info("publishing")
            try:
                await self._use(outlet)
            except Exception:
                log.exception("publisher_crashed")
            finally:
                self.health = "unavailable"
                with trio.move_on_after(CLOSE_S, shield=True):
                    await self._bridge.call(outlet.close_aio)
            log.warning("broker_lost")

    async def _use(self, outlet: Outlet) -> None:
        """Until the connection is lost."""
        self.health = "ok"
        async with trio.open_nursery() as nursery:
            for _ in range(CROSSINGS):
                nursery.start_soon(self._send_all, outlet, nursery.cancel_scope)
            while not outlet.lost:
                await trio.sleep(LOOK_S)
                blocked = await self._bridge.call(outlet.blocked_aio)
                if blocked != (self.health == "blocked"):
                    self.health = "blocked" if blocked else "ok"
                    log.warning("broker_blocked" if blocked else "broker_unblocked")
            nursery.cancel_scope.cancel()

    async def _send_all(self, outlet: Outlet, connection: trio.CancelScope) -> None:
        while True:
            parcels = [await self._parcels.receive()]
            while len(parcels) < self._limits.publish_at_once:
                try:
                    parcels.append(self._parcels.receive_nowait())
                except trio.WouldBlock:
                    break
            if await self._send_some(outlet, parcels):
                continue
            # Silence may be a connection that leads nowhere any more; a new one is soon tried.
            if not await self._bridge.call(outlet.blocked_aio):
                connection.cancel()

    async def _send_some(self, outlet: Outlet, parcels: list[Parcel]) -> bool:
        """False when the broker said nothing in time."""
        now = trio.current_time()
        wanted = [parcel for parcel in parcels if parcel.deadline > now]
        fates = dict.fromkeys(parcels, Fate.UNKNOWN)
        try:
            if wanted:
                within_s = max(parcel.deadline for parcel in wanted) - now
                messages = [parcel.message for parcel in wanted]
                found = await self._bridge.call(outlet.publish_aio, messages, within_s)
                fates |= dict(zip(wanted, found, strict=True))
        finally:
            for parcel, fate in fates.items():
                _settle(parcel, fate)
        return Fate.UNKNOWN not in [fates[parcel] for parcel in wanted]


def _settle(parcel: Parcel, fate: Fate) -> None:
    PUBLISHED.labels(fate.value).inc()
    match fate:
        case Fate.CONFIRMED:
            parcel.receipt.settle(None)
        case Fate.REFUSED:
            parcel.receipt.fail(
                Unavailable(
                    "The tenant's queue in RabbitMQ is full; send the same after the delay.",
                    code="queue_full",
                    retry_after_s=5,
                )
            )
        case Fate.RETURNED:
            log.error("message_returned", advice="no queue is bound: run atalaia broker setup")
            parcel.receipt.fail(Unavailable(AWAY))
        case Fate.UNKNOWN:
            parcel.receipt.fail(Unavailable(SLOW))


@asynccontextmanager
async def open_publisher(bridge: Bridge, url: str, limits: AmqpLimits) -> AsyncIterator[Publisher]:
    """Publishing while inside. The broker need not be there yet: `health` says."""
    publisher = Publisher(bridge, url, limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        yield publisher
        nursery.cancel_scope.cancel()
