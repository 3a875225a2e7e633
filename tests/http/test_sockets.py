"""Every refusal over a real socket, whatever the body does meanwhile: no connection is wedged,
none stays, and a flood of them takes neither the process nor all of its room.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import trio
import trio.testing
from h2.config import H2Configuration
from h2.connection import H2Connection

from atalaia.engine.limits import EngineLimits
from atalaia.http.connection import Crowd
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

HEALTH = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
LARGE, MODEST, DRIPS = 2_000_000, 40_000, 20
ROW = b'[{"sensor":"s","metric":"t","ts":%d,"value":1}]'

REFUSALS = {
    401: ("POST", "/v1/readings", "x-api-key: atl_0_0"),
    404: ("POST", "/v1/nowhere", "x-api-key: {key}"),
    405: ("DELETE", "/v1/readings", "x-api-key: {key}"),
    413: ("POST", "/v1/readings", "x-api-key: {key}"),
    415: ("POST", "/v1/readings", "x-api-key: {key}\r\ncontent-encoding: br"),
    429: ("POST", "/v1/readings", "x-api-key: {key}"),
    503: ("POST", "/v1/readings", "x-api-key: {key}"),
}


@asynccontextmanager
async def busy(stack: Stack) -> AsyncIterator[None]:
    """While inside no commit ends, and a reading is already on its way."""
    holder = await stack.bridge.call(asyncpg.connect, stack.database_url)
    await stack.bridge.call(holder.execute, "BEGIN; UPDATE engine_lease SET taken_at = now()")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stack.send, [row(START_MS, 1)])
        with trio.fail_after(10):
            while not stack.gate._budget.rows:
                await trio.sleep(0.01)
        try:
            yield
        finally:
            await stack.bridge.call(holder.execute, "ROLLBACK")
            await stack.bridge.call(holder.close)


def request(stack: Stack, status: int, body: str) -> tuple[bytes, bytes]:
    """Head and body of a request that is refused with this status."""
    method, path, fields = REFUSALS[status]
    size = LARGE if body == "large" else MODEST
    content = (ROW % START_MS).ljust(size)
    said = 9_000_000 if status == 413 else size
    if status == 413 and body == "large":
        content = content.ljust(9_000_000)
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\n{fields.format(key=stack.api_key)}\r\n"
        f"content-length: {said}\r\n\r\n"
    )
    return head.encode(), content


async def send(stream: trio.SocketStream, head: bytes, content: bytes, body: str) -> None:
    """As the kind of body says; whoever is cut off meanwhile stops."""
    try:
        await stream.send_all(head)
        if body == "dripping":
            size = len(content) // DRIPS
            for n in range(0, len(content), size):
                await stream.send_all(content[n : n + size])
                await trio.sleep(0.05)
        else:
            await stream.send_all(content)
    except trio.BrokenResourceError:
        pass


async def read(stream: trio.SocketStream, awaited: bytes) -> bytes:
    """Until it has come or the connection ends; ten seconds are a wedged connection."""
    received = b""
    with trio.fail_after(10):
        while awaited not in received:
            try:
                part = await stream.receive_some()
            except trio.BrokenResourceError:
                part = b""
            if not part:
                return received + b"(closed)"
            received += part
    return received


async def talk(stream: trio.SocketStream, head: bytes, content: bytes, body: str) -> bytes:
    """Send and read at once, as clients do; the problem document, or what came before the end."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, stream, head, content, body)
            answer = await read(stream, b'"request_id"')
            if answer.endswith(b"(closed)"):
                nursery.cancel_scope.cancel()
    return answer


async def connect(stack: Stack) -> trio.SocketStream:
    host, port = stack.url.removeprefix("http://").split(":")
    return await trio.open_tcp_stream(host, int(port))


LISTENS = "0A"


def sockets(stack: Stack) -> int:
    """How many the server holds, by the system's own table; other files come and go."""
    port = f":{int(stack.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(
        fields[1].endswith(port) and fields[3] != LISTENS and fields[9] != "0" for fields in lines
    )


async def until_sockets(stack: Stack, count: int) -> None:
    with trio.fail_after(10):
        while sockets(stack) > count:
            await trio.sleep(0.05)


