"""What a device writes into its headers (MQTT 5 calls them user properties) about itself, and what
the broker says of a message that it gave up on."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode
from pamqp import encode

from atalaia.amqp.dead_letters import Letter
from atalaia.amqp.link import connection_aio
from atalaia.amqp.topology import DELIVERY_LIMIT, MQTT_EXCHANGE, MQTT_QUEUE, READINGS
from tests.amqp.stack import Road, until
from tests.stack import START_MS

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]

NO_TEXT = b"\xff\xfe".decode(errors="surrogateescape")
FORGED = {
    "x-atalaia-id": "one for all", "x-atalaia-first-seen": "1999-01-01T00:00:00.000000Z",
    "x-atalaia-reason": "my own", "x-atalaia-attempts": 7, "x-atalaia-paid": True,
    "x-atalaia-address": "01990000-0000-7000-8000-00000000dead",
}  # fmt: skip


async def send_aio(url: str, key: str, bodies: list[bytes], headers: dict[str, Any]) -> None:
    """To the exchange of MQTT's plugin, as it does."""
    async with connection_aio(url, "test") as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(MQTT_EXCHANGE)
        for body in bodies:
            message = aio_pika.Message(body, headers=headers, delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(message, key)


async def wear_out_aio(url: str) -> None:
    """Handed back until the broker gives it up."""
    async with connection_aio(url, "test") as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(MQTT_QUEUE, passive=True)
        tries, enough = list[object](), asyncio.Event()

        async def refuse_aio(message: AbstractIncomingMessage) -> None:
            tries.append(message)
            await message.nack(requeue=True)
            if len(tries) > DELIVERY_LIMIT:
                enough.set()

        await queue.consume(refuse_aio)
        await asyncio.wait_for(enough.wait(), 20)


async def letters(road: Road, count: int) -> list[Letter]:
    async def so_many() -> bool:
        return len(await road.letters()) == count

    await until(so_many)
    return await road.letters()


async def test_a_devices_word_for_itself_counts_nothing(road: Road) -> None:
    """Neither for which message it is, nor for since when, nor for whose."""
    tenant = await road.tenant_id()
    key = f"v1.{tenant}.s.readings"
    await road.stack.bridge.call(send_aio, road.amqp_url, key, [b"{one", b"{two"], FORGED)
    async with road.consumer():
        found = await letters(road, 2)
    assert len({letter.message.message_id for letter in found} | {"one for all"}) == 3
    for letter in found:
        assert (letter.tenant, letter.reason, letter.attempts) == (tenant, "bad_json", 1)
        assert letter.first_seen > "2020"


async def test_what_the_broker_gave_up_on_says_how_often_it_was_tried(road: Road) -> None:
    """By what the broker writes on it, and not by what its device did."""
    tenant = await road.tenant_id()
    body = json.dumps({"metric": "t", "ts": START_MS, "value": 1}).encode()
    key = f"v1.{tenant}.s.readings"
    await road.stack.bridge.call(send_aio, road.amqp_url, key, [body], FORGED)
    await road.stack.bridge.call(wear_out_aio, road.amqp_url)
    (letter,) = await letters(road, 1)
    assert (letter.tenant, letter.reason, letter.stage) == (tenant, "delivery_limit", "deliver")
    assert letter.attempts == DELIVERY_LIMIT + 1
    assert letter.first_seen > "2020"
    assert letter.message.message_id != "one for all"
    assert MQTT_QUEUE in letter.detail


async def test_headers_of_others_hold_up_no_letter(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in them: what cannot be sent on is not, and what looks like the broker's word of
    a letter is read as far as it is one."""
    tenant = await road.tenant_id()
    key = f"v1.{tenant}.s.readings"
    odd: list[dict[str, Any]] = [
        {"x-death": [{"count": "abc", "reason": "delivery_limit", "time": "yesterday"}]},
        {"x-atalaia-address": "a" * 300, "x-atalaia-detail": "d" * 20_000},
        {
            "x-atalaia-sensor-tag": ["a", {"b": None}],
            "when": datetime.now(UTC),
            "n": Decimal("1.5"),
        },
        {"x" * 200: "y", "x-atalaia-first-seen": bytearray(b"\xff\x00")},
        {"place": NO_TEXT, "x-atalaia-sensor-tag": NO_TEXT},
    ]
    with monkeypatch.context() as as_others_write:
        as_others_write.setattr(encode, "long_string", any_bytes)
        for headers in odd:
            await road.stack.bridge.call(send_aio, road.amqp_url, key, [b"{"], headers)
            await road.stack.bridge.call(send_to_shard_aio, road.amqp_url, [b"{"], headers)
    async with road.consumer():
        found = await letters(road, 2 * len(odd))
        assert {letter.reason for letter in found} <= {
            "bad_json",
            "bad_routing_key",
            "delivery_limit",
        }
        assert await road.waiting() == 0


def any_bytes(value: str) -> bytes:
    """A long string of AMQP, which pamqp writes of UTF-8 alone and reads as bytes otherwise."""
    written = value.encode(errors="surrogateescape")
    return len(written).to_bytes(4, "big") + written


async def send_to_shard_aio(url: str, bodies: list[bytes], headers: dict[str, Any]) -> None:
    """As a publisher that may write there and is none of ours."""
    async with connection_aio(url, "test") as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(READINGS)
        for body in bodies:
            message = aio_pika.Message(body, headers=headers, delivery_mode=DeliveryMode.PERSISTENT)
            await exchange.publish(message, "00")
