"""Erasing a tenant: a bounded part of it at a time, by the one function that may.

As `atalaia_platform`, which sees no table: what is deleted, in which order, and that only who is
being erased is touched, the function says (migration 0022). How far it is stands in the database,
so that whoever comes after a crash goes on from there.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
import trio

from atalaia.bridge import Bridge
from atalaia.model.audit import COMMAND_LINE, Actor
from atalaia.model.erasure import Begun, ErasureView, check_begun
from atalaia.model.errors import NotFound
from atalaia.model.ids import TenantNo
from atalaia.storage.accounts import transaction_aio
from atalaia.storage.database import setup_connection_aio
from atalaia.storage.tenants import become_aio

STEP_ROWS = 10_000  # some tenth of a second
STEP_TIMEOUT_MS = 60_000


async def begin_erasure_aio(
    connection: asyncpg.Connection, tenant_id: UUID, name: str, by: Actor
) -> Begun:
    await _as_platform_aio(connection)
    sayable = name.replace("\0", "\n")  # Postgres takes no NUL; neither is in a tenant's name
    begun: Begun = await connection.fetchval(
        "SELECT begin_erasure($1, $2, $3, $4)", tenant_id, sayable, by.subject, by.name
    )
    return begun


async def erasure_aio(connection: asyncpg.Connection, tenant_id: UUID) -> ErasureView | None:
    await _as_platform_aio(connection)
    row = await connection.fetchrow("SELECT * FROM show_erasure($1)", tenant_id)
    return None if row is None else _view(row)


async def list_erasures_aio(connection: asyncpg.Connection) -> Sequence[ErasureView]:
    await _as_platform_aio(connection)
    return [_view(row) for row in await connection.fetch("SELECT * FROM list_erasures()")]


async def erase_some_aio(connection: asyncpg.Connection, tenant_id: UUID) -> bool:
    await _as_platform_aio(connection)
    return bool(await connection.fetchval("SELECT erase_some($1, $2)", tenant_id, STEP_ROWS))


async def _as_platform_aio(connection: asyncpg.Connection) -> None:
    # It may lock the end of the platform's audit: who hangs must not keep others from theirs.
    await connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '5s', true)")
    await become_aio(connection, "atalaia_platform")


def _view(row: asyncpg.Record) -> ErasureView:
    return ErasureView(
        TenantNo(row["tenant_no"]),
        row["tenant_uuid"],
        row["began_at"],
        row["finished_at"],
        row["deleted"],
    )


async def erase(
    bridge: Bridge,
    url: str,
    tenant_id: UUID,
    name: str,
    progress: Callable[[ErasureView], None],
) -> ErasureView:
    """Erase a tenant from beginning to end; where it is under way already, go on from there.

    Raises NotFound, Invalid, Conflict, StartupRefused.
    """
    check_begun(await bridge.call(_begin_aio, url, tenant_id, name))
    while True:
        began = trio.current_time()
        view = await bridge.call(_step_aio, url, tenant_id)
        progress(view)
        if view.finished_at is not None:
            return view
        await trio.sleep(trio.current_time() - began)  # others want the disk, too


async def _begin_aio(url: str, tenant_id: UUID, name: str) -> Begun:
    async with transaction_aio(url, "atalaia_platform") as connection:
        return await begin_erasure_aio(connection, tenant_id, name, COMMAND_LINE)


async def _step_aio(url: str, tenant_id: UUID) -> ErasureView:
    async with transaction_aio(url, "atalaia_platform") as connection:
        await setup_connection_aio(connection)
        await erase_some_aio(connection, tenant_id)
        view = await erasure_aio(connection, tenant_id)
        if view is None:
            raise NotFound("There is no tenant with this id.")
        return view
