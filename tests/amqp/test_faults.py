"""Whatever breaks on the way: nothing that was answered is lost, nothing is stored twice."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from uuid import UUID

import aio_pika
import asyncpg
import attrs
import pytest
import trio
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from atalaia.amqp.consumer import TAKES_NOTHING
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.messages import Delivery
from atalaia.amqp.topology import MIB, READINGS, TURN, Topology, queue_key
from atalaia.amqp.wiring import incoming
from atalaia.engine.limits import EngineLimits
from atalaia.http import auth
from atalaia.ports import StoreUnavailable
from atalaia.security.api_keys import new_key
from tests.amqp.stack import QUICK, SMALL, Road, plain, ready, until
from tests.broker import Node
from tests.stack import START_MS, make_tenant, open_stack, row, wired_stack

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


def body(n: int, sensor: str = "s") -> bytes:
    return json.dumps(row(START_MS + n, n, sensor=sensor)).encode()


async def late(road: Road) -> int:
    return int((await road.stack.sql("SELECT count(*) AS n FROM readings WHERE late"))[0]["n"])


def deliveries(monkeypatch: pytest.MonkeyPatch) -> list[Delivery]:
    """What the consumer takes from here on."""
    seen: list[Delivery] = []

    def noting(message: AbstractIncomingMessage) -> Delivery:
        seen.append(incoming(message))
        return seen[-1]

    monkeypatch.setattr("atalaia.amqp.feed.incoming", noting)
    return seen


class Outage:
    """A store that fails while `down`, or now and then; commits reach the real one otherwise."""

    def __init__(self, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
        self.down, self.share, self.failed = False, 0.0, 0
        self.chance = random.Random(7)
        commit = road.stack.store.commit_group

        async def commit_group(*args: object) -> list[int]:
            if self.down or self.chance.random() < self.share:
                self.failed += 1
                raise StoreUnavailable("down")
            return await commit(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(type(road.stack.store), "commit_group", lambda _, *a: commit_group(*a))


async def test_readings_are_taken_while_the_database_is_away(
    database_url: str, amqp_url: str, broker: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a face of the role `http`, of keys that were good; they are stored when it is back."""
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    async with wired_stack(database_url) as (stack, wire):
        road = Road(stack, amqp_url, broker)
        await road.setup()
        async with road.face() as (face, publisher):
            await ready(publisher)
            assert (await face.post("/v1/readings", json=[row(START_MS, 0)])).status_code == 202
            wire.cut()
            for n in range(1, 4):
                answer = await face.post("/v1/readings", json=[row(START_MS + n, n)])
                assert (answer.status_code, n) == (202, n)
            stranger = {"x-api-key": new_key().text}
            refused = await face.post("/v1/readings", json=[row(START_MS, 9)], headers=stranger)
            assert refused.status_code == 503
            wire.mend()
        async with road.consumer():
            await road.holds(4)


async def test_a_consumer_killed_before_the_commit_gets_its_messages_again(road: Road) -> None:
    """Acknowledged after the commit and never before: a second life stores them, once."""
    tenant = await road.tenant_id()
    await road.publish(plain(tenant, body(0)))
    async with road.consumer():
        await road.holds(1)
    await road.publish(*(plain(tenant, body(n)) for n in range(1, 21)))
    tenant_no = await road.stack.queries.find_tenant(UUID(tenant))
    assert tenant_no is not None

    async def handed_over() -> bool:
        return road.stack.gate.status(tenant_no).unsettled_rows > 0

    async with road.locked():
        with trio.CancelScope() as killed:
            async with road.consumer() as consumer:
                await road.until_waiting(20 - QUICK.prefetch)
                assert consumer.check() == "ok"
                await until(handed_over)
                await trio.sleep(0.3)  # an acknowledgement would be on its way by now
                killed.cancel()
        await road.until_waiting(20)  # all of them went back
    async with road.consumer():
        await road.holds(21)
    assert await road.waiting() == 0
    assert await late(road) == 0
    assert await road.letters() == []


@pytest.fixture
async def impatient(database_url: str, amqp_url: str, broker: Node) -> AsyncIterator[Road]:
    """An engine that gives a commit up at once."""
    async with open_stack(database_url, limits=EngineLimits(commit_retry_s=0.0)) as stack:
        made = Road(stack, amqp_url, broker)
        await made.setup()
        yield made


