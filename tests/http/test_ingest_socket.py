"""Readings over a WebSocket: answered after their commit, in order, within the credit."""

import json
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from hypercorn.config import Config
from wsproto.connection import Connection, ConnectionType
from wsproto.events import Event, Ping, Pong, TextMessage

from atalaia.http import auth, connection, server, sockets
from atalaia.http.frames import Frames
from tests.http.socket_client import Rejected, Socket, connect
from tests.http.test_influx import stored
from tests.http.test_sockets import busy
from tests.stack import START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres


@asynccontextmanager
async def socket(
    stack: Stack, protocol: str = "", query: str = "", key: str = ""
) -> AsyncIterator[Socket]:
    """An open one, whose greeting was read."""
    protocols = (protocol,) if protocol else ()
    async with connect(stack, f"/v1/ingest{query}", key=key, protocols=protocols) as opened:
        assert opened.subprotocol == (protocol or None)
        assert (await opened.answer())["credit"]["messages"] == sockets.CREDIT_MESSAGES
        yield opened


def body(first: int, count: int = 1, sensor: str = "s") -> str:
    return json.dumps([row(START_MS + first + n, first + n, sensor=sensor) for n in range(count)])


async def test_a_message_is_answered_after_its_commit_as_over_http(stack: Stack) -> None:
    """With the sender's own id; text and binary, and the same again counts as duplicates."""
    async with socket(stack) as opened:
        await opened.send("first\n" + body(0, 3))
        said = await opened.answer()
        assert (said["id"], said["status"], said["durability"]) == ("first", 200, "committed")
        assert (said["accepted"], said["rejected_count"]) == (3, 0)
        assert len(await stored(stack)) == 3
        await opened.send(b"again\n" + body(0, 3).encode())
        assert (await opened.answer())["duplicates"] == 3
        await opened.send("bad\n{")
        said = await opened.answer()
        assert (said["id"], said["status"], said["code"]) == ("bad", 400, "bad_json")
        await opened.send("none\n[1]")
        assert (await opened.answer())["status"] == 422


