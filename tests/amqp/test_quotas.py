"""A tenant that sends through the broker more than its quota: delayed, in order, and alone."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import attrs
import pytest
import trio

from atalaia.amqp.consumer import Consumer
from atalaia.amqp.later import later_name
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.topology import MIB, Topology
from tests.amqp.stack import QUICK, Road, plain, until
from tests.amqp.test_faults import late
from tests.stack import START_MS, make_tenant, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]

Limit = Callable[[str, int], Awaitable[None]]


@pytest.fixture
def limit(road: Road) -> Limit:
    """Set a tenant's readings a second."""

    async def set_quota(tenant_id: str, readings: int) -> None:
        await road.stack.sql(
            "UPDATE tenants SET readings_per_s = $1 WHERE tenant_uuid = $2::uuid",
            readings, tenant_id,
        )  # fmt: skip

    return set_quota


@pytest.fixture
async def narrow(road: Road) -> AsyncIterator[Road]:
    """Every tenant in one queue."""
    with road.broker.vhost() as url:
        made = Road(road.stack, url, road.broker)
        await made.setup(Topology(shards=1, shard_bytes=8 * MIB, dead_bytes=8 * MIB))
        yield made


def body(n: int, rows: int = 1) -> bytes:
    return json.dumps([row(START_MS + rows * n + k, n) for k in range(rows)]).encode()


async def of(road: Road, tenant_id: str) -> int:
    (counted,) = await road.stack.sql(
        "SELECT count(*) AS n FROM readings JOIN tenants USING (tenant_id)"
        " WHERE tenant_uuid = $1::uuid", tenant_id,
    )  # fmt: skip
    return int(counted["n"])


async def test_a_flood_through_the_broker_holds_up_nobody_else(narrow: Road, limit: Limit) -> None:
    """In the same queue behind hundreds of its messages others are stored long before they are;
    the flood is stored at its rate, in order, and all of it."""
    noisy = await narrow.tenant_id()
    key = await make_tenant(narrow.stack.bridge, narrow.stack.database_url, "quiet")
    quiet = await narrow.tenant_id(key)
    await limit(noisy, 5)
    await narrow.publish(*(plain(noisy, body(n)) for n in range(300)))
    async with narrow.consumer():
        began = trio.current_time()
        await narrow.publish(*(plain(quiet, body(n)) for n in range(50)))

        async def served() -> bool:
            return await of(narrow, quiet) == 50

        await until(served)
        stored = await of(narrow, noisy)
        assert stored <= 5 * (trio.current_time() - began) + 3
        await limit(noisy, 1_000)
        await narrow.holds(350)
    assert await late(narrow) == 0
    assert await narrow.letters() == []
    assert await narrow.waiting() == 0


async def test_what_was_put_off_is_found_again_and_goes_first(narrow: Road, limit: Limit) -> None:
    """By the next consumer, whatever else has come meanwhile."""
    tenant = await narrow.tenant_id()
    await limit(tenant, 4)
    await narrow.publish(*(plain(tenant, body(n)) for n in range(60)))
    for life in range(3):
        with trio.CancelScope() as killed:
            async with narrow.consumer() as consumer:
                await narrow.until_waiting(0)

                async def put_off(consumer: Consumer = consumer) -> bool:
                    session = consumer._session
                    backlogs = [] if session is None else session._backlogs.values()
                    return any(b.stored and not b.arriving for b in backlogs)

                await until(put_off)
                killed.cancel()
        if life < 2:  # and in the end nothing else comes
            await narrow.publish(*(plain(tenant, body(60 + 10 * life + n)) for n in range(10)))
    assert await narrow.stored() < 80
    await limit(tenant, 1_000)
    async with narrow.consumer():
        await narrow.holds(80)
    assert await late(narrow) == 0
    vhost, name = narrow.amqp_url.rsplit("/", 1)[1], later_name(UUID(tenant))

    async def gone() -> bool:
        queues = await trio.to_thread.run_sync(narrow.broker.api, "GET", f"/api/queues/{vhost}")
        return name not in [queue["name"] for queue in queues.json()]

    async with narrow.consumer():  # finds it empty
        await until(gone)


async def test_a_long_debt_keeps_no_message_in_hand(narrow: Road, limit: Limit) -> None:
    """RabbitMQ closes the channel of whoever keeps one for half an hour: all of them go where they
    wait for themselves, and come in order when the debt is forgiven."""
    tenant = await narrow.tenant_id()
    await limit(tenant, 3)
    limits = AmqpLimits(last_retry_s=0.2, reconnect_s=0.3, put_off_s=2.0)
    messages = [plain(tenant, body(n, rows=100)) for n in range(20)]
    async with narrow.consumer(limits):
        await narrow.publish(*messages)  # half a minute of debt each
        await narrow.until_waiting(0)

        async def put_off() -> bool:
            name = f"/api/queues/{narrow.amqp_url.rsplit('/', 1)[1]}"
            found = await trio.to_thread.run_sync(narrow.broker.api, "GET", name)
            ready = sum(int(queue.get("messages_ready", 0)) for queue in found.json())
            return ready == 19 + 1  # and the index

        await until(put_off)
        assert await narrow.stored() == 100
        await limit(tenant, 1_000_000)
        await narrow.holds(2_000)
    assert await late(narrow) == 0