@pytest.mark.parametrize("body", ["large", "dripping", "aborted"])
@pytest.mark.parametrize("status", REFUSALS)
async def test_a_refusal_wedges_no_connection(database_url: str, status: int, body: str) -> None:
    """It is answered and closed, or answered and good for another request; none stays behind."""
    limits = EngineLimits()
    if status == 429:
        limits = EngineLimits(inbox_rows=1)
    if status == 503:
        limits = EngineLimits(total_rows=1)
    async with open_stack(database_url, limits=limits) as stack, AsyncExitStack() as inside:
        if status in (429, 503):
            await inside.enter_async_context(busy(stack))
        before = sockets(stack)
        head, content = request(stack, status, body)
        async with await connect(stack) as stream:
            if body == "aborted":
                await send(stream, head, content[: len(content) // 2], body)
            else:
                answer = await talk(stream, head, content, body)
                assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
                assert b"application/problem+json" in answer
                if b"connection: close" not in answer.lower():
                    await stream.send_all(HEALTH)
                    assert b'"pass"}' in await read(stream, b'"pass"}')
        await until_sockets(stack, before)


def test_one_address_takes_half_of_the_room_at_most() -> None:
    """And all of them no more than there is; whoever leaves makes room."""
    crowd = Crowd(4)
    assert [crowd.enter("a"), crowd.enter("a"), crowd.enter("a")] == [True, True, False]
    assert [crowd.enter("b"), crowd.enter("c"), crowd.enter("d")] == [True, True, False]
    crowd.leave("a")
    assert crowd.enter("a")


async def test_a_flood_of_connections_is_refused_and_leaves_room(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and the end for those beyond the room; those inside are served; gone means room."""
    monkeypatch.setattr("atalaia.http.connection.MOST_CONNECTIONS", 40)
    async with open_stack(database_url) as stack:
        before = sockets(stack)
        async with AsyncExitStack() as inside:
            crowd = [await inside.enter_async_context(await connect(stack)) for _ in range(20)]
            with trio.fail_after(5):
                while True:  # the last of them may not be counted yet
                    async with await connect(stack) as late:
                        await late.send_all(HEALTH)
                        answer = await read(late, b"\r\n\r\n")
                    if answer.startswith(b"HTTP/1.1 503 "):
                        break
            assert b"retry-after: " in answer
            await crowd[0].send_all(HEALTH)
            assert b'"pass"}' in await read(crowd[0], b'"pass"}')
        await until_sockets(stack, before)
        async with await connect(stack) as stream:
            await stream.send_all(HEALTH)
            assert b'"pass"}' in await read(stream, b'"pass"}')


async def test_slow_headers_end_with_the_idle_time(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no connection."""
    monkeypatch.setattr("atalaia.http.server.KEEP_ALIVE_S", 0.5)
    async with (
        open_stack(database_url) as stack,
        await connect(stack) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, stream, b"GET / HTTP/1.1\r\nhost: ", b"x" * 1_000, "dripping")
        assert await read(stream, b"never") == b"(closed)"
        nursery.cancel_scope.cancel()


async def test_a_rapid_reset_hurts_nobody(stack: Stack) -> None:
    """Streams of HTTP/2 (prior knowledge) that are opened and reset leave nothing behind."""
    living = trio.lowlevel.current_statistics().tasks_living
    async with await connect(stack) as stream:
        client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        client.initiate_connection()
        fields = [
            (":method", "POST"), (":path", "/v1/readings"), (":scheme", "http"),
            (":authority", "x"), ("x-api-key", stack.api_key), ("content-length", "1000"),
        ]  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swallow, stream)
            for n in range(2_000):
                client.send_headers(2 * n + 1, fields)
                client.reset_stream(2 * n + 1)
                if n % 50 == 49:
                    try:
                        await stream.send_all(client.data_to_send())
                    except trio.BrokenResourceError:
                        break  # cut off: as good
                    with trio.fail_after(5):
                        assert (await stack.client.get("/health/live")).status_code == 200
            nursery.cancel_scope.cancel()
    with trio.fail_after(10):
        while trio.lowlevel.current_statistics().tasks_living > living + 2:
            await trio.sleep(0.05)
    assert (await stack.send([row(START_MS, 1)])).status_code == 200


async def swallow(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some():
            pass
    except trio.BrokenResourceError:
        pass
