"""All tenants, for those who look after them: as `atalaia_platform`, which sees no table and may
call a few functions. What is then done in a tenant is done as the application, under its policies.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.errors import Conflict
from atalaia.model.ids import TenantNo
from atalaia.model.people import NewLink, TenantView
from atalaia.storage.audit import write_entry_aio
from atalaia.storage.sessions import ELSEWHERE, enter_tenant_aio, find_login_aio
from atalaia.storage.users import invite_aio


async def become_aio(connection: asyncpg.Connection, role: str) -> None:
    await connection.execute("SELECT set_config('role', $1, true)", role)


async def list_tenants_aio(
    connection: asyncpg.Connection, after: int, limit: int
) -> Sequence[TenantView]:
    await become_aio(connection, "atalaia_platform")
    rows = await connection.fetch("SELECT * FROM list_tenants($1, $2)", after, limit)
    return [TenantView(*row) for row in rows]


async def count_tenants_aio(connection: asyncpg.Connection) -> int:
    await become_aio(connection, "atalaia_platform")
    return int(await connection.fetchval("SELECT count(*) FROM list_tenants(0, NULL)"))


async def tenant_aio(connection: asyncpg.Connection, tenant_id: UUID) -> TenantView | None:
    await become_aio(connection, "atalaia_platform")
    row = await connection.fetchrow("SELECT * FROM show_tenant($1)", tenant_id)
    return None if row is None else TenantView(*row)


async def create_tenant_aio(
    connection: asyncpg.Connection,
    tenant_id: UUID,
    name: str,
    admin_email: str,
    link: NewLink,
    by: Actor,
) -> TenantView:
    """All of it or nothing. Raises Conflict when the address signs in to another tenant."""
    await become_aio(connection, "atalaia_platform")
    tenant_no = TenantNo(await connection.fetchval("SELECT make_tenant($1, $2)", tenant_id, name))
    made = await connection.fetchrow("SELECT * FROM show_tenant($1)", tenant_id)
    await become_aio(connection, "atalaia_app")
    if await find_login_aio(connection, admin_email) is not None:
        raise Conflict(ELSEWHERE, code="email_taken")
    await enter_tenant_aio(connection, tenant_no)
    entry = AuditEntry(by, "tenant.created", str(tenant_id), {"name": name})
    await write_entry_aio(connection, tenant_no, entry)
    await invite_aio(connection, tenant_no, admin_email, "admin", link, by)
    return TenantView(*made)


async def suspend_aio(
    connection: asyncpg.Connection, tenant_id: UUID, suspended: bool, by: Actor
) -> TenantView | None:
    await become_aio(connection, "atalaia_platform")
    changed = await connection.fetchval("SELECT suspend_tenant($1, $2)", tenant_id, suspended)
    found = await tenant_aio(connection, tenant_id)
    if changed is not None:
        await become_aio(connection, "atalaia_app")
        await enter_tenant_aio(connection, changed)
        action = "tenant.suspended" if suspended else "tenant.resumed"
        await write_entry_aio(connection, changed, AuditEntry(by, action, str(tenant_id)))
    return found
