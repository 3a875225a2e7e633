"""What RabbitMQ has of a tenant that is erased goes, and nothing of another."""

from uuid import UUID, uuid4

import aio_pika
import pytest
import trio
from aio_pika.abc import DeliveryMode

from atalaia.amqp.forget import QueueForgotten, drop_queue_aio
from atalaia.amqp.later import later_name, open_later_aio
from atalaia.amqp.mqtt import drop_mqtt_users
from atalaia.amqp.tenants import Tenants
from atalaia.model.erasure import ErasureView
from atalaia.model.ids import Micros, TenantNo
from tests.amqp.stack import Road
from tests.amqp.test_mqtt import Device, send, user_for
from tests.stack import START_MS, make_tenant

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


async def test_a_tenant_that_is_gone_is_unknown_after_a_while(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for ever as it was first seen."""
    tenants, tenant_id = Tenants(road.stack.queries), UUID(await road.tenant_id())
    assert await tenants.find(tenant_id) == await road.stack.tenant_no()
    monkeypatch.setattr("atalaia.amqp.tenants.KEEP_KNOWN_S", 0.0)
    tenants._known.clear()
    assert await tenants.find(tenant_id) == await road.stack.tenant_no()
    await road.stack.sql("UPDATE tenants SET tenant_uuid = gen_random_uuid()")
    assert await tenants.find(tenant_id) is None
