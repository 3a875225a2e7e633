"""Queues for later: found again with everything that is in them, wherever it is just now."""

import asyncio
from uuid import UUID, uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, DeliveryMode

from atalaia.amqp.later import later_name, open_later_aio
from tests.amqp.stack import Road

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


async def _hold_aio(url: str, tenant_id: UUID, how: str) -> AbstractConnection:
    """A connection that has three messages of the tenant's, and acknowledges none."""
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    name, held, enough = later_name(tenant_id), list[object](), asyncio.Event()

    async def hold_aio(message: AbstractIncomingMessage) -> None:
        held.append(message)
        if len(held) == 3:
            enough.set()

    for n in range(3):
        message = aio_pika.Message(b"%d" % n, delivery_mode=DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, name)
    queue = await channel.declare_queue(name, passive=True)
    if how == "asked for":
        for _ in range(3):
            await queue.get()
        return connection
    consumer = await queue.consume(hold_aio)
    await asyncio.wait_for(enough.wait(), 10)
    if how == "cancelled":
        await queue.cancel(consumer)
    return connection


async def _close_aio(connection: AbstractConnection) -> None:
    await connection.close()


@pytest.mark.parametrize("how", ["consumed", "cancelled", "asked for"])
async def test_what_another_connection_has_in_hand_is_not_deleted(road: Road, how: str) -> None:
    """It goes back when that connection ends: until then the queue looks empty and is not."""
    bridge, tenant_id = road.stack.bridge, uuid4()
    later = await bridge.call(open_later_aio, road.amqp_url)
    await bridge.call(later.make_aio, tenant_id)
    other = await bridge.call(_hold_aio, road.amqp_url, tenant_id, how)
    assert await bridge.call(later.find_aio, 0.5) == {tenant_id: 1}
    await bridge.call(_close_aio, other)
    assert await bridge.call(later.find_aio) == {tenant_id: 3}
    await bridge.call(later.close_aio)


async def test_what_is_in_doubt_is_waited_for(road: Road) -> None:
    """A connection that leads nowhere any more is closed by the broker soon; then all is there."""
    bridge, tenant_id = road.stack.bridge, uuid4()
    later = await bridge.call(open_later_aio, road.amqp_url)
    await bridge.call(later.make_aio, tenant_id)
    other = await bridge.call(_hold_aio, road.amqp_url, tenant_id, "consumed")

    async def find_aio() -> dict[UUID, int]:
        finding = asyncio.create_task(later.find_aio())
        await asyncio.sleep(1)
        assert not finding.done()
        await other.close()
        return await finding

    assert await bridge.call(find_aio) == {tenant_id: 3}
    await bridge.call(later.close_aio)
