"""What must exist in RabbitMQ, and making it: declared by us, the same however often.

    atalaia.readings (direct; the key is a shard's number)  → atalaia.readings.00 … (quorum queues)
    an exchange of each shard's name, which leads nowhere: their marks, by which they are counted
    atalaia.readings (mqtt), and amq.topic (v1.<tenant>.<sensor>.readings) → atalaia.readings.mqtt
    atalaia.dead (fanout) → atalaia.dead (a quorum queue), which nothing consumes by itself
    atalaia.later, a message for each queue atalaia.later.<tenant>, which the consumer makes when
    a quota is used up; atalaia.turn, whose message is with the one consumer whose turn it is

Which shard is a tenant's the publisher says, and no hash of the broker's: RabbitMQ makes the ring
of a consistent-hash exchange anew when it starts, in another order each time, and what waits in
one queue would be overtaken through another. A queue has one active consumer, so that a tenant's
messages are taken in order; a full one refuses, so that its publisher is told; what the broker
gives up on is kept by the source until the dead-letter queue has it.
"""

from typing import Any
from zlib import crc32

import attrs
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import ChannelNotFoundEntity

from atalaia.amqp.link import DRIVER_ERRORS, BrokerRefused, connection_aio, translate

READINGS = "atalaia.readings"
DEAD = "atalaia.dead"
LATER = "atalaia.later"
TURN = "atalaia.turn"
MQTT_EXCHANGE = "amq.topic"  # where RabbitMQ's MQTT plugin publishes
MQTT_KEYS = "v1.*.#.readings"
MQTT_QUEUE = f"{READINGS}.mqtt"

NO_QUEUES = "There are no queues in RabbitMQ. Run: atalaia broker setup"

DELIVERY_LIMIT = 50  # a kill -9 of the consumer and an outage of some minutes cost one each
UNLIMITED = 2_147_483_647  # dead letters are looked at as often as somebody wishes
MIB = 1024 * 1024


@attrs.frozen
class Topology:
    """shards: queues that tenants are spread over; more of them later would reorder tenants."""

    shards: int = 16
    shard_bytes: int = 256 * MIB
    dead_bytes: int = 1024 * MIB

    def shard_arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-max-length-bytes": self.shard_bytes,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-strategy": "at-least-once",
        }

    def later_arguments(self) -> dict[str, Any]:
        return {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}

    def turn_arguments(self) -> dict[str, Any]:
        return self.later_arguments() | {"x-single-active-consumer": True, "x-max-length": 1}

    def dead_arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": UNLIMITED,
            "x-max-length-bytes": self.dead_bytes,
            "x-overflow": "reject-publish",
        }


def shard_name(number: int) -> str:
    return f"{READINGS}.{number:02}"


def queue_key(address: str, shards: int) -> str:
    """Under which key of `atalaia.readings` a message is published: one queue for an address."""
    return "mqtt" if address.startswith("v1.") else f"{crc32(address.encode()) % shards:02}"


