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
from aio_pika import Message as AmqpMessage
from aio_pika.abc import AbstractConnection, DeliveryMode
from aio_pika.exceptions import ChannelNotFoundEntity

from atalaia.amqp.link import DRIVER_ERRORS, close_aio, connect_aio, translate
from atalaia.amqp.messages import parse_address
from atalaia.amqp.outlet import Outlet
from atalaia.amqp.topology import DEAD, DELIVERY_LIMIT, LATER, MIB

BYTES = 256 * MIB  # of a tenant's queue
ANSWER_S = 2.0
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

    async def find_aio(self) -> dict[UUID, int]:
        """Whose queues hold messages, and how many; empty ones are deleted.

        Raises BrokerUnavailable, BrokerRefused.
        """
        found: dict[UUID, int] = {}
        try:
            async with self._connection.channel() as channel:
                index = await channel.declare_queue(LATER, passive=True)
                # What is not acknowledged goes back when the channel closes.
                while (entry := await index.get(fail=False)) is not None:
                    tenant_id = UUID(entry.body.decode())
                    count = 0 if tenant_id in found else await self._count_aio(tenant_id)
                    if count:
                        found[tenant_id] = count
                    elif count is not None:
                        await entry.ack()
        except DRIVER_ERRORS as error:
            translate(error)
        return found

    async def _count_aio(self, tenant_id: UUID) -> int | None:
        """None: that queue does not answer; nothing was put into one that is so new."""
        async with self._connection.channel() as channel:
            try:
                queue = await channel.declare_queue(
                    later_name(tenant_id), passive=True, timeout=ANSWER_S
                )
            except ChannelNotFoundEntity:
                return 0
            except TimeoutError:
                return None
            count = queue.declaration_result.message_count or 0
            if not count:
                await queue.delete(if_unused=False, if_empty=False)
            return count

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
