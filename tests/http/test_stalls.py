"""Clients that do not read their answers, read them slowly, or never stop sending: none of them
holds a connection, its memory or the room of bodies for long.
"""

import json
import socket

import pytest
import trio

from tests.http.test_connections import post
from tests.http.test_sockets import read, send, sockets, until_sockets
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

METRICS = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
MANY = 200
TINY_CHUNKS = b"1\r\nx\r\n" * 10_000
BAD_ROWS = b",".join([b'{"sensor":"%s"}' % (b"x" * 8_000)] * 1_000)


async def connect(stack: Stack) -> trio.SocketStream:
    """With as little room for answers as a client can have."""
    host, port = stack.url.removeprefix("http://").split(":")
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    await sock.connect((host, int(port)))
    return trio.SocketStream(sock)


async def test_whoever_reads_nothing_is_cut_off(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it has asked for, and although it stays."""
    monkeypatch.setattr("atalaia.http.server.STALL_S", 0.5)
    async with open_stack(database_url) as stack:
        before = sockets(stack)
        async with await connect(stack) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(send, stream, METRICS * MANY, b"", "")
            while sockets(stack) < before + 1:
                await trio.sleep(0.01)
            await until_sockets(stack, before)
            nursery.cancel_scope.cancel()


async def test_whoever_leaves_without_reading_leaves_nothing(stack: Stack) -> None:
    """Although it has asked for more, and has said before that it will send nothing else."""
    before = sockets(stack)
    for _ in range(10):
        async with await connect(stack) as stream:
            await stream.send_all(METRICS * 20)
            await stream.send_eof()
            await read(stream, b"HTTP/1.1 200 ")
    await until_sockets(stack, before)


async def test_whoever_reads_slowly_gets_everything(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer than a stall may, and is never cut off."""
    monkeypatch.setattr("atalaia.http.server.STALL_S", 2.0)
    async with open_stack(database_url) as stack, await connect(stack) as stream:
        page = len((await stack.client.get("/metrics")).content)
        count = 2_500_000 // page
        await stream.send_all(METRICS * count)
        received, began = b"", trio.current_time()
        while received.count(b"HTTP/1.1 200 ") < count:
            with trio.fail_after(10):
                part = await stream.receive_some(65_536)
            assert part
            received += part
            await trio.sleep(0.002)
        assert trio.current_time() - began > 2.5


@pytest.mark.parametrize(
    ("fields", "part"),
    [(f"content-length: {10**10}", bytes(1 << 20)), ("transfer-encoding: chunked", TINY_CHUNKS)],
)
async def test_whoever_never_stops_sending_is_cut_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, fields: str, part: bytes
) -> None:
    """Refused, and answered; what it goes on to send is neither kept nor waited for."""
    monkeypatch.setattr("hypercorn.config.Config.max_app_queue_size", 1)  # it is full at once
    before = sockets(stack)
    async with await connect(stack) as stream, trio.open_nursery() as nursery:

        async def flood() -> None:
            try:
                await stream.send_all(
                    f"POST /v1/rules HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n".encode()
                )
                while True:
                    await stream.send_all(part)
            except trio.BrokenResourceError:
                pass

        nursery.start_soon(flood)
        while sockets(stack) < before + 1:
            await trio.sleep(0.01)
        await until_sockets(stack, before)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_is_not_read_holds_no_room(stack: Stack) -> None:
    """Nine bodies of 8 MB would be more than a tenant's share."""
    body = b"[" + BAD_ROWS + b"]"
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            async with await connect(stack) as stream:
                await stream.send_all(post(len(body), stack.api_key) + body)
                assert (await stream.receive_some(20)).startswith(b"HTTP/1.1 422 ")
                answered.release()
                await trio.sleep_forever()

        answered = trio.Semaphore(0)
        for _ in range(9):
            nursery.start_soon(ask)
            with trio.fail_after(20):
                await answered.acquire()
        assert (await stack.send([row(START_MS, 1)])).status_code == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("bytes_each", [1, 60])
async def test_a_body_of_tiny_chunks_is_refused(stack: Stack, bytes_each: int) -> None:
    """Thousands of them cost more than they bring; one of a row each is none of that."""
    line = json.dumps(row(START_MS, 1)).encode()
    body = b"[" + b",".join([line] * 3_000) + b"]"
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for n in range(0, len(body), bytes_each)
              if (part := body[n : n + bytes_each])]  # fmt: skip
    head = (
        f"POST /v1/readings HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.api_key}\r\n"
        "transfer-encoding: chunked\r\n\r\n"
    )
    async with await connect(stack) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(send, stream, head.encode(), b"".join([*chunks, b"0\r\n\r\n"]), "")
        answer = await read(stream, b"request_id" if bytes_each == 1 else b"accepted")
        nursery.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 400 " if bytes_each == 1 else b"HTTP/1.1 200 ")
    assert (b"tiny_chunks" in answer) == (bytes_each == 1)
