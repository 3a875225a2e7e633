"""The database goes away in silence, refuses, or is full: answers come at once, nothing is lost."""

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest
import trio
from structlog.testing import capture_logs

from atalaia.ports import StoreRefused, StoreSlow, StoreUnavailable
from atalaia.storage.commit import commit_group_aio
from atalaia.storage.database import CODE, DATA, translate
from atalaia.storage.pulse import open_pulse
from tests.stack import START_MS, Stack, row, wired_stack
from tests.wire_to import Wire

pytestmark = pytest.mark.postgres

AT_ONCE_S = 3.0  # a second, and what a busy machine adds


@pytest.fixture
async def wired(database_url: str) -> AsyncIterator[tuple[Stack, Wire]]:
    """The service, whose database is reached over a wire."""
    async with wired_stack(database_url) as both:
        yield both


async def until_ready(stack: Stack, status: int) -> None:
    with trio.fail_after(20):
        while (await stack.client.get("/health/ready")).status_code != status:
            await trio.sleep(0.05)


async def test_a_dead_network_is_answered_at_once_and_forgotten_when_it_is_back(
    wired: tuple[Stack, Wire],
) -> None:
    """503 with Retry-After instead of a wait; liveness stays; then the same batch goes in."""
    stack, wire = wired
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    wire.cut()
    answers = []

    async def ask(method: str, path: str, body: object = None) -> None:
        with trio.fail_after(AT_ONCE_S):
            answers.append(await stack.client.request(method, path, json=body))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "POST", "/v1/readings", [row(START_MS + 1000, 2)])
        nursery.start_soon(ask, "GET", "/v1/alerts")
        nursery.start_soon(ask, "POST", "/v1/rules", {"text": "rule a on sensors when t > 9"})
    await ask("POST", "/v1/readings", [row(START_MS + 1000, 2)])
    assert [answer.status_code for answer in answers] == [503] * 4
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    await until_ready(stack, 503)
    assert (await stack.client.get("/health/live")).status_code == 200

    wire.mend()
    await until_ready(stack, 200)
    with trio.fail_after(20):
        while True:
            answer = await stack.send([row(START_MS + 1000, 2), row(START_MS + 2000, 3)])
            if answer.status_code == 200:
                break
            assert answer.status_code == 503
            await trio.sleep(0.1)
    assert answer.json()["accepted"] + answer.json()["duplicates"] == 2
    assert [r["value"] for r in await stack.sql("SELECT value FROM readings ORDER BY ts")] == [
        1, 2, 3,
    ]  # fmt: skip


async def test_a_commit_that_keeps_failing_lets_nobody_in_and_keeps_nobody_waiting(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk answers every question and takes nothing."""
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    full = True

    async def commit(*args: object) -> list[int]:
        if full:
            raise asyncpg.DiskFullError("no space left on device")
        return await commit_group_aio(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("atalaia.storage.engine_store.commit_group_aio", commit)
    for n in range(3):
        with trio.fail_after(AT_ONCE_S):
            answer = await stack.send([row(START_MS + 1000, 2)])
        assert (answer.status_code, n) == (503, n)
    ready = await stack.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["checks"] == {"database": "ok", "commits": "failing"}
    full = False
    await until_ready(stack, 200)
    answer = await stack.send([row(START_MS + 1000, 2)])
    assert answer.status_code == 200
    assert answer.json()["accepted"] + answer.json()["duplicates"] == 1


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        (
            "REVOKE INSERT ON commit_groups FROM atalaia_writer",
            "GRANT INSERT ON commit_groups TO atalaia_writer",
        ),
        ("ALTER TABLE commit_groups RENAME TO gone", "ALTER TABLE gone RENAME TO commit_groups"),
    ],
)
async def test_what_is_no_reading_s_fault_buries_none(
    stack: Stack, broken: str, mended: str
) -> None:
    """A grant that is lost, a table that is away: 503 until it is mended, and no dead letters."""
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    await stack.sql(broken)
    for n in range(3):
        with trio.fail_after(AT_ONCE_S):
            answer = await stack.send([row(START_MS + 1000, 2)])
        assert (answer.status_code, n) == (503, n)
    await stack.sql(mended)
    await until_ready(stack, 200)
    answer = await stack.send([row(START_MS + 1000, 2)])
    assert answer.json()["accepted"] + answer.json()["duplicates"] == 1
    assert await stack.sql("SELECT FROM dead_letters") == []


@pytest.mark.parametrize(
    ("error", "asked", "written"),
    [
        (asyncpg.UniqueViolationError, StoreRefused, StoreRefused),
        (asyncpg.CharacterNotInRepertoireError, StoreRefused, StoreRefused),
        (asyncpg.RaiseError, StoreRefused, StoreRefused),
        (asyncpg.exceptions._base.DataError, StoreRefused, StoreRefused),
        (asyncpg.UndefinedColumnError, StoreRefused, StoreUnavailable),
        (asyncpg.InsufficientPrivilegeError, StoreRefused, StoreUnavailable),
        (asyncpg.LockNotAvailableError, StoreUnavailable, StoreUnavailable),
        (asyncpg.IndexCorruptedError, StoreUnavailable, StoreUnavailable),
        (asyncpg.InternalServerError, StoreUnavailable, StoreUnavailable),
        (asyncpg.PostgresIOError, StoreUnavailable, StoreUnavailable),
        (asyncpg.ReadOnlySQLTransactionError, StoreUnavailable, StoreUnavailable),
        (asyncpg.DiskFullError, StoreUnavailable, StoreUnavailable),
        (asyncpg.ConnectionDoesNotExistError, StoreUnavailable, StoreUnavailable),
        (asyncpg.InterfaceError, StoreUnavailable, StoreUnavailable),
        (ConnectionResetError, StoreUnavailable, StoreUnavailable),
        (asyncpg.QueryCanceledError, StoreSlow, StoreSlow),
    ],
)
def test_who_is_to_blame(
    error: type[Exception], asked: type[Exception], written: type[Exception]
) -> None:
    """Only what comes again however often it is tried is the data's; of statements a question is
    told, since the fault is in it.
    """
    for refusals, port_error in ((DATA | CODE, asked), (DATA, written)):
        with pytest.raises(port_error) as told:
            translate(error("x"), refusals)
        assert type(told.value) is port_error


async def test_a_busy_thread_of_ours_is_no_outage(stack: Stack) -> None:
    """Who cannot hear the answer must not say that there is none: nothing is cut."""

    async def busy() -> None:
        time.sleep(1.5)  # noqa: ASYNC251 - encoding a very large commit does the same

    with capture_logs() as logs:
        await stack.bridge.call(busy)
        assert (await stack.send([row(START_MS, 1)])).status_code == 200
        await trio.sleep(1)
    assert "database_stopped_answering" not in [line["event"] for line in logs]


async def test_a_database_that_is_slow_to_connect_to_is_there(stack: Stack) -> None:
    """TLS over a distance takes longer than an answer may."""

    async def slowly() -> asyncpg.Connection:
        connection = await asyncpg.connect(stack.database_url)
        await connection.execute("SELECT pg_sleep(0.9)")
        return connection

    async with open_pulse(stack.bridge, (), slowly) as pulse:
        for _ in range(20):
            await trio.sleep(0.1)
            assert pulse.answers
