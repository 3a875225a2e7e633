"""Connections: refused, bounded, and ended with their clients; none wedges or hurts another."""

import json
import socket
from contextlib import AsyncExitStack

import pytest
import structlog.testing
import trio
import trio.testing

from atalaia.http.app import MAX_BODY_BYTES
from atalaia.http.room import BodyRoom
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres


async def raw(stack: Stack, *exchanges: tuple[bytes, bytes]) -> bytes:
    """On one socket: send each, and read until what is awaited has come (5 s at most)."""
    host, port = stack.url.removeprefix("http://").split(":")
    received = b""
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        for sent, awaited in exchanges:
            await stream.send_all(sent)
            with trio.move_on_after(5):
                while awaited not in received:
                    received += await stream.receive_some() or b"(closed)"
    return received


def post(size: int, key: str = "", *, path: str = "/v1/readings") -> bytes:
    """The head of a request."""
    credential = f"x-api-key: {key}\r\n" if key else ""
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{credential}content-length: {size}\r\n\r\n".encode()


async def test_a_refused_post_does_not_wedge_its_connection(stack: Stack) -> None:
    """401 with a body on the way; the next request on the same socket is answered."""
    body = json.dumps([row(START_MS, 1)] * 3000).encode()
    health = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = await raw(stack, (post(len(body)) + body, b"}"), (health, b'"pass"}'))
    assert b" 401 " in answer
    assert b'{"status":"pass"}' in answer


async def test_a_body_beyond_the_limit_closes_the_connection(stack: Stack) -> None:
    """413 before the body has been read to its end, and the socket is closed."""
    answer = await raw(stack, (post(99_999_999, stack.api_key) + bytes(9_000_000), b"(closed)"))
    assert b" 413 " in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/readings", b" 401 "), ("/v1/rules", b" 401 "), ("/x", b" 413 ")]
)
async def test_a_stranger_s_body_is_not_waited_for(stack: Stack, path: str, status: bytes) -> None:
    """Whoever has no key is answered although most of the body is still to come, and cut off."""
    head = post(8_000_000, path=path)
    answer = await raw(stack, (head + bytes(1_000_000), b"(closed)"))
    assert status in answer
    assert answer.endswith(b"(closed)")


async def test_a_tenant_s_unfinished_bodies_are_bounded(stack: Stack) -> None:
    """Beyond its share a tenant gets 429; the room is free again when the senders have left."""
    host, port = stack.url.removeprefix("http://").split(":")
    part = bytes(MAX_BODY_BYTES - 1)
    count = BodyRoom().tenant_bytes // len(part)
    async with trio.open_nursery() as nursery, AsyncExitStack() as senders:
        for _ in range(count):
            stream = await senders.enter_async_context(await trio.open_tcp_stream(host, int(port)))
            nursery.start_soon(stream.send_all, post(MAX_BODY_BYTES, stack.api_key) + part)
            await trio.testing.wait_all_tasks_blocked(0.05)
        refused = await stack.client.post("/v1/readings", content=bytes(100_000))
        assert refused.status_code == 429
        assert (refused.json()["code"], refused.headers["retry-after"]) == ("overloaded", "1")
        (await stack.client.get("/v1/sensors")).raise_for_status()  # without a body, no room
    body = b" " * 100_000 + json.dumps([row(START_MS, 1)]).encode()
    with trio.fail_after(10):
        while (await stack.client.post("/v1/readings", content=body)).status_code != 200:
            await trio.sleep(0.05)


async def test_a_connection_that_fails_ends_alone(stack: Stack) -> None:
    """Hypercorn trips over a subprotocol that is not ASCII."""
    head = b"GET /v1/ingest HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    odd = b"sec-websocket-version: 13\r\nsec-websocket-protocol: \xff\r\n\r\n"
    with structlog.testing.capture_logs() as logs:
        assert (await raw(stack, (head + odd, b"(closed)"))).endswith(b"(closed)")
    assert "connection_failed" in {line["event"] for line in logs}
    assert (await stack.client.get("/health/live")).status_code == 200