async def setup_aio(url: str, topology: Topology) -> list[str]:
    """Declare everything; says in one line each what stands there now.

    Raises BrokerRefused, with what to do, where something else stands in the way; what was
    declared until then stays, and the next try goes on from there. Raises BrokerUnavailable.
    """
    async with connection_aio(url, "setup") as connection:
        found = await _marks_aio(connection)
        if found and found != topology.shards:
            raise BrokerRefused(
                f"There are {found} shards already, not {topology.shards}. Another number would "
                "send tenants to other queues, and their readings out of order. Either run this "
                f"with --shards {found}, or stop the publishers, let the engine drain the queues, "
                f"delete the exchanges and queues {READINGS} and {READINGS}.*, and run this again."
            )
        await _queue_aio(connection, LATER, topology.later_arguments())
        await _queue_aio(connection, TURN, topology.turn_arguments())
        readings = await _exchange_aio(connection, READINGS)
        channel = await connection.channel()
        token = Message(b"", delivery_mode=DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(token, TURN)
        dead = await channel.declare_exchange(DEAD, "fanout", durable=True)
        letters = await _queue_aio(connection, DEAD, topology.dead_arguments())
        await letters.bind(dead)
        for number in range(topology.shards):
            name = shard_name(number)
            queue = await _queue_aio(connection, name, topology.shard_arguments())
            await queue.bind(readings, routing_key=f"{number:02}")
        devices = await _queue_aio(connection, MQTT_QUEUE, topology.shard_arguments())
        await devices.bind(readings, routing_key="mqtt")
        await devices.bind(await channel.get_exchange(MQTT_EXCHANGE), routing_key=MQTT_KEYS)
        # The first mark last: whoever counts them from the first finds none, or all.
        for number in range(topology.shards - 1, -1, -1):
            await channel.declare_exchange(shard_name(number), "fanout", durable=True)
        return [
            f"exchange {READINGS}: tenants over {topology.shards} queues"
            + (", which were there" if found else ""),
            f"queues {shard_name(0)} to {shard_name(topology.shards - 1)}: "
            f"{topology.shard_bytes // MIB} MiB each, {DELIVERY_LIMIT} deliveries at most",
            f"exchange {MQTT_EXCHANGE}: {MQTT_KEYS} goes to {MQTT_QUEUE}, as large",
            f"queue {LATER}: who sent more than a quota, and has a queue {LATER}.<tenant>",
            f"queue {TURN}: one message, which the engine that consumes has; leave it there",
            f"queue {DEAD}: dead letters, {topology.dead_bytes // MIB} MiB",
        ]


async def _exchange_aio(connection: AbstractConnection, name: str) -> AbstractExchange:
    channel: AbstractChannel = await connection.channel()
    try:
        return await channel.declare_exchange(name, "direct", durable=True)
    except DRIVER_ERRORS as error:
        if "inequivalent arg" not in str(error):
            raise
        raise BrokerRefused(
            f"The exchange {name} exists with another type: {error}. Stop the publishers, let the "
            f"engine drain the queues, delete {name} and its queues, and run this again."
        ) from error


async def find_shards_aio(connection: AbstractConnection) -> int:
    """How many shards there are, so that nobody has to be told twice; 0: none.

    Their marks are counted and not the queues, of which somebody may delete one: counted wrong,
    tenants would go to other queues. Raises BrokerRefused when one of the queues is missing.
    """
    count, number = await _marks_aio(connection), 0
    try:
        async with connection.channel() as channel:
            for number in range(count):
                await channel.declare_queue(shard_name(number), passive=True)
    except ChannelNotFoundEntity as error:
        raise BrokerRefused(
            f"The queue {shard_name(number)} is missing, and what was in it is lost. "
            f"Run: atalaia broker setup --shards {count}"
        ) from error
    except DRIVER_ERRORS as error:
        translate(error)
    return count


async def _marks_aio(connection: AbstractConnection) -> int:
    count = 0
    try:
        async with connection.channel() as channel:
            while True:
                await channel.declare_exchange(shard_name(count), passive=True)
                count += 1
    except ChannelNotFoundEntity:
        return count
    except DRIVER_ERRORS as error:
        translate(error)


async def _queue_aio(connection: AbstractConnection, name: str, arguments: dict[str, Any]) -> Any:
    """Declared on a channel of its own, which a refusal closes."""
    channel: AbstractChannel = await connection.channel()
    try:
        return await channel.declare_queue(name, durable=True, arguments=arguments)
    except DRIVER_ERRORS as error:
        if "inequivalent arg" not in str(error):
            raise
        raise BrokerRefused(
            f"The queue {name} exists with other arguments: {error}. Run this with the values it "
            "has, or let it drain, delete it (rabbitmqctl delete_queue), and run this again."
        ) from error
