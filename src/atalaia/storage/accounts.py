"""Making tenants, users and keys. Needs the owner's rights, so it runs on the powerful role."""

from uuid import UUID

import asyncpg
import attrs

from atalaia.bridge import Bridge
from atalaia.model.ids import Micros, uuid7
from atalaia.security.api_keys import NewKey

ALL_SCOPES = ("ingest", "read", "admin")


@attrs.frozen
class NewTenant:
    """A tenant with its first administrator and key."""

    name: str
    admin_email: str
    password_hash: str = attrs.field(repr=False)
    key: NewKey = attrs.field(repr=False)


async def create_tenant(bridge: Bridge, url: str, tenant: NewTenant, now: Micros) -> UUID:
    """Make all three in one transaction; returns the tenant's id."""
    return await bridge.call(_create_aio, url, tenant, now)


async def key_is_known(bridge: Bridge, url: str, key_id: str) -> bool:
    """Whether a key with this id lives in that database."""
    return await bridge.call(_key_is_known_aio, url, key_id)


async def _create_aio(url: str, tenant: NewTenant, now: Micros) -> UUID:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('role', 'atalaia_migrate', true)")
            tenant_id = uuid7(now)
            number = await connection.fetchval(
                "INSERT INTO tenants (tenant_uuid, name) VALUES ($1, $2) RETURNING tenant_id",
                tenant_id,
                tenant.name,
            )
            await connection.execute(
                "INSERT INTO users (tenant_id, user_id, email, password_hash, role)"
                " VALUES ($1, $2, $3, $4, 'admin')",
                number,
                uuid7(now),
                tenant.admin_email,
                tenant.password_hash,
            )
            await connection.execute(
                "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes)"
                " VALUES ($1, $2, $3, 'first key', $4)",
                number,
                tenant.key.key_id,
                tenant.key.hash,
                list(ALL_SCOPES),
            )
            return tenant_id
    finally:
        await connection.close()


async def _key_is_known_aio(url: str, key_id: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('role', 'atalaia_app', true)")
            known = "SELECT EXISTS (SELECT FROM find_api_key($1))"
            return bool(await connection.fetchval(known, key_id))
    finally:
        await connection.close()
