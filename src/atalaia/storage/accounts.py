"""Making tenants, users and keys. Needs the owner's rights, so it runs on the powerful role.

All of it happens while starting, so every error of the database is a StartupRefused.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import attrs

from atalaia.bridge import Bridge
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import Micros, uuid7
from atalaia.security.api_keys import NewKey

ALL_SCOPES = ("ingest", "read", "admin")

_INSERT_KEY = (
    "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes)"
    " SELECT tenant_id, $2, $3, $4, $5 FROM tenants WHERE tenant_uuid = $1"
)


@attrs.frozen
class NewTenant:
    """A tenant with its first administrator and key."""

    tenant_id: UUID
    name: str
    admin_email: str
    password_hash: str = attrs.field(repr=False)
    key: NewKey = attrs.field(repr=False)
    platform: bool = False
    """Whether its administrator looks after all tenants."""


async def create_tenant(bridge: Bridge, url: str, tenant: NewTenant, now: Micros) -> None:
    """Make all three in one transaction."""
    await bridge.call(_create_aio, url, tenant, now)


async def find_tenant(bridge: Bridge, url: str, admin_email: str) -> UUID | None:
    """The tenant that this user administers."""
    return await bridge.call(_find_aio, url, admin_email)


async def add_key(bridge: Bridge, url: str, tenant_id: UUID, key: NewKey) -> None:
    """One more key that may do everything for its tenant."""
    await bridge.call(_add_key_aio, url, tenant_id, key)


async def tenant_is_known(bridge: Bridge, url: str, tenant_id: UUID) -> bool:
    """Whether that database has it."""
    return await bridge.call(_tenant_is_known_aio, url, tenant_id)


async def key_is_known(bridge: Bridge, url: str, key_id: str) -> bool:
    """Whether a living key with this id is in that database."""
    return await bridge.call(_key_is_known_aio, url, key_id)


@asynccontextmanager
async def transaction_aio(
    url: str, role: str, *, snapshot: bool = False
) -> AsyncIterator[asyncpg.Connection]:
    """snapshot: everything is read as of one moment."""
    isolation = "repeatable_read" if snapshot else "read_committed"
    try:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction(isolation=isolation):
                await connection.execute("SELECT set_config('role', $1, true)", role)
                yield connection
        finally:
            await connection.close()
    except asyncpg.UniqueViolationError as error:
        raise StartupRefused(
            "Another process made this database's first tenant in the same moment. Start again."
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartupRefused(
            f"The database does not give its accounts ({type(error).__name__}: {error})."
        ) from error


async def _create_aio(url: str, tenant: NewTenant, now: Micros) -> None:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        number = await connection.fetchval(
            "INSERT INTO tenants (tenant_uuid, name) VALUES ($1, $2) RETURNING tenant_id",
            tenant.tenant_id,
            tenant.name,
        )
        await connection.execute(
            "INSERT INTO users (tenant_id, user_id, email, password_hash, role, platform)"
            " VALUES ($1, $2, $3, $4, 'admin', $5)",
            number,
            uuid7(now),
            tenant.admin_email,
            tenant.password_hash,
            tenant.platform,
        )
        await _insert_key_aio(connection, tenant.tenant_id, tenant.key, "first key")


async def _find_aio(url: str, admin_email: str) -> UUID | None:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        found: UUID | None = await connection.fetchval(
            "SELECT tenant_uuid FROM users JOIN tenants USING (tenant_id) WHERE platform"
            " ORDER BY email <> $1, user_id LIMIT 1",
            admin_email,
        )
        return found


async def _add_key_aio(url: str, tenant_id: UUID, key: NewKey) -> None:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        await _insert_key_aio(connection, tenant_id, key, "made at a start without credentials")


async def _insert_key_aio(
    connection: asyncpg.Connection, tenant_id: UUID, key: NewKey, name: str
) -> None:
    await connection.execute(_INSERT_KEY, tenant_id, key.key_id, key.hash, name, list(ALL_SCOPES))


async def _tenant_is_known_aio(url: str, tenant_id: UUID) -> bool:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        known = "SELECT EXISTS (SELECT FROM tenants WHERE tenant_uuid = $1)"
        return bool(await connection.fetchval(known, tenant_id))


async def _key_is_known_aio(url: str, key_id: str) -> bool:
    async with transaction_aio(url, "atalaia_app") as connection:
        known = "SELECT EXISTS (SELECT FROM find_api_key($1))"
        return bool(await connection.fetchval(known, key_id))