async def test_a_client_that_leaves_loses_only_its_answer(stack: Stack) -> None:
    """The batch is the actor's: it is committed all the same."""
    body = json.dumps([row(START_MS, 1)]).encode()
    host, port = stack.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(post(len(body), stack.api_key) + body)
    with trio.fail_after(10):
        while (await stack.sql("SELECT count(*) AS n FROM readings"))[0]["n"] == 0:
            await trio.sleep(0.05)


@pytest.mark.parametrize(
    ("sent", "awaited"),
    [
        (b"", b""),
        (b"POST /v1/read", b""),
        (b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n", b'"pass"}'),
        (b"POST /v1/readings HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", b"}"),
        (b"no http\r\n\r\n", b" 400 "),
    ],
)
async def test_a_connection_ends_with_its_client(stack: Stack, sent: bytes, awaited: bytes) -> None:
    """Nothing of it stays in memory until the keep-alive time is over."""
    living = trio.lowlevel.current_statistics().tasks_living
    host, port = stack.url.removeprefix("http://").split(":")
    for _ in range(5):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(sent)
            received = b""
            while awaited not in received:
                received += await stream.receive_some()
            await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(5):
        while trio.lowlevel.current_statistics().tasks_living > living:
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/readings HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_an_idle_connection_is_closed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """After the keep-alive time, whichever route answered last."""
    monkeypatch.setattr("atalaia.http.server.KEEP_ALIVE_S", 0.1)
    async with open_stack(database_url) as stack:
        assert (await raw(stack, (sent, b"(closed)"))).endswith(b"(closed)")


@pytest.mark.parametrize(
    ("request_line", "known", "status"),
    [
        (b"GET //v1/rules", False, b" 404 "),
        (b"GET /%2Fv1/rules", True, b" 404 "),
        (b"GET v1/rules", False, b" 404 "),
        (b"GET ?v1/rules", False, b" 404 "),
        (b"OPTIONS *", False, b" 404 "),
        (b"POST //v1/readings", True, b" 404 "),
        (b"GET http://x/v1/rules", False, b" 401 "),
        (b"GET HTTP://x/v1/rules?limit=1", True, b" 200 "),
        (b"GET http://x//v1/rules", True, b" 404 "),
        (b"GET http://x", False, b" 302 "),
        (b"GET http://x/health/live", False, b" 200 "),
        (b"POST http://x/v1/readings", False, b" 401 "),
        (b"POST http://x/v1/readings", True, b" 400 "),
    ],
)
async def test_every_form_of_a_path_is_checked_as_it_is_routed(
    stack: Stack, request_line: bytes, known: bool, status: bytes
) -> None:
    """No spelling reaches a handler behind the back of the authenticator."""
    key = stack.api_key if known else "atl_0_0"
    fields = f" HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: 0\r\n\r\n"
    answer = await raw(stack, (request_line + fields.encode(), b"}"))
    assert status in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize("path", ["/health", "/v1/readings"])
@pytest.mark.parametrize(
    "fields", [" HTTP/1.0\r\n\r\n", " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"]
)
async def test_a_last_request_closes_its_connection(stack: Stack, path: str, fields: str) -> None:
    """As soon as it is answered, whoever answers it."""
    with trio.fail_after(2):
        answer = await raw(stack, (f"GET {path}{fields}".encode(), b"(closed)"))
    assert answer.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("path", ["/", "/v1/rules", "//v1/readings"])
async def test_websockets_are_refused(stack: Stack, path: str) -> None:
    """Wherever they are asked for, with or without a key."""
    head = (
        f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    answer = await raw(stack, (head.encode(), b"\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v1/sensors", "/v1/rules"])
async def test_whoever_has_only_stopped_sending_gets_the_answer(stack: Stack, path: str) -> None:
    """All of it."""
    host, port = stack.url.removeprefix("http://").split(":")
    head = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.api_key}\r\n\r\n"
    for _ in range(5):
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(head.encode())
            await stream.send_eof()
            received = b""
            with trio.fail_after(20):
                while part := await stream.receive_some():
                    received += part
        head_of_it, _, body = received.partition(b"\r\n\r\n")
        assert head_of_it.startswith(b"HTTP/1.1 200 ")
        assert b"content-length: %d" % len(body) in head_of_it.lower()
        assert body
