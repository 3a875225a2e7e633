"""What the face of the role `http` says when RabbitMQ does not take readings: 503, at once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
import trio

from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.publisher import Publisher
from atalaia.amqp.topology import MIB, READINGS, Topology, shard_name
from tests.amqp.stack import QUICK, SMALL, Road, ready, until
from tests.broker import SERVER, Node
from tests.stack import START_MS, row

pytestmark = [pytest.mark.postgres, pytest.mark.rabbit]


@asynccontextmanager
async def within_a_second() -> AsyncIterator[None]:
    began = trio.current_time()
    yield
    assert trio.current_time() - began < 1.0


async def refused(client: httpx.AsyncClient, n: int = 0) -> str:
    """The code of a 503 that came in time and says when to try again."""
    async with within_a_second():
        response = await client.post("/v1/readings", json=row(START_MS + n, n))
    assert response.status_code == 503, response.text
    assert int(response.headers["retry-after"]) > 0
    return str(response.json()["code"])


async def test_a_message_without_a_queue_is_returned_and_not_lost(road: Road) -> None:
    """RabbitMQ confirms what it returns; we do not. With the bindings back it is taken."""
    vhost = road.amqp_url.rsplit("/", 1)[1]
    async with road.face() as (client, publisher):
        await ready(publisher)
        for number in range(SMALL.shards):
            path = f"/api/bindings/{vhost}/e/{READINGS}/q/{shard_name(number)}/{number:02}"
            await trio.to_thread.run_sync(road.broker.api, "DELETE", path)
        assert await refused(client) == "unavailable"
        await road.setup()
        response = await client.post("/v1/readings", json=row(START_MS, 1))
        assert response.status_code == 202
        assert publisher.check() == "ok"
    async with road.consumer():
        await road.holds(1)


async def test_a_full_queue_refuses_and_takes_again_when_it_is_drained(
    broker: Node, road: Road
) -> None:
    """What was answered 202 until then is stored, and no more."""
    with broker.vhost() as url:
        narrow = Road(road.stack, url, broker)
        await narrow.setup(Topology(shards=1, shard_bytes=MIB // 4))
        taken = 0
        async with narrow.face() as (client, publisher):
            await ready(publisher)
            pad = " " * 20_000
            while True:
                body = f'[{{"sensor":"s","metric":"t","ts":{START_MS + taken},"value":1}}{pad}]'
                async with within_a_second():
                    response = await client.post("/v1/readings", content=body.encode())
                if response.status_code == 503:
                    break
                assert response.status_code == 202
                taken += 1
                assert taken < 100
            assert response.json()["code"] == "queue_full"
            assert "retry-after" in response.headers
            async with narrow.consumer():
                await narrow.holds(taken)
            assert (await client.post("/v1/readings", content=body.encode())).status_code == 202
            async with narrow.consumer():
                await narrow.holds(taken + 1)


async def test_a_blocked_connection_refuses_until_it_is_open(road: Road, private: Node) -> None:
    """While the broker's memory or disk is short it takes nothing from publishers."""

    async def watermark(fraction: str) -> None:
        control = str(SERVER.with_name("rabbitmqctl"))
        await trio.run_process(
            [control, "set_vm_memory_high_watermark", fraction],
            env=private.environment, cwd=private.directory, capture_stdout=True,
        )  # fmt: skip

    async with road.face() as (client, publisher):
        await ready(publisher)
        await watermark("0.000001")
        try:

            async def blocked() -> bool:
                await refused(client)
                return publisher.check() == "blocked"

            await until(blocked)
            async with within_a_second():
                assert (await client.get("/v1/sensors")).status_code == 200
            state = (await client.get("/health/ready")).json()
            assert state["checks"]["broker"] == "blocked"
        finally:
            await watermark("0.6")
        await ready(publisher)
        assert (await client.post("/v1/readings", json=row(START_MS, 0))).status_code == 202
    async with road.consumer():
        await road.holds(1)


async def test_what_is_not_confirmed_is_bounded(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes under way beyond the limit are refused at once; the rest ends in time."""

    async def silence(*_: object) -> bool:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(Publisher, "_send_some", silence)
    limits = AmqpLimits(publish_bytes=1_000, publish_s=0.4)
    codes: list[str] = []
    async with road.face(limits) as (client, publisher):
        await ready(publisher)

        async def send(n: int) -> None:
            response = await client.post("/v1/readings", json=row(START_MS + n, n))
            assert response.status_code == 503
            codes.append(response.json()["code"])

        with trio.fail_after(20):  # thirty clients of one busy machine; each has its own 0.4 s
            async with trio.open_nursery() as nursery:
                for n in range(30):
                    nursery.start_soon(send, n)
    assert set(codes) == {"saturated", "unavailable"}


async def test_a_connection_that_leads_nowhere_is_replaced(broker: Node, road: Road) -> None:
    """Nothing comes back, nothing is closed: 503 in time, and taken again over a new one."""
    address = urlsplit(road.amqp_url)
    silent: list[trio.CancelScope] = []

    async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)

    async def forward(left: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", address.port or 0) as right:
            with trio.CancelScope() as scope:  # when it is left nothing is closed
                silent.append(scope)
                async with trio.open_nursery() as both:
                    both.start_soon(copy, left, right)
                    both.start_soon(copy, right, left)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, forward, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        url = road.amqp_url.replace(f":{address.port}/", f":{port}/")
        async with Road(road.stack, url, broker).face() as (client, publisher):
            await ready(publisher)
            assert (await client.post("/v1/readings", json=row(START_MS, 0))).status_code == 202
            for scope in silent:
                scope.cancel()
            assert await refused(client, 1) == "unavailable"

            async def taken() -> bool:
                async with within_a_second():
                    response = await client.post("/v1/readings", json=row(START_MS + 1, 1))
                return bool(response.status_code == 202)

            await until(taken, 5)
        nursery.cancel_scope.cancel()
    async with road.consumer():
        await road.holds(2)


async def test_a_face_starts_before_its_broker(broker: Node, road: Road) -> None:
    """It refuses, says so in its readiness, and serves what does not need the broker."""
    away = Road(road.stack, "amqp://guest:guest@127.0.0.1:1/", broker)
    async with away.face(QUICK) as (client, _), away.consumer() as consumer:
        assert await refused(client) == "unavailable"
        response = await client.get("/health/ready")
        assert (response.status_code, response.json()["checks"]["broker"]) == (503, "unavailable")
        assert (await client.get("/health/live")).status_code == 200
        assert consumer.check() == "unavailable"


async def test_a_batch_written_anew_is_taken_however_long_it_becomes(road: Road) -> None:
    """One bad row among many long names: more bytes than the broker takes in one message, and no
    neighbour's connection is closed over it."""
    rows = [row(START_MS, 1, sensor=f"{'s' * 115}{n:05}") for n in range(45_500)]
    rows.append(row(START_MS, "x"))
    body = json.dumps(rows, separators=(",", ":")).encode()
    limits = attrs.evolve(QUICK, publish_s=10.0)
    async with road.face(limits) as (client, publisher):
        await ready(publisher)
        assert len(body) < 8 * MIB
        response = await client.post("/v1/readings", content=body)
        assert response.status_code == 202, response.text
        assert (response.json()["accepted"], response.json()["rejected_count"]) == (45_500, 1)
        assert publisher.check() == "ok"
    assert await road.waiting() == 2
