"""Large answers wait for their readers in a bounded room, and not for long."""

from typing import Any
from uuid import UUID

import attrs
import pytest
import trio
import trio.testing

from atalaia.buckets.table import AGGREGATES
from atalaia.http.connection import Connection
from atalaia.http.downloads import LEAST_BYTES_PER_S, WINDOW_S
from atalaia.http.outgoing import SMALL_BYTES, Outgoing
from atalaia.http.patience import Patience
from atalaia.http.room import AnswerRoom
from atalaia.http.series import MOST_POINTS
from atalaia.model.errors import Overloaded, Unavailable
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal
from tests.http.test_connections import post
from tests.http.test_sockets import read
from tests.http.test_stalls import connect
from tests.stack import START_MS, open_stack, row

ONE = Principal(TenantNo(1), UUID(int=1), "", frozenset())
"""Who asks."""


def begin(
    room: AnswerRoom, size: int, line: str = "GET /v1/sensors", status: int = 200, **state: Any
) -> Outgoing:
    """An answer of so many bytes."""
    method, path = line.split()
    outgoing = Outgoing(room)
    scope = {"method": method, "path": path, "state": {"principal": ONE} | state}
    outgoing.begin(scope, status, [(b"Content-Length", b"%d" % size)])
    return outgoing


def test_an_answer_has_its_room_until_it_is_taken() -> None:
    """As many bytes as it has; given back once, whoever says so how often."""
    room = AnswerRoom(tenant_bytes=3 * SMALL_BYTES)
    first = begin(room, 2 * SMALL_BYTES)
    assert isinstance(begin(room, 2 * SMALL_BYTES).refusal, Overloaded)
    for _ in range(2):
        first.end()
    second, third = begin(room, SMALL_BYTES + 1), begin(room, SMALL_BYTES + 1)
    assert (second.refusal, third.refusal) == (None, None)
    second.end()
    third.end()
    assert not room._held


def test_small_answers_and_files_that_all_share_need_no_room() -> None:
    """What a connection costs anyway, and what is in memory once; nor what has no length."""
    room = AnswerRoom(tenant_bytes=0)
    for size, line in (
        (SMALL_BYTES, "GET /v1/sensors"),
        (10**6, "GET /docs/swagger-ui-bundle.js"),
        (10**6, "GET /openapi.json"),
    ):
        assert begin(room, size, line).refusal is None
    streamed = Outgoing(room)
    streamed.begin({"method": "GET", "path": "/v1/export", "state": {}}, 200, [])
    assert streamed.refusal is None
    assert begin(room, 10**6, "GET /metrics", principal=None).refusal is not None


@pytest.mark.parametrize(
    ("line", "status", "done"),
    [
        ("GET /v1/sensors", 200, False),
        ("HEAD /v1/sensors", 200, False),
        ("POST /v1/query", 200, False),
        ("POST /v1/rules:import", 422, False),
        ("POST /v1/rules:import", 200, True),
        ("PATCH /v1/sensors/s", 200, True),
        ("POST /v1/readings", 200, True),
    ],
)
def test_what_is_done_is_not_said_to_be_refused(line: str, status: int, done: bool) -> None:
    """It is 503, of which nobody knows, and says so."""
    refusal = begin(AnswerRoom(tenant_bytes=0), 10**6, line, status).refusal
    assert isinstance(refusal, Unavailable if done else Overloaded)
    assert refusal.detail.startswith("This is done") == done


def test_the_largest_answer_has_room() -> None:
    """Of a question: a time and every aggregate for each point."""
    longest = len('"2026-01-31T12:00:00.000000Z",') + len(AGGREGATES) * len(
        "-1.2345678901234567e-300,"
    )
    assert MOST_POINTS * longest < AnswerRoom().tenant_bytes


@attrs.define(eq=False)
class Slow:
    """A client that takes so long for each part."""

    part_s: float
    taken: int = 0

    async def send_all(self, part: bytes) -> None:
        await trio.sleep(self.part_s)
        self.taken += len(part)

    async def aclose(self) -> None:
        pass

    def setsockopt(self, *args: object) -> None:
        pass


