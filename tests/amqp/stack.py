"""The road through the broker: a face of the role `http`, the queues, an engine that consumes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import attrs
import httpx
import trio

from atalaia.amqp.consumer import Consumer
from atalaia.amqp.dead_letters import Letter, Selection, list_aio
from atalaia.amqp.intake import QueueIntake
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.link import connection_aio
from atalaia.amqp.messages import Message
from atalaia.amqp.outlet import Fate, open_outlet_aio
from atalaia.amqp.publisher import Publisher, open_publisher
from atalaia.amqp.topology import (
    MIB,
    READINGS,
    Topology,
    find_shards_aio,
    setup_aio,
    shard_name,
)
from atalaia.engine.clock import SystemClock
from atalaia.engine.edits import NoEngine
from atalaia.engine.limits import EngineLimits
from atalaia.engine.quota import Quotas
from atalaia.http.app import MAX_BODY_BYTES, create_app
from atalaia.http.server import listen, run_server
from atalaia.model.quota import NO_QUOTA
from tests.broker import Node
from tests.stack import Stack

SMALL = Topology(shards=3, shard_bytes=8 * MIB, dead_bytes=8 * MIB)
# publish_s leaves a busy machine some of the second that answers are measured against.
QUICK = AmqpLimits(last_retry_s=0.2, reconnect_s=0.3, publish_s=0.6)


async def until(what: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Wait for what a real broker does in its own time; fails when it does not."""
    with trio.fail_after(seconds):
        while not await what():
            await trio.sleep(0.02)


@attrs.define(eq=False)
class Road:
    """A stack with its broker."""

    stack: Stack
    amqp_url: str
    broker: Node

    async def setup(self, topology: Topology = SMALL) -> list[str]:
        return await self.stack.bridge.call(setup_aio, self.amqp_url, topology)

    async def tenant_id(self, api_key: str | None = None) -> str:
        key_id = (api_key or self.stack.api_key).split("_")[1]
        record = await self.stack.queries.find_key(key_id)
        assert record is not None
        return str(record.tenant_id)

    async def publish(self, *messages: Message) -> None:
        """As a foreign publisher would; fails unless all are confirmed."""
        outlet = await self.stack.bridge.call(open_outlet_aio, self.amqp_url, READINGS, "test")
        fates = await self.stack.bridge.call(outlet.publish_aio, messages, 20.0)
        await self.stack.bridge.call(outlet.close_aio)
        assert set(fates) == {Fate.CONFIRMED}

    async def letters(self) -> list[Letter]:
        return await self.stack.bridge.call(list_aio, self.amqp_url, Selection(), 1_000)

    async def stored(self) -> int:
        (counted,) = await self.stack.sql("SELECT count(*) AS n FROM readings")
        return int(counted["n"])

    async def holds(self, rows: int) -> None:
        """Wait until so many readings are committed."""

        async def enough() -> bool:
            return await self.stored() >= rows

        await until(enough)
        assert await self.stored() == rows

    async def waiting(self) -> int:
        """Messages that wait in the shards, delivered ones not counted."""
        return await self.stack.bridge.call(_waiting_aio, self.amqp_url)

    async def until_waiting(self, messages: int) -> None:
        async def so_many() -> bool:
            return await self.waiting() == messages

        await until(so_many)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """No commit gets anywhere while inside; readers do not notice."""
        entered, leave = trio.Event(), trio.Event()

        async def hold() -> None:
            async def wait_aio() -> None:
                connection = await asyncpg.connect(self.stack.database_url)
                try:
                    async with connection.transaction():
                        await connection.execute("LOCK TABLE commit_groups IN EXCLUSIVE MODE")
                        token.run_sync_soon(entered.set)
                        while not leave.is_set():
                            await asyncio.sleep(0.01)
                finally:
                    await connection.close()

            token = trio.lowlevel.current_trio_token()
            await self.stack.bridge.call(wait_aio)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            await entered.wait()
            try:
                yield
            finally:
                leave.set()

    @asynccontextmanager
    async def consumer(self, limits: AmqpLimits = QUICK) -> AsyncIterator[Consumer]:
        """Consumes while inside; leaves as at SIGTERM."""
        stack = self.stack
        consumer = Consumer(
            stack.bridge, self.amqp_url, stack.gate, stack.queries, stack.sessions.people,
            SystemClock(), limits,
        )  # fmt: skip
        shutdown = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consumer.run, shutdown)
            yield consumer
            shutdown.set()

    @asynccontextmanager
    async def face(
        self, limits: AmqpLimits = QUICK
    ) -> AsyncIterator[tuple[httpx.AsyncClient, Publisher]]:
        """A server of the role `http` beside the engine's own."""
        stack = self.stack
        listener = listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        shutdown = trio.Event()
        async with (
            open_publisher(stack.bridge, self.amqp_url, limits) as publisher,
            trio.open_nursery() as nursery,
        ):
            gate = NoEngine(None, Quotas(NO_QUOTA))
            take = QueueIntake(publisher, gate, SystemClock(), EngineLimits(), MAX_BODY_BYTES)
            front = create_app(
                gate, stack.queries, sessions=stack.sessions, take=take,
                checks={"broker": publisher.check},
            )  # fmt: skip
            await nursery.start(partial(run_server, front, listener, shutdown=shutdown))
            headers = {"X-API-Key": stack.api_key}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                yield client, publisher
            shutdown.set()


async def _waiting_aio(url: str) -> int:
    async with connection_aio(url, "test") as connection:
        channel = await connection.channel()
        count = 0
        for number in range(await find_shards_aio(connection)):
            queue = await channel.declare_queue(shard_name(number), passive=True)
            count += queue.declaration_result.message_count or 0
        return count


async def ready(publisher: Publisher) -> None:
    async def ok() -> bool:
        return publisher.check() == "ok"

    await until(ok)


def plain(tenant_id: str, body: bytes, **more: Any) -> Message:
    """A message as our HTTP face writes it."""
    return Message(tenant_id, body, "application/json", "identity", more)
