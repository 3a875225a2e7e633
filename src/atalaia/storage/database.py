"""Connections: who may do what, and every error translated once.

Two pools on the bridge's thread: many connections that assume `atalaia_app` with one tenant per
transaction, and one that assumes `atalaia_writer` for commits. Roles and tenant are set
transaction-locally, which holds behind a pooler too. Times are int µs on both sides of the
driver. Functions ending in `_aio` run on the asyncio thread and are called through the bridge.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from contextlib import asynccontextmanager
from functools import partial
from time import time_ns
from typing import Any, NoReturn, TypeVar

import asyncpg
import attrs
import msgspec
import structlog

from atalaia.bridge import Bridge
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import TenantNo
from atalaia.ports import StoreRefused, StoreSlow, StoreUnavailable
from atalaia.storage.binary import PG_EPOCH_US
from atalaia.storage.migrate import migrate_aio
from atalaia.storage.pulse import CONNECT_TIMEOUT_S, Connect, Pulse, open_pulse
from atalaia.storage.snapshot import Snapshot, open_snapshot

log = structlog.get_logger()
T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]

APP_CONNECTIONS = 8  # queries of the HTTP face and recoveries; each query is short
ACQUIRE_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0
QUERY_TIMEOUT_MS = 5_000  # no query of the face may hold a connection longer
MINIMUM_VERSION = 150_000
CLOCKS_DIFFER_S = 2.0

_AS_TENANT = (
    "SELECT set_config('role', 'atalaia_app', true), set_config('app.tenant_id', $1, true),"
    " set_config('statement_timeout', $2, true)"
)
_AS_WRITER = (
    # A backend whose client is gone must not hold the lease and the group's key for long: the
    # retry waits for it. Over a unix socket the first three say nothing.
    "SELECT set_config('tcp_keepalives_idle', '3', true),"
    " set_config('tcp_keepalives_interval', '1', true),"
    " set_config('tcp_keepalives_count', '3', true),"
    " set_config('idle_in_transaction_session_timeout', '5s', true),"
    " set_config('role', 'atalaia_writer', true)"
)

DATA = {"21", "22", "23", "44", "54", "P0"}
"""Classes of SQLSTATE that say: what was sent cannot be stored, now or later. Values, constraints,
limits of a row, and whoever raises something in a trigger.
"""
CODE = {"26", "34", "3F", "42"}
"""A statement that fits neither schema nor grants: for who asks a fault of ours. The writer's are
always the same: there it is the schema that is not as it should be, and no reading's fault.
"""

_DRIVER_ERRORS = (
    OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip


def translate(error: Exception, refusals: Set[str] = DATA | CODE) -> NoReturn:
    """Raise the port's error for a driver's one, with its cause, but without the row that Postgres
    repeats in its detail: what is in rows is the tenants'.

    refusals: classes of SQLSTATE that come again however often it is tried. All else passes: the
    server is away, full, read-only, broken, or somebody else's lock is in the way.
    """
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None
        if isinstance(error, asyncpg.QueryCanceledError):
            raise StoreSlow(str(error)) from error
        if str(error.sqlstate)[:2] in refusals:
            raise StoreRefused(f"{error.sqlstate} {type(error).__name__}: {error}") from error
    elif isinstance(error, ValueError):  # the driver could not write an argument down
        raise StoreRefused(f"{type(error).__name__}: {error}") from error
    raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


@attrs.define(eq=False)
class Database:
    """Both pools. Made by `open_database`."""

    _bridge: Bridge
    _app: asyncpg.Pool
    _writer: asyncpg.Pool
    _pulse: Pulse
    _connect: Connect

    @asynccontextmanager
    async def snapshot(self, tenant_no: TenantNo) -> AsyncIterator[Snapshot]:
        """One moment of a tenant, while inside. Raises as `as_tenant`."""
        try:
            async with open_snapshot(
                self._bridge,
                partial(connect_aio, self._connect),
                self._pulse.watched,
                self._pulse.borrowed,
                tenant_no,
            ) as opened:
                yield opened
        except _DRIVER_ERRORS as error:
            translate(error)

    async def as_tenant(
        self, tenant_no: TenantNo, work: Work[T], *, timeout_ms: int = QUERY_TIMEOUT_MS
    ) -> T:
        """Run `work(connection)` in one transaction as atalaia_app with the tenant set.

        Raises StoreUnavailable or StoreRefused.
        """
        return await self._call(self._app, (_AS_TENANT, str(tenant_no), str(timeout_ms)), work)

    async def as_writer(self, work: Work[T]) -> T:
        """Run `work(connection)` in one transaction as atalaia_writer. Raises StoreRefused for what
        the data alone is to blame for, else StoreUnavailable.
        """
        return await self._call(self._writer, (_AS_WRITER,), work, DATA)

    async def _call(
        self,
        pool: asyncpg.Pool,
        role: Sequence[str],
        work: Work[T],
        refusals: Set[str] = DATA | CODE,
    ) -> T:
        try:
            with self._pulse.watched():
                return await self._bridge.call(_transact_aio, pool, self._pulse, role, work)
        except _DRIVER_ERRORS as error:
            translate(error, refusals)


async def _transact_aio(pool: asyncpg.Pool, pulse: Pulse, role: Sequence[str], work: Work[T]) -> T:
    """role: a statement that assumes it, and its arguments."""
    async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
        with pulse.borrowed(connection):
            async with connection.transaction():
                await connection.execute(*role)
                return await work(connection)


async def connect_aio(connect: Connect) -> asyncpg.Connection:
    """A connection with our types."""
    connection = await connect()
    await setup_connection_aio(connection)
    return connection


async def setup_connection_aio(connection: asyncpg.Connection) -> None:
    """Times as int µs since 1970, jsonb as Python values."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda us: (us - PG_EPOCH_US,),
        decoder=lambda pg: pg[0] + PG_EPOCH_US,
        format="tuple",
    )
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: msgspec.json.encode(value).decode(),
        decoder=msgspec.json.decode,
        format="text",
    )