@pytest.mark.parametrize(("part_s", "whole"), [(0.2, True), (20.0, False)])
async def test_a_large_answer_is_taken_at_a_fair_pace(
    autojump_clock: trio.testing.MockClock, part_s: float, whole: bool
) -> None:
    """Else its connection ends, although some of it is always taken."""
    stream, size = Slow(part_s), 8 << 20
    connection: Any = Connection.__new__(Connection)
    connection.stream, connection.send_lock = stream, trio.Lock()
    connection.patience, connection._scope = Patience(), trio.CancelScope()
    began = trio.current_time()
    await connection._send(bytes(size))
    assert (stream.taken == size) == whole
    assert trio.current_time() - began <= WINDOW_S + size / LEAST_BYTES_PER_S
    assert (connection._scope.deadline <= trio.current_time()) != whole


QUERY = b'{"bucket":"1s","fill":"null","agg":["avg","min","max"],"from":%d,"to":%d}' % (
    START_MS, START_MS + 9_000_000,
)  # fmt: skip
"""Some 4 MB, which is more than a kernel keeps of it."""


def use(room: AnswerRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atalaia.http.app.AnswerRoom", lambda: room)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("tenant_bytes", "said"),
    [(5 << 20, (429, "unread_answers")), (12 << 20, (503, "saturated"))],
)
async def test_answers_that_are_not_read_are_bounded(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tenant_bytes: int, said: tuple[int, str]
) -> None:
    """The next one is refused with a delay; small ones and readings pass; once the reader has it
    all, or has left, there is room again.
    """
    room = AnswerRoom(6 << 20, tenant_bytes)
    use(room, monkeypatch)
    async with open_stack(database_url) as stack:
        sent = [row(START_MS, 1.0, f"m{n}") for n in range(10)]
        assert (await stack.send(sent)).status_code == 200
        ask = post(len(QUERY), stack.api_key, path="/v1/query") + QUERY
        for leaves in (True, False):
            async with await connect(stack) as stream:
                await stream.send_all(ask)
                received = await read(stream, b"\r\n\r\n")
                assert received.startswith(b"HTTP/1.1 200 ")
                refused = await stack.client.post("/v1/query", content=QUERY)
                assert (refused.status_code, refused.json()["code"]) == said
                assert int(refused.headers["retry-after"]) > 0
                assert refused.headers["ratelimit"]
                assert (await stack.client.get("/v1/sensors")).status_code == 200
                assert (await stack.send([row(START_MS + 1, 1)])).status_code == 200
                if not leaves:
                    await read_all(stream, received)
            with trio.fail_after(20):
                while room._total:
                    await trio.sleep(0.01)
        assert (await stack.client.post("/v1/query", content=QUERY)).status_code == 200


async def read_all(stream: trio.SocketStream, received: bytes) -> None:
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    size = len(body)
    while size < length:
        part = await stream.receive_some(65_536)
        assert part
        size += len(part)


@pytest.mark.postgres
async def test_what_was_done_is_told_in_short(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room for all that was to be said."""
    use(AnswerRoom(tenant_bytes=0), monkeypatch)
    async with open_stack(database_url) as stack:
        bad = [{"sensor": "s", "metric": "t", "ts": START_MS}] * 1_000
        answer = await stack.send([row(START_MS, 1), *bad])
        assert (answer.status_code, answer.json()["code"]) == (503, "saturated")
        assert (await stack.sql("SELECT count(*) FROM readings"))[0]["count"] == 1
        names = [f"{n:064}" for n in range(300)]
        await stack.send([row(START_MS, 1, name) for name in names])
        answer = await stack.client.patch("/v1/sensors/s", json={"place": "hall 3"})
        assert (answer.status_code, answer.json()["code"]) == (503, "saturated")
        assert answer.json()["detail"].startswith("This is done, but")
        assert (await stack.sql("SELECT place FROM sensors"))[0]["place"] == "hall 3"
        assert (await stack.client.get("/v1/sensors/s")).status_code == 429
