"""A tenant's archive into a file, for whoever holds the database's own credentials."""

from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import BinaryIO
from uuid import UUID

import asyncpg

from atalaia.bridge import Bridge
from atalaia.model.audit import COMMAND_LINE, AuditEntry
from atalaia.model.errors import NotFound, StartupRefused
from atalaia.model.ids import Micros, TenantNo
from atalaia.storage.accounts import transaction_aio
from atalaia.storage.archive import archive
from atalaia.storage.audit import write_entry_aio
from atalaia.storage.database import connect_aio
from atalaia.storage.sessions import enter_tenant_aio
from atalaia.storage.snapshot import open_snapshot


async def save_archive(
    bridge: Bridge, url: str, tenant_id: UUID, file: BinaryIO, now: Micros
) -> None:
    """Write it, and into the tenant's audit that it was taken. now: the time to write into it.

    Raises NotFound, Conflict, StartupRefused, OSError of the file.
    """
    tenant_no = await bridge.call(_find_aio, url, tenant_id)
    connect = partial(connect_aio, partial(asyncpg.connect, url, timeout=10))
    try:
        async with (
            open_snapshot(bridge, connect, nullcontext, _alone, tenant_no) as snapshot,
            aclosing(archive(snapshot, now)) as pieces,
        ):
            head = await anext(pieces)
            await bridge.call(_note_aio, url, tenant_no, tenant_id)
            file.write(head)
            async for piece in pieces:
                file.write(piece)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        raise StartupRefused(
            f"The database does not give the archive ({type(error).__name__}: {error})."
        ) from error


def _alone(connection: asyncpg.Connection) -> AbstractContextManager[None]:
    """Nobody watches: the command's own time limits do."""
    return nullcontext()


async def _find_aio(url: str, tenant_id: UUID) -> TenantNo:
    async with transaction_aio(url, "atalaia_app") as connection:
        found: TenantNo | None = await connection.fetchval("SELECT find_tenant($1)", tenant_id)
    if found is None:
        raise NotFound(f"The database knows no {tenant_id}; `atalaia quotas show` lists all.")
    return found


async def _note_aio(url: str, tenant_no: TenantNo, tenant_id: UUID) -> None:
    async with transaction_aio(url, "atalaia_app") as connection:
        await enter_tenant_aio(connection, tenant_no)
        entry = AuditEntry(COMMAND_LINE, "tenant.exported", str(tenant_id))
        await write_entry_aio(connection, tenant_no, entry)
