"""Queues for later: one for each tenant that sends through the broker more than its quota.

What a tenant may not send yet would hold up the others of its queue; it waits in a queue of the
tenant's own instead, in order, published there and confirmed before it is acknowledged. The queue
`atalaia.later` has a message for each such queue, so that the next consumer finds them all before
it takes anything. Runs on the asyncio thread.
"""

import asyncio
from typing import Any
from uuid import UUID

import attrs
import structlog
from aio_pika import Message as AmqpMessage
from aio_pika.abc import AbstractConnection, DeliveryMode
from aio_pika.exceptions import ChannelNotFoundEntity

from atalaia.amqp.link import DRIVER_ERRORS, close_aio, connect_aio, translate
from atalaia.amqp.messages import parse_address
from atalaia.amqp.outlet import Outlet
from atalaia.amqp.topology import DEAD, DELIVERY_LIMIT, LATER, MIB

log = structlog.get_logger()

BYTES = 256 * MIB  # of a tenant's queue
ANSWER_S = 2.0
LOOK_AGAIN_S = 0.3
GIVEN_UP_AFTER_S = 20.0  # a connection that leads nowhere is closed by the broker before
SETTLE_S = 2.0  # RabbitMQ 3.10 may lose a quorum queue that was declared a second before a kill -9
ARGUMENTS: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-max-length-bytes": BYTES,
    "x-overflow": "reject-publish",
    "x-dead-letter-exchange": DEAD,
    "x-dead-letter-strategy": "at-least-once",
}


def later_name(tenant_id: UUID) -> str:
    return f"{LATER}.{tenant_id}"


@attrs.define(eq=False)
class Later:
    """Made by `open_later_aio`. outlet: whose messages go to their tenants' queues."""

    outlet: Outlet
    _connection: AbstractConnection

    async def find_aio(self, patience_s: float = GIVEN_UP_AFTER_S) -> dict[UUID, int]:
        """Whose queues hold messages, and how many; empty ones are deleted.

        What a lost connection still has of one is waited for, and so is a queue that does not
        answer. Raises BrokerUnavailable, BrokerRefused.
        """
        found: dict[UUID, int] = {}
        deadline = asyncio.get_running_loop().time() + patience_s
        try:
            async with self._connection.channel() as channel:
                index = await channel.declare_queue(LATER, passive=True)
                # What is not acknowledged goes back when the channel closes.
                while (entry := await index.get(fail=False)) is not None:
                    tenant_id = UUID(entry.body.decode())
                    if tenant_id in found:
                        await entry.ack()
                        continue
                    count = await self._settled_aio(tenant_id, deadline)
                    if count:
                        found[tenant_id] = count
                    elif count is not None:
                        await entry.ack()
        except DRIVER_ERRORS as error:
            translate(error)
        return found

    async def _settled_aio(self, tenant_id: UUID, deadline: float) -> int | None:
        """How many wait there; at least one where others keep what they have of it. None: it did
        not answer until the deadline."""
        while True:
            state = await self._state_aio(tenant_id)
            if state is not None and (state[0] or not state[1]):
                return state[0]
            if asyncio.get_running_loop().time() >= deadline:
                name, silent = later_name(tenant_id), state is None
                log.error("queue_for_later_in_doubt", queue=name, advice=_IN_DOUBT[silent])
                return None if silent else 1
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _state_aio(self, tenant_id: UUID) -> tuple[int, int] | None:
        """(messages that wait, consumers); none of either: it is gone. None: no answer.

        Of a quorum queue whoever has not acknowledged something counts as a consumer, even one
        that was cancelled or has asked for a single message; both numbers are of one moment.
        """
        async with self._connection.channel() as channel:
            try:
                queue = await channel.declare_queue(
                    later_name(tenant_id), passive=True, timeout=ANSWER_S
                )
            except ChannelNotFoundEntity:
                return 0, 0
            except TimeoutError:
                return None
            said = queue.declaration_result
            state = said.message_count or 0, said.consumer_count or 0
            if state == (0, 0):
                await queue.delete(if_unused=False, if_empty=False)
            return state

    async def make_aio(self, tenant_id: UUID) -> None:
        """A queue for a tenant, which on return is there for good.

        Raises BrokerUnavailable, BrokerRefused.
        """
        try:
            async with self._connection.channel() as channel:
                entry = AmqpMessage(str(tenant_id).encode(), delivery_mode=DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(entry, LATER)
                name = later_name(tenant_id)
                await channel.declare_queue(
                    name, durable=True, arguments=ARGUMENTS, timeout=ANSWER_S
                )
                await asyncio.sleep(SETTLE_S)
        except DRIVER_ERRORS as error:
            translate(error)

    async def close_aio(self) -> None:
        await close_aio(self._connection)


async def open_later_aio(url: str) -> Later:
    """Raises BrokerUnavailable, BrokerRefused."""
    connection = await connect_aio(url, "later")
    later: Later | None = None
    try:
        channel = await connection.channel(on_return_raises=True)
        outlet = Outlet(connection, channel, channel.default_exchange, _queue_of)
        later = Later(outlet, connection)
    except DRIVER_ERRORS as error:
        translate(error)
    finally:
        if later is None:
            await close_aio(connection)
    return later


def _queue_of(address: str) -> str:
    return later_name(parse_address(address).tenant_id)


_IN_DOUBT = {
    True: "it does not answer, and is passed over: delete it if the broker has lost it",
    False: "another connection keeps messages of it: close that",
}