async def test_a_retry_never_overtakes(impatient: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that fail for good, at random: a tenant's readings stay in order, none is late."""
    road, outage = impatient, Outage(impatient, monkeypatch)
    tenant = await road.tenant_id()
    await road.publish(*(plain(tenant, body(n)) for n in range(200)))
    outage.share = 0.3
    async with road.consumer():
        await road.holds(200)
    assert outage.failed > 5
    assert await late(road) == 0


async def test_an_outage_of_the_store_is_held_and_nothing_goes_back(
    impatient: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message burns an attempt; all are stored when the store answers again."""
    road, outage, seen = impatient, Outage(impatient, monkeypatch), deliveries(monkeypatch)
    tenant = await road.tenant_id()
    outage.down = True
    await road.publish(*(plain(tenant, body(n)) for n in range(40)))
    async with road.consumer() as consumer:

        async def held() -> bool:
            return consumer.holding and outage.failed > 3

        await until(held)
        assert await road.stored() == 0
        assert await road.waiting() == 40 - QUICK.prefetch
        outage.down = False
        await road.holds(40)
    assert await road.waiting() == 0
    assert await late(road) == 0
    assert [delivery.before for delivery in seen] == [0] * 40


async def test_a_long_outage_lets_the_messages_go_and_comes_back(
    impatient: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the broker's acknowledgement timeout; the consumer waits for the store."""
    road, outage, seen = impatient, Outage(impatient, monkeypatch), deliveries(monkeypatch)
    outage.down = True
    await road.publish(plain(await road.tenant_id(), body(0)))
    limits = AmqpLimits(hold_s=0.3, last_retry_s=0.1, reconnect_s=0.2)
    async with road.consumer(limits):

        async def gave_up() -> bool:
            return [delivery.before for delivery in seen[:2]] == [0, 1]

        await until(gave_up)
        outage.down = False
        await road.holds(1)
    assert await road.waiting() == 0


async def test_a_database_that_answers_and_takes_nothing_is_waited_for(
    impatient: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages wait in their queues meanwhile: each return costs one of their deliveries."""
    road, seen, refused = impatient, deliveries(monkeypatch), list[str]()
    probe = road.stack.store.probe

    async def probing(_: object) -> None:
        try:
            await probe()
        except StoreUnavailable as error:
            refused.append(str(error))
            raise

    monkeypatch.setattr(type(road.stack.store), "probe", probing)
    await road.publish(plain(await road.tenant_id(), body(0)))
    await read_only(road, "on")
    limits = AmqpLimits(hold_s=0.3, last_retry_s=0.1, reconnect_s=0.2)
    async with road.consumer(limits) as consumer:

        async def waits() -> bool:
            return len(refused) > 5

        await until(waits)
        await road.stack.queries.ping()
        assert (consumer.holding, consumer.check()) == (True, TAKES_NOTHING)
        assert [delivery.before for delivery in seen] == [0]
        assert await road.waiting() == 1
        await read_only(road, "off")
        await road.holds(1)
    assert [delivery.before for delivery in seen] == [0, 1]
    assert {error.split(":")[0] for error in refused} >= {"ReadOnlySQLTransactionError"}


async def read_only(road: Road, value: str) -> None:
    """The database from here on, also for who is connected."""

    async def set_aio() -> None:
        writes = {"default_transaction_read_only": "off"}
        connection = await asyncpg.connect(road.stack.database_url, server_settings=writes)
        try:
            name = await connection.fetchval("SELECT current_database()")
            await connection.execute(
                f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
            )
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        finally:
            await connection.close()

    await road.stack.bridge.call(set_aio)


async def test_a_broker_that_starts_again_sends_nobody_to_another_queue(
    road: Road, private: Node
) -> None:
    """What waits there is not overtaken by what comes now, whoever sends it."""
    bridge, url = road.stack.bridge, road.stack.database_url
    tenants = [await road.tenant_id(await make_tenant(bridge, url, f"t{n}")) for n in range(8)]
    await trio.sleep(3)
    for life in range(3):
        await road.publish(
            *(plain(tenant, body(10 * life + n)) for n in range(10) for tenant in tenants)
        )
        if life < 2:
            await trio.to_thread.run_sync(private.kill)
            await trio.to_thread.run_sync(private.start)
    async with road.consumer():
        await road.holds(30 * len(tenants))
    assert await late(road) == 0


async def test_the_broker_killed_and_back(road: Road, private: Node) -> None:
    """503 within a second meanwhile, recovery within 5 s, and what was answered 202 is stored."""
    # RabbitMQ 3.10 finds no more a quorum queue that was declared just before it is killed.
    await trio.sleep(3)
    async with road.face() as (client, publisher):
        await ready(publisher)
        assert (await client.post("/v1/readings", json=row(START_MS, 0))).status_code == 202
        async with road.consumer() as consumer:
            await road.holds(1)
            await trio.to_thread.run_sync(private.kill)
            for n in range(1, 4):
                began = trio.current_time()
                response = await client.post("/v1/readings", json=row(START_MS + n, n))
                assert trio.current_time() - began < 1.0
                assert response.status_code == 503
                assert "retry-after" in response.headers

            async def noticed() -> bool:
                ready_now: str = (await client.get("/health/ready")).json()["checks"]["broker"]
                return ready_now == "unavailable" == consumer.check()

            await until(noticed, 3)
            assert (await client.get("/v1/sensors")).status_code == 200
            assert (await client.get("/health/live")).status_code == 200
            await trio.to_thread.run_sync(private.start)
            back = trio.current_time()

            async def taken() -> bool:
                response = await client.post("/v1/readings", json=row(START_MS + 9, 9))
                assert response.status_code in (202, 503)
                return bool(response.status_code == 202)

            await until(taken, 5)
            await road.holds(2)
            assert trio.current_time() - back < 5.0


async def test_large_messages_are_held_by_their_bytes(broker: Node, road: Road) -> None:
    """Of messages of 8 MiB two of a queue are in memory though sixteen are delivered; others pass
    them in queues of their own, and all are stored, in order, for one delivery more each."""
    large, room = 8 * MIB - 4096, 16 * MIB
    with broker.vhost() as url:
        wide = Road(road.stack, url, broker)
        await wide.setup(Topology(shards=2, shard_bytes=512 * MIB))
        tenant = await wide.tenant_id()
        small = tenant
        while queue_key(small, 2) == queue_key(tenant, 2):
            small = await wide.tenant_id(
                await make_tenant(road.stack.bridge, road.stack.database_url, "small")
            )
        for n in range(20):
            await wide.publish(plain(tenant, body(n).ljust(large)))
        async with wide.consumer(attrs.evolve(QUICK, queue_bytes=room)) as consumer:
            held: list[int] = []

            async def watch(task_status: trio.TaskStatus[None]) -> None:
                task_status.started()
                while True:
                    if consumer._session is not None:
                        held.append(consumer._session.feed.held_bytes)
                    await trio.sleep(0.001)

            async with trio.open_nursery() as nursery:
                async with wide.locked():
                    await nursery.start(watch)
                    await wide.until_waiting(20 - QUICK.prefetch)

                    async def two() -> bool:
                        return held[-1:] == [2 * large]

                    await until(two)
                await wide.publish(*(plain(small, body(n)) for n in range(20)))
                await wide.holds(40)
                nursery.cancel_scope.cancel()
        assert max(held) <= room + MIB
        assert await wide.waiting() == 0
        assert await wide.letters() == []
    assert await late(road) == 0


async def test_an_engine_that_waits_for_its_turn_says_so(road: Road) -> None:
    """Whoever empties that queue by mistake finds out by readiness, and what puts it right."""
    vhost = road.amqp_url.rsplit("/", 1)[1]
    path = f"/api/queues/{vhost}/{TURN}/contents"
    await trio.to_thread.run_sync(road.broker.api, "DELETE", path)
    await road.publish(plain(await road.tenant_id(), body(0)))
    async with road.consumer(attrs.evolve(QUICK, turn_s=1.0)) as consumer:

        async def said() -> bool:
            return consumer.check().startswith("no_turn: ")

        await until(said)
        assert "atalaia broker setup" in consumer.check()
        await road.setup()
        await road.holds(1)
        assert consumer.check() == "ok"


async def test_a_queue_that_another_consumes_is_named(road: Road) -> None:
    """It gives the engine nothing and no error: readiness says which it is, until that ends."""
    tenant = await road.tenant_id()
    name = f"{READINGS}.{queue_key(tenant, SMALL.shards)}"

    async def consume_aio() -> AbstractConnection:
        connection = await aio_pika.connect(road.amqp_url)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.declare_queue(name, passive=True)
        await queue.consume(asyncio.Queue[object]().put)
        return connection

    async def close_aio(connection: AbstractConnection) -> None:
        await connection.close()

    other = await road.stack.bridge.call(consume_aio)
    await road.publish(*(plain(tenant, body(n)) for n in range(5)))
    async with road.consumer(attrs.evolve(QUICK, look_s=0.5)) as consumer:

        async def said() -> bool:
            return consumer.check() == f"not_delivered: something else consumes {name}"

        await until(said)
        await road.stack.bridge.call(close_aio, other)
        await road.holds(5)

        async def passed() -> bool:
            return consumer.check() == "ok"

        await until(passed)