@pytest.mark.parametrize(
    ("protocol", "query", "text"),
    [
        ("atalaia.json", "?precision=s", '{"sensor":"s","metric":"m_v","ts":%d,"value":1}'),
        ("atalaia.ndjson", "?precision=s", '{"sensor":"s","metric":"m_v","ts":%d,"value":1}\n'),
        ("atalaia.line", "?precision=s", "m,host=s v=1 %d"),
        ("", "?format=line&precision=s&sensor_tag=place", "m,host=x,place=s v=1 %d"),
    ],
)
async def test_the_subprotocol_says_what_bodies_come(
    stack: Stack, protocol: str, query: str, text: str
) -> None:
    """With the parameters of the HTTP routes."""
    async with socket(stack, protocol, query) as opened:
        await opened.send("1\n" + text % (START_MS // 1000))
        assert (await opened.answer())["accepted"] == 1
    assert set(await stored(stack)) == {("s", "m_v", START_MS // 1000 * 1000)}


async def test_messages_are_taken_and_answered_in_order(stack: Stack) -> None:
    """Many under way at once; none is late, so each was judged after the one before it."""
    async with socket(stack) as opened:
        for number in range(30):
            await opened.send(f"{number}\n{body(number)}")
        said = [await opened.answer() for _ in range(30)]
    assert [each["id"] for each in said] == [str(number) for number in range(30)]
    assert {(each["accepted"], each["late"]) for each in said} == {(1, 0)}


async def test_a_message_that_takes_long_is_not_overtaken(stack: Stack) -> None:
    """It is read beside the event loop, and the next one, which is not, is taken after it."""
    rows = [{}, *(row(START_MS + n, 1) for n in range(5_000))]
    async with socket(stack) as opened:
        await opened.send("long\n" + json.dumps(rows))
        await opened.send("short\n" + json.dumps([row(START_MS, 2)]))
        said = [await opened.answer() for _ in range(2)]
    assert [(each["id"], each["accepted"], each["duplicates"]) for each in said] == [
        ("long", 5_000, 0), ("short", 0, 1),
    ]  # fmt: skip


async def test_whoever_keeps_to_the_credit_is_slowed_down_by_its_quota(stack: Stack) -> None:
    """No message is refused: each waits for its turn."""
    await stack.sql("UPDATE tenants SET readings_per_s = 200")
    began = trio.current_time()
    async with socket(stack) as opened:
        for number in range(6):
            await opened.send(f"{number}\n{body(100 * number, 100)}")
        said = [await opened.answer() for _ in range(6)]
    assert [each["accepted"] for each in said] == [100] * 6
    assert trio.current_time() - began > 1.5


@pytest.mark.parametrize(("count", "padding"), [(sockets.CREDIT_MESSAGES + 1, 0), (5, 1_000_000)])
async def test_whoever_sends_beyond_the_credit_is_cut_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, count: int, padding: int
) -> None:
    """In messages, and in bytes; others go on, and what was handed over is stored."""
    monkeypatch.setattr(sockets, "LAST_ANSWERS_S", 0.5)
    async with socket(stack) as other:
        async with busy(stack), socket(stack) as opened:
            for number in range(count):
                await opened.send(f"{number}\n{body(number)}" + " " * padding)
            assert await opened.closing_code() == sockets.BEYOND_CREDIT
        await other.send("1\n" + body(500))
        assert (await other.answer())["accepted"] == 1
    assert ("s", "t", START_MS) in await stored(stack)


async def test_a_message_beyond_the_size_is_refused_and_not_held(stack: Stack) -> None:
    """1009, in one piece or many, however long its sender goes on; the server holds none of it."""
    async with socket(stack) as opened:
        await opened.send("x\n" + " " * sockets.MAX_MESSAGE_BYTES)
        assert await opened.closing_code() == 1009
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with connect(stack) as endless:
        await endless.send("x\n", finished=False)
        piece = " " * 500_000
        for _ in range(200):
            await endless.send(piece, finished=False)
        assert await endless.closing_code() == 1009
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 60_000


async def test_who_is_told_to_leave_does_not_stay(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that lost its power after too long a message would keep one of few places."""
    monkeypatch.setattr("atalaia.http.frames.LET_GO_S", 0.3)
    async with socket(stack) as opened:
        await opened.send("x\n" + " " * sockets.MAX_MESSAGE_BYTES)
        with trio.fail_after(10):
            received = b"."
            while received:
                received = await opened.stream.receive_some()


@pytest.mark.parametrize("kind", ["pongs", "pings", "fragments"])
async def test_a_flood_of_frames_that_say_nothing_is_cut_off(stack: Stack, kind: str) -> None:
    """And keeps nobody waiting until it is: the loop goes on in between."""
    async with socket(stack) as opened:
        match kind:
            case "pongs":
                event: Event = Pong()
            case "pings":
                event = Ping()
            case _:
                await opened.send("x\n", finished=False)
                event = TextMessage(data="", message_finished=False)
        frame = opened.ws.send(event)

        async def flood(frame: bytes = frame) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                for _ in range(20):
                    await opened.stream.send_all(frame * 10_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            with trio.fail_after(20), suppress(trio.BrokenResourceError):
                while await opened.stream.receive_some():
                    pass
            nursery.cancel_scope.cancel()
    async with socket(stack) as other:
        await other.send("1\n" + body(1))
        assert (await other.answer())["accepted"] == 1


async def test_frames_give_others_their_turn() -> None:
    """However many come at once: a count of the turns of another task, and no clock."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    nobody: Any = None
    stream = Frames(nobody, Config(), nobody, nobody, False, None, None, nobody, 1)
    stream.connection = Connection(ConnectionType.SERVER)
    client = Connection(ConnectionType.CLIENT)
    stream.connection.receive_data(client.send(Pong()) * 960)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await stream._handle_events()
        nursery.cancel_scope.cancel()
    assert turns >= 20


async def test_a_client_that_left_holds_up_no_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is over when it leaves, not when it would have been asked for a sign of life:
    the service waits for whoever is connected.
    """
    monkeypatch.setattr(server, "GRACEFUL_S", 600.0)
    monkeypatch.setattr(server, "PING_S", 600.0)
    monkeypatch.setattr(connection, "LEFT_S", 600.0)
    with trio.fail_after(20):
        async with open_stack(database_url) as stack, socket(stack):
            pass


async def test_messages_in_small_pieces_are_no_flood(stack: Stack) -> None:
    """A slow network cuts a message into hundreds of parts; a client may cut it itself."""
    async with socket(stack) as opened:
        text = ("1\n" + body(1)).ljust(3_000 * 40)
        for start in range(0, len(text), 40):
            last = start + 40 == len(text)
            await opened.send(text[start : start + 40], finished=last)
        assert (await opened.answer())["accepted"] == 1


async def test_a_handshake_that_is_none_ends_its_connection(stack: Stack) -> None:
    """400, and the connection is closed though its client stays."""
    host, port = stack.url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(
            b"GET /v1/ingest HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\nsec-websocket-version: 13\r\n\r\n"
        )
        received = b""
        with trio.fail_after(10):
            while part := await stream.receive_some():
                received += part
        assert received.startswith(b"HTTP/1.1 400 ")


async def test_nothing_is_inflated(stack: Stack) -> None:
    """A compressed frame could be a thousand times as large."""
    async with connect(stack) as opened:
        assert opened.extensions == []


@pytest.mark.parametrize("message", ["no id", "\n[]", "a b\n[]", "x" * 65 + "\n[]", b"\xff\n[]"])
async def test_a_message_without_an_id_ends_the_conversation(
    stack: Stack, message: str | bytes
) -> None:
    """Nobody could be told what became of it."""
    async with socket(stack) as opened:
        await opened.send("good\n" + body(0))
        assert (await opened.answer())["id"] == "good"
        await opened.send(message)
        assert await opened.closing_code() == sockets.BAD_MESSAGE


@pytest.mark.parametrize(
    ("change", "code"),
    [("revoked_at = now()", sockets.KEY_REVOKED), ("scopes = '{read}'", sockets.SCOPE_LOST)],
)
async def test_it_ends_when_its_key_no_longer_may(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, change: str, code: int
) -> None:
    """Within ten seconds."""
    assert auth.CHECK_S + auth.KEEP_S < 10
    monkeypatch.setattr(sockets, "CHECK_S", 0.3)
    monkeypatch.setattr(auth, "KEEP_S", 0.1)
    async with socket(stack) as opened:
        await trio.sleep(0.7)
        await opened.send("1\n" + body(0))
        assert (await opened.answer())["accepted"] == 1
        await stack.sql(f"UPDATE api_keys SET {change}")
        assert await opened.closing_code() == code


async def test_a_tenant_has_so_many_sockets_at_most(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are not affected; one that is closed makes room."""
    monkeypatch.setattr(sockets, "MOST_PER_TENANT", 2)
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    async with socket(stack):
        async with socket(stack):
            with pytest.raises(Rejected) as caught:
                async with socket(stack):
                    pass
            assert caught.value.status == 429
            assert json.loads(caught.value.body)["code"] == "too_many_sockets"
            async with socket(stack, key=other):
                pass
        with trio.fail_after(10):
            while not await opens(stack):
                await trio.sleep(0.05)


async def opens(stack: Stack) -> bool:
    try:
        async with socket(stack):
            return True
    except Rejected:
        return False


@pytest.mark.parametrize(
    ("key", "target", "protocols", "status"),
    [
        ("atl_0_0", "/v1/ingest", (), 401),
        ("", "/v1/ingest?format=xml", (), 400),
        ("", "/v1/ingest?precision=fortnight", (), 400),
        ("", "/v1/ingest?precison=s", (), 400),
        ("", "/v1/ingest?format=line&db=x", (), 400),
        ("", "/v1/ingest", ("chat",), 400),
    ],
)
async def test_a_handshake_is_refused_as_a_request_is(
    stack: Stack, key: str, target: str, protocols: tuple[str, ...], status: int
) -> None:
    """With a problem document."""
    with pytest.raises(Rejected) as caught:
        async with connect(stack, target, key=key, protocols=protocols):
            pass
    assert caught.value.status == status
    assert json.loads(caught.value.body)["status"] == status


async def test_a_client_that_leaves_gives_its_room_back(stack: Stack) -> None:
    """What it had handed over is stored all the same."""
    async with busy(stack), socket(stack) as opened:
        await opened.send("1\n" + body(5))
        await trio.sleep(0.5)
    with trio.fail_after(10):
        while ("s", "t", START_MS + 5) not in await stored(stack):
            await trio.sleep(0.05)
    async with socket(stack) as opened:
        await opened.send("2\n" + body(9))
        assert (await opened.answer())["accepted"] == 1


async def test_the_server_pings_and_says_that_it_leaves(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1001 after the last answers."""
    monkeypatch.setattr(server, "PING_S", 0.1)
    left = trio.Event()
    async with trio.open_nursery() as nursery:

        async def talk(stack: Stack) -> None:
            async with socket(stack) as opened:
                await opened.send("1\n" + body(0))
                assert (await opened.answer())["accepted"] == 1
                while opened.pings < 3:
                    await opened._receive()
                left.set()
                assert await opened.closing_code() == sockets.LEAVING

        async with open_stack(database_url) as stack:
            nursery.start_soon(talk, stack)
            await left.wait()