async def test_what_is_fetched_and_given_back_again_and_again_stays_in_order(
    narrow: Road, limit: Limit
) -> None:
    """Each time one is stored and the others go back, while more arrives behind them."""
    tenant = await narrow.tenant_id()
    await limit(tenant, 50)
    limits = AmqpLimits(last_retry_s=0.2, reconnect_s=0.3, put_off_s=0.05)
    async with narrow.consumer(limits):
        for n in range(40):  # 0.2 seconds of debt each
            await narrow.publish(plain(tenant, body(n, rows=10)))
        await narrow.holds(400)
    assert await late(narrow) == 0
    assert await narrow.letters() == []


async def test_what_the_face_has_counted_is_not_counted_again(road: Road, limit: Limit) -> None:
    """It would never catch up after an outage; over MQTT nobody else counts."""
    tenant = await road.tenant_id()
    await limit(tenant, 10)
    messages = [plain(tenant, body(n), **{"x-atalaia-paid": True}) for n in range(100)]
    await road.publish(*messages)
    async with road.consumer(QUICK):
        began = trio.current_time()
        await road.holds(100)
        assert trio.current_time() - began < 5


async def test_a_suspended_tenants_messages_are_thrown_away(road: Road) -> None:
    """Neither stored nor kept as letters, which would crowd out others'; but for what a face had
    answered before. Another tenant's are stored, and its own again when it is resumed.
    """
    suspended = await road.tenant_id()
    other = await road.tenant_id(await make_tenant(road.stack.bridge, road.stack.database_url))
    switch = "UPDATE tenants SET suspended_at = {} WHERE tenant_uuid = $1::uuid"
    await road.stack.sql(switch.format("now()"), suspended)
    answered = {"x-atalaia-paid": True}
    async with road.consumer():
        await road.publish(*(plain(suspended, body(n)) for n in range(30)))
        await road.publish(plain(suspended, body(30), **answered), plain(other, body(0)))
        await road.until_waiting(0)
        await road.holds(2)
    assert await road.letters() == []
    await road.stack.sql(switch.format("NULL"), suspended)
    async with road.consumer():
        await road.publish(*(plain(suspended, body(n)) for n in range(40, 45)))
        await road.holds(7)


async def test_a_full_queue_for_later_holds_up_nobody(
    narrow: Road, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no room there becomes a dead letter, with its reason; others of the shard go on."""
    monkeypatch.setattr("atalaia.amqp.backlog.ROOM", 100_000)
    noisy = await narrow.tenant_id()
    key = await make_tenant(narrow.stack.bridge, narrow.stack.database_url, "quiet")
    quiet = await narrow.tenant_id(key)
    await limit(noisy, 1)
    async with narrow.consumer():
        await narrow.publish(*(plain(noisy, body(n).ljust(20_000)) for n in range(60)))
        await narrow.publish(*(plain(quiet, body(n)) for n in range(20)))

        async def served() -> bool:
            return await of(narrow, quiet) == 20

        await until(served)

        async def settled() -> bool:
            return await narrow.waiting() == 0 and len(await narrow.letters()) > 40

        await until(settled)
        await limit(noisy, 1_000)

        async def accounted() -> bool:
            return await of(narrow, noisy) + len(await narrow.letters()) == 60

        await until(accounted)
    letters = await narrow.letters()
    assert {(each.reason, each.tenant) for each in letters} == {("queue_for_later_full", noisy)}


async def test_what_is_fetched_is_bounded_over_all_tenants(road: Road, limit: Limit) -> None:
    """Of large messages of several of them, which all are stored, in order."""
    room, count = 4 * MIB, 6
    with road.broker.vhost() as url:
        wide = Road(road.stack, url, road.broker)
        await wide.setup(Topology(shards=1, shard_bytes=64 * MIB))
        bridge, database_url = road.stack.bridge, road.stack.database_url
        tenants = [await wide.tenant_id(await make_tenant(bridge, database_url, f"t{n}"))
                   for n in range(4)]  # fmt: skip
        for tenant in tenants:
            await limit(tenant, 1)
            await wide.publish(*(plain(tenant, body(n).ljust(MIB - 4_096)) for n in range(count)))
        held: list[int] = []

        async def watch(consumer: Consumer) -> None:
            while True:
                if consumer._session is not None:
                    held.append(consumer._session.feed.fetched_bytes)
                await trio.sleep(0.001)

        async with (
            wide.consumer(attrs.evolve(QUICK, fetch_bytes=room)) as consumer,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(watch, consumer)
            await wide.until_waiting(0)
            await trio.sleep(4)  # some of it is fetched, and waits for the quota
            for tenant in tenants:
                await limit(tenant, 1_000)
            await wide.holds(4 * count)
            nursery.cancel_scope.cancel()
        assert 0 < max(held) <= room
        assert await wide.letters() == []
    assert await late(road) == 0
