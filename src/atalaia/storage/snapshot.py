"""One moment of one tenant, for as long as somebody reads it.

On two connections of their own, so that nobody else waits for one: the first holds the moment open
(REPEATABLE READ) and reads tables through cursors; the second reads everything else in short
transactions that see the same moment, so that locks on partitions are not kept and piled up. As
`atalaia_app` with the tenant set: row-level security is what keeps others' rows out.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg
import attrs
import trio

from atalaia.bridge import Bridge
from atalaia.model.errors import Unavailable
from atalaia.model.ids import TenantNo

T = TypeVar("T")
Connect = Callable[[], Awaitable[asyncpg.Connection]]
Watched = Callable[[], AbstractContextManager[None]]
Lend = Callable[[asyncpg.Connection], AbstractContextManager[None]]

LONGEST_S = 6 * 3_600.0
"""No moment is held for longer: what others delete cannot be cleaned up meanwhile."""

IDLE_MS = 300_000  # between two chunks, which may have 16 MiB: whoever takes them at 64 KiB/s
TIMEOUT_MS = 60_000
CLOSE_S = 5.0

_BEGIN = (
    "SELECT set_config('role', 'atalaia_app', true), set_config('app.tenant_id', $1, true),"
    " set_config('statement_timeout', $2, true), set_config('timezone', 'UTC', true),"
    " set_config('idle_in_transaction_session_timeout', $3, true)"
)


@attrs.define(eq=False)
class Snapshot:
    """Made by `open_snapshot`."""

    tenant_no: TenantNo
    _bridge: Bridge
    _watched: Watched
    _holder: asyncpg.Connection
    _worker: asyncpg.Connection
    _name: str
    _until: float

    async def as_tenant(
        self,
        tenant_no: TenantNo,
        work: Callable[[asyncpg.Connection], Awaitable[T]],
        *,
        timeout_ms: int = TIMEOUT_MS,
    ) -> T:
        """As `Database.as_tenant`, of this moment and for this tenant alone."""
        if tenant_no != self.tenant_no:
            raise AssertionError("a snapshot is of one tenant")
        await self._call(partial(_stay_aio, self._holder))
        return await self._call(partial(self._transact_aio, work, timeout_ms))

    async def lines(self, query: str, *args: object, most: int) -> AsyncGenerator[list[str], None]:
        """The texts of a query's one column, so many at a time."""
        cursor = await self._call(partial(_cursor_aio, self._holder, query, args))
        while found := await self._call(partial(_fetch_aio, cursor, most)):
            yield found

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if trio.current_time() > self._until:
            raise Unavailable("This took too long, and what was read is no longer held.")
        with self._watched():
            return await self._bridge.call(work)

    async def _transact_aio(
        self, work: Callable[[asyncpg.Connection], Awaitable[T]], timeout_ms: int
    ) -> T:
        async with self._worker.transaction(isolation="repeatable_read", readonly=True):
            await self._worker.execute(f"SET TRANSACTION SNAPSHOT '{self._name}'")
            await self._worker.execute(
                _BEGIN, str(self.tenant_no), str(timeout_ms), str(timeout_ms)
            )
            return await work(self._worker)


async def _stay_aio(holder: asyncpg.Connection) -> None:
    await holder.execute("SELECT 1")


async def _cursor_aio(holder: asyncpg.Connection, query: str, args: tuple[object, ...]) -> Any:
    return await holder.cursor(query, *args)


async def _fetch_aio(cursor: Any, most: int) -> list[str]:
    return [row[0] for row in await cursor.fetch(most)]


async def _begin_aio(holder: asyncpg.Connection, tenant_no: TenantNo) -> str:
    await holder.transaction(isolation="repeatable_read", readonly=True).start()
    await holder.execute(_BEGIN, str(tenant_no), str(TIMEOUT_MS), str(IDLE_MS))
    return str(await holder.fetchval("SELECT pg_export_snapshot()"))


async def _open_aio(
    connect: Connect, lend: Lend
) -> tuple[asyncpg.Connection, AbstractContextManager[None]]:
    connection = await connect()
    lent = lend(connection)
    lent.__enter__()
    return connection, lent


async def _close_aio(connection: asyncpg.Connection, lent: AbstractContextManager[None]) -> None:
    lent.__exit__(None, None, None)
    connection.terminate()


@asynccontextmanager
async def open_snapshot(
    bridge: Bridge, connect: Connect, watched: Watched, lend: Lend, tenant_no: TenantNo
) -> AsyncIterator[Snapshot]:
    """connect: makes a connection with our types. Errors stay the driver's.

    watched, lend: around each question, and around each connection on the asyncio thread: who
    watches the database cuts both when it stops answering.
    """
    opened: list[tuple[asyncpg.Connection, AbstractContextManager[None]]] = []
    try:
        with watched():
            opened.append(await bridge.call(_open_aio, connect, lend))
            opened.append(await bridge.call(_open_aio, connect, lend))
            (holder, _), (worker, _) = opened
            name = await bridge.call(_begin_aio, holder, tenant_no)
        until = trio.current_time() + LONGEST_S
        yield Snapshot(tenant_no, bridge, watched, holder, worker, name, until)
    finally:
        with trio.move_on_after(CLOSE_S, shield=True):
            for connection, lent in opened:
                await bridge.call(_close_aio, connection, lent)
