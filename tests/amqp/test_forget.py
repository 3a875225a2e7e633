"""What RabbitMQ has of a tenant that is erased goes, and nothing of another."""

import json
from itertools import count
from uuid import UUID, uuid4

import aio_pika
import pytest
import trio
from aio_pika.abc import DeliveryMode

from atalaia.amqp.forget import QueueForgotten, drop_queue_aio
from atalaia.amqp.later import later_name, open_later_aio
from atalaia.amqp.mqtt import drop_mqtt_users
from atalaia.amqp.tenants import Tenants
from atalaia.amqp.topology import MIB, Topology
from atalaia.model.audit import THE_SERVICE
from atalaia.model.erasure import ErasureView
from atalaia.model.ids import Micros, TenantNo
from tests.amqp.stack import Road, plain, until
from tests.amqp.test_mqtt import Device, send, user_for
from tests.amqp.test_quotas import of
from tests.stack import START_MS, make_tenant, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


async def _put_aio(url: str, tenant_id: UUID) -> None:
    connection = await aio_pika.connect(url)
    channel = await connection.channel()
    message = aio_pika.Message(b"x", delivery_mode=DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, later_name(tenant_id))
    await connection.close()


async def test_the_queue_for_later_goes(road: Road) -> None:
    """With what is in it; again changes nothing, and the other's stays."""
    bridge, gone, other = road.stack.bridge, uuid4(), uuid4()
    later = await bridge.call(open_later_aio, road.amqp_url)
    for tenant_id in (gone, other):
        await bridge.call(later.make_aio, tenant_id)
        await bridge.call(_put_aio, road.amqp_url, tenant_id)
    view = ErasureView(TenantNo(9), gone, Micros(0), None, {})
    queue = QueueForgotten(bridge, road.amqp_url)
    for _ in range(2):
        await queue.forget(view)
    assert await bridge.call(later.find_aio) == {other: 1}
    assert await bridge.call(drop_queue_aio, road.amqp_url, gone) == 0
    await bridge.call(later.close_aio)
    await QueueForgotten(bridge, None).forget(view)
    await QueueForgotten(bridge, "amqp://nobody@127.0.0.1:1/").forget(view)


async def test_devices_of_an_erased_tenant_publish_no_more(road: Road) -> None:
    """Those that are connected are thrown out, and nobody gets in with the old password."""
    tenant = await road.tenant_id()
    key = await make_tenant(road.stack.bridge, road.stack.database_url, "other")
    other = (await road.stack.client.get("/v1/me", headers={"x-api-key": key})).json()["tenant_id"]
    mine, theirs = await user_for(road, "mine", tenant), await user_for(road, "theirs", other)
    payload = {"metric": "t", "ts": START_MS, "value": 1}

    def drop() -> tuple[list[str], bool]:
        device = Device(road, mine)
        try:
            names = drop_mqtt_users(road.amqp_url, road.broker.api_url, UUID(tenant))
            return names, device.refused.wait(20)
        finally:
            device.close()

    names, thrown_out = await trio.to_thread.run_sync(drop)
    assert (names, thrown_out) == (["mine"], True)
    with pytest.raises(RuntimeError, match="not currently connected"):
        await send(road, mine, f"v1/{tenant}/s/readings", payload)
    assert await send(road, theirs, f"v1/{other}/s/readings", payload) == [True]
    again = await trio.to_thread.run_sync(
        drop_mqtt_users, road.amqp_url, road.broker.api_url, UUID(tenant)
    )
    assert again == []


async def test_what_comes_of_a_tenant_that_is_erased_is_thrown_away(road: Road) -> None:
    """Whatever was answered: to a consumer that knew the tenant and to one that did not, while it
    is erased and after. Others of its queue are stored, and nothing of it is a letter.
    """
    stack, people, times = road.stack, road.stack.sessions.people, count(START_MS)
    with road.broker.vhost() as url:
        narrow = Road(stack, url, road.broker)
        await narrow.setup(Topology(shards=1, shard_bytes=8 * MIB, dead_bytes=8 * MIB))
        gone = await narrow.tenant_id(await make_tenant(stack.bridge, stack.database_url, "gone"))
        other = await narrow.tenant_id()

        async def send_both(stored: int) -> None:
            """40 of the one and one of the other, which then has so many."""
            bodies = [json.dumps(row(next(times), n)).encode() for n in range(41)]
            await narrow.publish(
                *(plain(gone, body, **{"x-atalaia-paid": n < 20}) for n, body in enumerate(bodies)),
                plain(other, bodies[0]),
            )

            async def settled() -> bool:
                return await of(narrow, other) == stored and await narrow.waiting() == 0

            await until(settled)

        async with narrow.consumer():
            await send_both(1)
            await stack.sql("UPDATE tenants SET suspended_at = now() WHERE name = 'gone'")
            assert await people.begin_erasure(UUID(gone), "gone", THE_SERVICE) == "began"
            had = await of(narrow, gone)
            await send_both(2)
        assert await of(narrow, gone) == had
        async with narrow.consumer():
            await send_both(3)
            while not await people.erase_some(UUID(gone)):
                pass
            await send_both(4)
        async with narrow.consumer():
            await send_both(5)
        assert await narrow.stored() == 5
        assert await narrow.waiting() == 0
        assert await narrow.letters() == []
    assert (await stack.queries.tenant_quota(TenantNo(99))).suspended


async def test_a_tenant_that_is_gone_is_unknown_after_a_while(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for ever as it was first seen."""
    tenants = Tenants(road.stack.queries, road.stack.sessions.people)
    tenant_id = UUID(await road.tenant_id())
    assert await tenants.find(tenant_id) == await road.stack.tenant_no()
    monkeypatch.setattr("atalaia.amqp.tenants.KEEP_KNOWN_S", 0.0)
    tenants._known.clear()
    assert await tenants.find(tenant_id) == await road.stack.tenant_no()
    await road.stack.sql("UPDATE tenants SET tenant_uuid = gen_random_uuid()")
    assert await tenants.find(tenant_id) is None
