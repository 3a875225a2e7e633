"""Publishing on the asyncio thread: mandatory, persistent, confirmed.

RabbitMQ confirms what it could not route, after returning it: the channel raises for returns.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

import attrs
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import DeliveryError, PublishError

from atalaia.amqp.link import DRIVER_ERRORS, BrokerRefused, close_aio, connect_aio, translate
from atalaia.amqp.messages import Message
from atalaia.amqp.topology import NO_QUEUES, READINGS, find_shards_aio, queue_key
from atalaia.amqp.wiring import outgoing

BLOCKED_AFTER_S = 0.02


class Fate(Enum):
    """What became of a message that was published."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"  # the queue is full
    RETURNED = "returned"  # no queue is bound
    UNKNOWN = "unknown"  # no answer in time, or the connection went: it may be there


@attrs.define(eq=False)
class Outlet:
    """One connection and channel to one exchange. Made by `open_outlet_aio`."""

    _connection: AbstractConnection
    _channel: AbstractChannel
    _exchange: AbstractExchange
    _key: Callable[[str], str]

    async def publish_aio(self, messages: Sequence[Message], within_s: float) -> list[Fate]:
        """The fate of each, in order. They are sent in order too. Never raises."""
        return list(await asyncio.gather(*(self._one_aio(m, within_s) for m in messages)))

    async def _one_aio(self, message: Message, within_s: float) -> Fate:
        try:
            await self._exchange.publish(
                outgoing(message), self._key(message.routing_key), mandatory=True, timeout=within_s
            )
        except PublishError:
            return Fate.RETURNED
        except DeliveryError:
            return Fate.REFUSED
        except DRIVER_ERRORS:
            return Fate.UNKNOWN
        except asyncio.CancelledError:
            # The driver ends what waits on a broken connection as cancelled, too.
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return Fate.UNKNOWN
        return Fate.CONFIRMED

    @property
    def lost(self) -> bool:
        return self._connection.is_closed or self._channel.is_closed

    async def blocked_aio(self) -> bool:
        """Whether the broker takes nothing from publishers now: its memory or disk is short."""
        transport = self._connection.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(BLOCKED_AFTER_S):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    async def close_aio(self) -> None:
        await close_aio(self._connection)


async def open_outlet_aio(url: str, exchange: str, name: str) -> Outlet:
    """To the readings or to the dead letters.

    Raises BrokerUnavailable, BrokerRefused, also when there is no such exchange.
    """
    connection = await connect_aio(url, name)
    outlet: Outlet | None = None
    try:
        channel = await connection.channel(on_return_raises=True)
        key: Callable[[str], str] = str
        if exchange == READINGS:
            shards = await find_shards_aio(connection)
            if not shards:
                raise BrokerRefused(NO_QUEUES)
            key = partial(queue_key, shards=shards)
        outlet = Outlet(connection, channel, await channel.get_exchange(exchange), key)
    except DRIVER_ERRORS as error:
        translate(error)
    finally:
        if outlet is None:
            await close_aio(connection)
    return outlet