@asynccontextmanager
async def open_database(bridge: Bridge, url: str) -> AsyncIterator[Database]:
    """Migrate, check that the server keeps its word, open the pools; leaving closes them.

    Raises StartupRefused when the database cannot be reached, is too old, does not write
    through (`fsync`, `synchronous_commit`), or when the roles could see past the policies.
    """
    await bridge.call(prepare_aio, url)
    app, writer = await bridge.call(_open_pools_aio, url)
    try:
        connect = partial(asyncpg.connect, url, timeout=CONNECT_TIMEOUT_S)
        async with open_pulse(bridge, (app, writer), connect) as pulse:
            yield Database(bridge, app, writer, pulse, connect)
    finally:
        await bridge.call(_close_pools_aio, (app, writer))


async def prepare_aio(url: str) -> None:
    """Check the server, run the migrations, check the roles. Raises StartupRefused."""
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartupRefused(
            f"DATABASE_URL does not answer ({type(error).__name__}: {error}). "
            "Check that Postgres runs, and the host, port, user, password and database in it."
        ) from error
    try:
        await _check_server_aio(connection)
        await _compare_clocks_aio(connection)
        done = await migrate_aio(connection)
        if done:
            log.info("schema_migrated", migrations=done)
        await check_roles_aio(connection)
    finally:
        await connection.close()


async def _check_server_aio(connection: asyncpg.Connection) -> None:
    version = int(await connection.fetchval("SHOW server_version_num"))
    if version < MINIMUM_VERSION:
        raise StartupRefused(f"Postgres {version // 10_000} is too old: 15 or newer is needed.")
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        if await connection.fetchval(f"SHOW {setting}") == "off":
            raise StartupRefused(
                f"Postgres runs with {setting} = off: a reading answered with 200 could be lost "
                f"in a crash. Set {setting} = on and start again."
            )


async def _compare_clocks_aio(connection: asyncpg.Connection) -> None:
    """Say when ours is not the database's: arrivals and silence are told by ours."""
    asked = time_ns()
    theirs = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())")
    ours = (asked + time_ns()) / 2 / 1e9
    ahead_s = ours - float(theirs)
    if abs(ahead_s) > CLOCKS_DIFFER_S:
        log.warning("clock_differs_from_database", ahead_s=round(ahead_s, 1))


async def check_roles_aio(connection: asyncpg.Connection) -> None:
    """Refuse to serve when a role that should be fenced in by policies is not."""
    for role in ("atalaia_app", "atalaia_writer", "atalaia_platform"):
        async with connection.transaction():
            await connection.execute("SELECT set_config('role', $1, true)", role)
            row = await connection.fetchrow(
                "SELECT rolsuper, rolbypassrls,"
                " EXISTS (SELECT FROM pg_class WHERE relowner = r.oid) AS owns,"
                " pg_has_role(r.oid, 'atalaia_migrate', 'MEMBER') AS migrates"
                " FROM pg_roles r WHERE rolname = current_user"
            )
        powers = [name for name, held in row.items() if held]
        if powers:
            raise StartupRefused(
                f"The role {role} could see past row-level security ({', '.join(powers)}). "
                f"Run: ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS, and take from it every table "
                "and the membership in atalaia_migrate."
            )


async def _open_pools_aio(url: str) -> tuple[asyncpg.Pool, asyncpg.Pool]:
    async def pool(size: int) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            init=setup_connection_aio,
            command_timeout=COMMAND_TIMEOUT_S,
            timeout=ACQUIRE_TIMEOUT_S,
            max_inactive_connection_lifetime=0,
        )

    return await pool(APP_CONNECTIONS), await pool(1)


async def _close_pools_aio(pools: tuple[Any, ...]) -> None:
    for pool in pools:
        pool.terminate()
