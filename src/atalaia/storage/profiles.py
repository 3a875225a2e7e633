"""Profiles of sensors: what the sensors with a `profile` tag of that name share."""

from collections.abc import Sequence

import asyncpg

from atalaia.model.audit import AuditEntry
from atalaia.model.condition import UNCONDITIONAL, Condition
from atalaia.model.errors import Conflict
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.views import Profile
from atalaia.storage.audit import write_entry_aio

MAX_PROFILES = 1_000
_LOCK = 0x70726F
_COLUMNS = "name, description, expected_us, rules, created_at, updated_at"


async def profiles_aio(connection: asyncpg.Connection) -> Sequence[Profile]:
    """All of them, by name (code points)."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM profiles ORDER BY name")  # noqa: S608
    return [Profile(**dict(row)) for row in rows]


async def profile_aio(connection: asyncpg.Connection, name: str) -> Profile | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM profiles WHERE name = $1",  # noqa: S608
        name,
    )
    return None if row is None else Profile(**dict(row))


async def save_profile_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    profile: Profile,
    now: Micros,
    audit: AuditEntry,
    only: Condition,
) -> Profile:
    """Make or replace it. Raises Conflict for one too many, PreconditionFailed."""
    await _check_aio(connection, tenant_no, profile.name, only)
    others = await connection.fetchval(
        "SELECT count(*) FROM profiles WHERE name <> $1", profile.name
    )
    if others >= MAX_PROFILES:
        raise Conflict(
            f"A tenant may have {MAX_PROFILES} profiles; delete some first.",
            code="too_many_profiles",
        )
    row = await connection.fetchrow(
        "INSERT INTO profiles (tenant_id, name, description, expected_us, rules, created_at,"  # noqa: S608
        " updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)"
        " ON CONFLICT (tenant_id, name) DO UPDATE SET description = excluded.description,"
        " expected_us = excluded.expected_us, rules = excluded.rules,"
        f" updated_at = excluded.updated_at RETURNING {_COLUMNS}",
        tenant_no,
        profile.name,
        profile.description,
        profile.expected_us,
        profile.rules,
        now,
    )
    await write_entry_aio(connection, tenant_no, audit)
    return Profile(**dict(row))


async def _check_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, name: str, only: Condition
) -> None:
    """One at a time per tenant until the commit, so that neither can two use the last place, nor
    two that have seen the same replace it. Raises PreconditionFailed.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, tenant_no)
    if only != UNCONDITIONAL:
        known = await profile_aio(connection, name)
        only.check(None if known is None else known.tag)


async def drop_profile_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    name: str,
    audit: AuditEntry,
    only: Condition,
) -> bool:
    """Whether there was one. Raises PreconditionFailed."""
    await _check_aio(connection, tenant_no, name, only)
    done = await connection.fetchval("DELETE FROM profiles WHERE name = $1 RETURNING true", name)
    if done:
        await write_entry_aio(connection, tenant_no, audit)
    return bool(done)
