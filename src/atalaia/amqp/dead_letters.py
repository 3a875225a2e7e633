"""Dead letters: looked at, sent again, dropped. Runs on the asyncio thread.

A letter leaves the queue when it is acknowledged, after its replay is confirmed or when it is
dropped; whatever is only looked at goes back when the channel closes. An interrupted replay may
send a letter twice, which stores its readings once.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any

import attrs
from aio_pika.abc import AbstractIncomingMessage

from atalaia.amqp.link import BrokerUnavailable, connection_aio
from atalaia.amqp.messages import (
    ATTEMPTS,
    DETAIL,
    EXC_CLASS,
    FIRST_SEEN,
    REASON,
    STAGE,
    Delivery,
    Message,
    parse_address,
    time_text,
    to_replay,
)
from atalaia.amqp.outlet import Fate, open_outlet_aio
from atalaia.amqp.topology import DEAD, DELIVERY_LIMIT, READINGS
from atalaia.amqp.wiring import incoming
from atalaia.model.errors import Invalid

REPLAY_S = 10.0


@attrs.frozen(eq=False)
class Letter:
    """A dead letter. tenant: the public id, or the routing key that is none."""

    message: Message
    tenant: str
    reason: str
    stage: str
    exc_class: str
    detail: str
    first_seen: str
    attempts: int


@attrs.frozen
class Selection:
    """Which letters are meant; None is every one. Times are RFC 3339 in UTC, both included."""

    reason: str | None = None
    tenant: str | None = None
    since: str | None = None
    until: str | None = None
    message_id: str | None = None

    def holds(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.tenant in (None, letter.tenant)
            and self.message_id in (None, letter.message.message_id)
            and (self.since is None or self.since <= letter.first_seen)
            and (self.until is None or letter.first_seen <= self.until)
        )


async def list_aio(url: str, selection: Selection, limit: int) -> list[Letter]:
    """The first `limit` letters, oldest first. Raises BrokerUnavailable, BrokerRefused."""
    found: list[Letter] = []
    async with _letters_aio(url, selection) as letters:
        async for letter, _ in letters:
            found.append(letter)
            if len(found) == limit:
                break
    return found


async def count_aio(url: str, selection: Selection) -> int:
    """How many letters there are. Raises as `list_aio`."""
    async with _letters_aio(url, selection) as letters:
        return sum([1 async for _ in letters])


async def drop_aio(url: str, selection: Selection) -> int:
    """Delete letters; how many. Raises as `list_aio`."""
    dropped = 0
    async with _letters_aio(url, selection) as letters:
        async for _, message in letters:
            await message.ack()
            dropped += 1
    return dropped


async def replay_aio(url: str, selection: Selection, per_s: float | None) -> int:
    """Send letters to where they came from; how many. per_s: at most so many a second.

    Each is acknowledged after its queue has confirmed it. Raises as `list_aio`, and
    BrokerUnavailable when a queue takes no more: what was not confirmed is still a dead letter.
    """
    replayed = 0
    outlet = await open_outlet_aio(url, READINGS, "dlq replay")
    try:
        async with _letters_aio(url, selection) as letters:
            async for letter, message in letters:
                (fate,) = await outlet.publish_aio([to_replay(letter.message)], REPLAY_S)
                if fate is not Fate.CONFIRMED:
                    raise BrokerUnavailable(
                        f"the queue did not take a letter ({fate.value}) after {replayed} were "
                        "sent; the rest is where it was"
                    )
                await message.ack()
                replayed += 1
                if per_s is not None:
                    await asyncio.sleep(1 / per_s)
    finally:
        await outlet.close_aio()
    return replayed


Visits = AsyncGenerator[tuple[Letter, AbstractIncomingMessage], None]


def _letters_aio(url: str, selection: Selection) -> aclosing[Visits]:
    """Closed in time however the visit ends: an abandoned one would close after its loop."""
    return aclosing(_visit_aio(url, selection))


async def _visit_aio(url: str, selection: Selection) -> Visits:
    """Every letter that is meant and there now, once: later ones are not waited for."""
    async with connection_aio(url, "dlq") as connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(DEAD, passive=True)
        for _ in range(queue.declaration_result.message_count or 0):
            message = await queue.get(fail=False)
            if message is None:
                return
            letter = _letter(message)
            if selection.holds(letter):
                yield letter, message


def _letter(message: AbstractIncomingMessage) -> Letter:
    """Of ours, or of the broker's: one that it gave up on says so in x-death, and nothing of what
    we say of letters can be in it but from a device."""
    deaths = message.headers.get("x-death")
    death = deaths[0] if isinstance(deaths, list) and deaths else None
    if isinstance(death, dict):
        return _given_up(incoming(message), death, message.timestamp)
    delivery = incoming(message, ours=True)
    headers: dict[str, Any] = dict(delivery.message.headers)
    return Letter(
        message=delivery.message,
        tenant=_tenant(delivery.message),
        reason=str(headers.get(REASON, "unknown")),
        stage=str(headers.get(STAGE, "deliver")),
        exc_class=str(headers.get(EXC_CLASS, "")),
        detail=str(headers.get(DETAIL, "")),
        first_seen=str(headers.get(FIRST_SEEN, "")),
        attempts=int(headers.get(ATTEMPTS, 0)),
    )


def _given_up(delivery: Delivery, death: dict[str, Any], sent: datetime | None) -> Letter:
    """When it came nobody knows of a device's, unless the broker stamps what arrives: then it is
    when it was given up. Of earlier lives the header says how often it was tried."""
    headers: dict[str, Any] = dict(delivery.message.headers)
    moment = sent or death.get("time")
    when = time_text(int(moment.timestamp()) * 1_000_000) if isinstance(moment, datetime) else ""
    reason, count = str(death.get("reason", "unknown")), death.get("count")
    deaths = count if isinstance(count, int) else 0  # a device may write such a header, too
    tries = deaths * (DELIVERY_LIMIT + 1) if reason == "delivery_limit" else 0
    return Letter(
        message=delivery.message,
        tenant=_tenant(delivery.message),
        reason=reason,
        stage="deliver",
        exc_class="",
        detail=f"given up by the queue {death.get('queue', '')}",
        first_seen=str(headers.get(FIRST_SEEN, when)),
        attempts=int(headers.get(ATTEMPTS, 0)) + tries,
    )


def _tenant(message: Message) -> str:
    try:
        return str(parse_address(message.routing_key).tenant_id)
    except Invalid:
        return message.routing_key
