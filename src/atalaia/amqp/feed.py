"""The shards' deliveries on the asyncio thread: gathered here, handed over in batches.

One channel consumes every shard; a shard has one active consumer, so an engine that is not
active simply waits. What is taken is acknowledged later, or comes again when the channel ends.
A tenant's queue for later is consumed when asked for, over a channel of its own.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from uuid import UUID

import attrs
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from atalaia.amqp.fetched import Basket, Fetched
from atalaia.amqp.later import later_name
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.link import (
    DRIVER_ERRORS,
    BrokerRefused,
    BrokerUnavailable,
    close_aio,
    connect_aio,
    translate,
)
from atalaia.amqp.messages import Delivery
from atalaia.amqp.topology import MQTT_QUEUE, NO_QUEUES, TURN, find_shards_aio, shard_name
from atalaia.amqp.window import Window
from atalaia.amqp.wiring import incoming

RETURN_S = 0.3  # what a connection had goes back to each queue by itself
FETCH_S = 1.0
LOOK_AGAIN_S = 0.02
HANDS = 512  # channels: RabbitMQ allows 2,047 of a connection


@attrs.define(eq=False)
class Feed:
    """Made by `open_feed_aio`. After the first error only `close_aio` is of use."""

    shards: int
    queue_bytes: int
    _basket: Basket
    _connection: AbstractConnection
    _channel: AbstractChannel
    _waiting: deque[Delivery] = attrs.field(factory=deque)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    _windows: dict[str, Window] = attrs.field(factory=dict)
    _arrived: dict[str, int] = attrs.field(factory=dict)  # at the last look
    _broken: bool = False
    _has_turn: bool = False
    _hands: dict[UUID, Fetched] = attrs.field(factory=dict)
    _last_hand: int = 0
    _taken_by_others: set[str] = attrs.field(factory=set)

    @property
    def held_bytes(self) -> int:
        """Of bodies, over all queues but those for later."""
        return sum(window.held for window in self._windows.values())

    @property
    def fetched_bytes(self) -> int:
        """Of bodies, over all queues for later."""
        return self._basket.held

    async def turn_aio(self) -> None:
        """Wait until no other consumer has its turn, nor anything in hand that it has fetched.

        Queues of one active consumer see to it by themselves; those for later are not consumed, and
        a connection that leads nowhere any more keeps what it has for seconds. Raises
        BrokerUnavailable.
        """
        while not self._has_turn:
            if self._broken:
                raise BrokerUnavailable("the connection or the consumer has ended")
            self._changed.clear()
            await self._changed.wait()
        await asyncio.sleep(RETURN_S)

    async def take_turn_aio(self, message: AbstractIncomingMessage) -> None:
        self._has_turn = True
        self._changed.set()

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

    async def ack_aio(
        self, acks: Sequence[tuple[int, bool]], fetched: Sequence[tuple[int, int]]
    ) -> list[int]:
        """acks: (tag, and all before it) of the shards; fetched: (hand, tag) of the queues for
        later: of what was given back meanwhile nothing is acknowledged, and it comes again.

        Returns the tags of what was let go for want of room and asked for again. Raises
        BrokerUnavailable.
        """
        given_back: list[int] = []
        try:
            for hand in list(self._hands.values()) if fetched else ():
                tags = [tag for number, tag in fetched if number == hand.number]
                if tags:
                    await hand.ack_aio(tags)
            if acks:
                driver = await self._channel.get_underlay_channel()
                for tag, multiple in acks[:-1]:
                    await driver.basic_ack(tag, multiple, wait=False)
                await driver.basic_ack(*acks[-1])  # the last one has left when this returns
            for window in self._windows.values():
                for tag, multiple in acks:
                    window.gone(tag, before_too=multiple)
                given_back += await self._ask_again_aio(window)
        except DRIVER_ERRORS as error:
            translate(error)
        return given_back

    async def _ask_again_aio(self, window: Window) -> list[int]:
        """What goes back, in order; it costs each one of its deliveries."""
        tags, kept = window.again()
        self._hand_over(kept)
        if tags:
            driver = await self._channel.get_underlay_channel()
            for tag in tags:
                await driver.basic_nack(tag, requeue=True, wait=False)
        return tags

    async def fetch_aio(self, tenant_id: UUID, most: int) -> list[Delivery]:
        """The oldest of a tenant's queue for later that are not here yet; none when none comes for
        a while, or while there is no room.

        Consumed and not asked for one by one: a quorum queue puts those back in any order. Raises
        BrokerUnavailable; BrokerRefused, also when the queue is gone.
        """
        if self._basket.full:
            return []
        hand = self._hands.get(tenant_id)
        try:
            if hand is not None and hand.stuck:
                if not await self.give_back_aio(tenant_id, ()):
                    return []
                most, hand = hand.fitted, None
            if hand is None:
                hand = await self._reach_aio(tenant_id, most)
            if hand is None:
                return []
            with suppress(TimeoutError):
                async with asyncio.timeout(FETCH_S):
                    await hand.some.wait()
        except DRIVER_ERRORS as error:
            translate(error)
        return hand.take()

    async def _reach_aio(self, tenant_id: UUID, most: int) -> Fetched | None:
        """Begin to consume a queue for later, when all of it has come back from who had it before;
        None: not now."""
        if len(self._hands) >= HANDS:
            idle = next((tenant for tenant, hand in self._hands.items() if hand.idle), None)
            if idle is None:
                return None
            await self.give_back_aio(idle, ())
        name = later_name(tenant_id)
        channel = await self._connection.channel(publisher_confirms=False)
        if not await _is_left_aio(channel, name):
            self._taken_by_others.add(name)
            await channel.close()
            return None
        self._taken_by_others.discard(name)
        self._last_hand += 1
        hand = self._hands[tenant_id] = Fetched(self._last_hand, channel, self._basket)
        channel.close_callbacks.add(self.end)
        driver = await channel.get_underlay_channel()
        driver.on_consumer_cancel_callbacks.add(self.end)  # the queue was deleted
        await channel.set_qos(prefetch_count=most)
        await (await channel.get_queue(name, ensure=False)).consume(hand.receive_aio)
        return hand

    async def give_back_aio(self, tenant_id: UUID, tags: Collection[int]) -> bool:
        """What was fetched to its queue, and fetch no more until asked again.

        tags: of what the caller has; False, and nothing is done, while anything else is open: a
        dead letter of it, say, is not confirmed yet. Raises BrokerUnavailable.
        """
        hand = self._hands[tenant_id]
        if not hand.is_all(tags):
            return False
        del self._hands[tenant_id]
        hand.channel.close_callbacks.discard(self.end)
        try:
            await hand.close_aio()
        except DRIVER_ERRORS as error:
            translate(error)
        return True

    async def starved_aio(self) -> list[str]:
        """Queues in which messages wait, of which nothing is with us and nothing has come since the
        last look, and those for later that others consume. Raises BrokerUnavailable.
        """
        starved = list(self._taken_by_others)
        try:
            async with self._connection.channel() as channel:
                for name, window in self._windows.items():
                    queue = await channel.declare_queue(name, passive=True)
                    waits = bool(queue.declaration_result.message_count)
                    if waits and window.idle and self._arrived.get(name) == window.arrived:
                        starved.append(name)
                    self._arrived[name] = window.arrived
        except DRIVER_ERRORS as error:
            translate(error)
        return starved

    async def close_aio(self) -> None:
        """What was not acknowledged goes back to its queue, in its place."""
        await close_aio(self._connection)

    async def consume_aio(self, name: str) -> None:
        """Take what comes of a queue, bounded in bytes."""
        window = self._windows[name] = Window(self.queue_bytes)

        async def receive_aio(message: AbstractIncomingMessage) -> None:
            self._hand_over(window.arrive(incoming(message)))

        queue = await self._channel.get_queue(name)
        await queue.consume(receive_aio)

    def _hand_over(self, deliveries: Sequence[Delivery]) -> None:
        self._waiting.extend(deliveries)
        if deliveries:
            self._changed.set()

    def end(self, *_: object) -> None:
        self._broken = True
        self._changed.set()


async def _is_left_aio(channel: AbstractChannel, name: str) -> bool:
    """Whether nobody has anything of a queue, which after a channel's end takes a moment."""
    with suppress(TimeoutError):
        async with asyncio.timeout(FETCH_S):
            while True:
                queue = await channel.declare_queue(name, passive=True)
                if not queue.declaration_result.consumer_count:
                    return True
                await asyncio.sleep(LOOK_AGAIN_S)
    return False


async def open_feed_aio(url: str, limits: AmqpLimits) -> Feed:
    """Consume every shard and the queue of MQTT.

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
        made = Feed(shards, limits.queue_bytes, Basket(limits.fetch_bytes), connection, channel)
        connection.close_callbacks.add(made.end)
        channel.close_callbacks.add(made.end)
        driver.on_consumer_cancel_callbacks.add(made.end)  # a queue was deleted
        await channel.set_qos(prefetch_count=limits.prefetch)  # of each consumer from here on
        for number in range(shards):
            await made.consume_aio(shard_name(number))
        await channel.set_qos(prefetch_count=limits.mqtt_prefetch)
        await made.consume_aio(MQTT_QUEUE)
        apart = await connection.channel(publisher_confirms=False)  # its tag is never acknowledged
        await (await apart.get_queue(TURN)).consume(made.take_turn_aio)
        feed = made
    except DRIVER_ERRORS as error:
        translate(error)
    finally:
        if feed is None:
            await close_aio(connection)
    return feed
