"""The shards' deliveries on the asyncio thread: gathered here, handed over in batches.

One channel consumes every shard; a shard has one active consumer, so an engine that is not
active simply waits. What is taken is acknowledged later, or comes again when the channel ends.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import attrs
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from atalaia.amqp.link import (
    DRIVER_ERRORS,
    BrokerRefused,
    BrokerUnavailable,
    close_aio,
    connect_aio,
    translate,
)
from atalaia.amqp.messages import Delivery
from atalaia.amqp.topology import MQTT_QUEUE, NO_QUEUES, find_shards_aio, shard_name
from atalaia.amqp.wiring import incoming


@attrs.define(eq=False)
class Feed:
    """Made by `open_feed_aio`. After the first error only `close_aio` is of use."""

    shards: int
    _connection: AbstractConnection
    _channel: AbstractChannel
    _waiting: deque[Delivery] = attrs.field(factory=deque)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _broken: bool = False

    async def take_aio(self) -> list[Delivery]:
        """Every delivery that waits, at least one. Raises BrokerUnavailable at its end."""
        while not self._waiting:
            if self._broken:
                raise BrokerUnavailable("the connection or the consumer has ended")
            self._changed.clear()
            await self._changed.wait()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    async def ack_aio(self, acks: Sequence[tuple[int, bool]]) -> None:
        """(tag, and all before it), at least one. Raises BrokerUnavailable."""
        try:
            driver = await self._channel.get_underlay_channel()
            for tag, multiple in acks[:-1]:
                await driver.basic_ack(tag, multiple, wait=False)
            await driver.basic_ack(*acks[-1])  # the last one has left when this returns
        except DRIVER_ERRORS as error:
            translate(error)

    async def close_aio(self) -> None:
        """What was not acknowledged goes back to its queue, in its place."""
        await close_aio(self._connection)

    async def receive_aio(self, message: AbstractIncomingMessage) -> None:
        self._waiting.append(incoming(message))
        self._changed.set()

    def end(self, *_: object) -> None:
        self._broken = True
        self._changed.set()


async def open_feed_aio(url: str, prefetch: int, mqtt_prefetch: int) -> Feed:
    """Consume every shard, `prefetch` deliveries of each at a time, and the queue of MQTT.

    Raises BrokerUnavailable; BrokerRefused, also when there is no shard (yet).
    """
    connection = await connect_aio(url, "consumer")
    feed: Feed | None = None
    try:
        shards = await find_shards_aio(connection)
        if not shards:
            raise BrokerRefused(NO_QUEUES)
        channel = await connection.channel(publisher_confirms=False)
        driver = await channel.get_underlay_channel()
        made = Feed(shards, connection, channel)
        connection.close_callbacks.add(made.end)
        channel.close_callbacks.add(made.end)
        driver.on_consumer_cancel_callbacks.add(made.end)  # a queue was deleted
        await channel.set_qos(prefetch_count=prefetch)  # of each consumer from here on
        for number in range(shards):
            queue = await channel.get_queue(shard_name(number), ensure=False)
            await queue.consume(made.receive_aio)
        await channel.set_qos(prefetch_count=mqtt_prefetch)
        devices = await channel.get_queue(MQTT_QUEUE)
        await devices.consume(made.receive_aio)
        feed = made
    except DRIVER_ERRORS as error:
        translate(error)
    finally:
        if feed is None:
            await close_aio(connection)
    return feed
