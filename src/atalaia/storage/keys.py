"""The API keys of one tenant. Only the hash of a secret is ever here."""

from collections.abc import Mapping, Sequence

import asyncpg

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.errors import Conflict
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.people import KeyView
from atalaia.security.api_keys import NewKey
from atalaia.storage.audit import write_entry_aio

MOST_KEYS = 200

_VIEW = "key_id, name, scopes, readings_per_s, bytes_per_s, created_at, expires_at, last_used_at"
_LIVING = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


def _view(row: asyncpg.Record) -> KeyView:
    return KeyView(row["key_id"], row["name"], tuple(row["scopes"]), *tuple(row)[3:])


async def list_keys_aio(
    connection: asyncpg.Connection, after: str, limit: int
) -> Sequence[KeyView]:
    rows = await connection.fetch(
        f"SELECT {_VIEW} FROM api_keys"  # noqa: S608
        ' WHERE revoked_at IS NULL AND key_id COLLATE "C" > $1'
        ' ORDER BY key_id COLLATE "C" LIMIT $2',
        after,
        limit,
    )
    return [_view(row) for row in rows]


async def key_aio(connection: asyncpg.Connection, key_id: str) -> KeyView | None:
    row = await connection.fetchrow(
        f"SELECT {_VIEW} FROM api_keys WHERE key_id = $1 AND revoked_at IS NULL",  # noqa: S608
        key_id,
    )
    return None if row is None else _view(row)


async def create_key_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    key: NewKey,
    name: str,
    scopes: Sequence[str],
    expires_at: Micros | None,
    by: Actor,
) -> KeyView:
    made = await _insert_aio(connection, tenant_no, key, name, scopes, expires_at, (None, None))
    detail = {"name": name, "scopes": list(scopes), "expires_at": expires_at}
    await write_entry_aio(connection, tenant_no, AuditEntry(by, "key.created", key.key_id, detail))
    return made


async def _insert_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    key: NewKey,
    name: str,
    scopes: Sequence[str],
    expires_at: Micros | None,
    quota: tuple[int | None, int | None],
) -> KeyView:
    """quota: readings and bytes a second."""
    living = await connection.fetchval(f"SELECT count(*) FROM api_keys WHERE {_LIVING}")  # noqa: S608
    if living >= MOST_KEYS:
        raise Conflict(f"A tenant may have {MOST_KEYS} keys.", code="too_many_keys")
    row = await connection.fetchrow(
        "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes, expires_at,"  # noqa: S608
        f" readings_per_s, bytes_per_s) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {_VIEW}",
        tenant_no,
        key.key_id,
        key.hash,
        name,
        list(scopes),
        expires_at,
        *quota,
    )
    return _view(row)


async def rotate_key_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    key_id: str,
    key: NewKey,
    overlap_s: int,
    by: Actor,
) -> KeyView | None:
    """The new one may do what the old one may, and lives as long from now as that did from its
    creation. Raises Conflict for one that was replaced before.
    """
    was = await connection.fetchrow(
        "SELECT name, scopes, readings_per_s, bytes_per_s, replaced_at,"  # noqa: S608
        " now() + (expires_at - created_at) AS until"
        f" FROM api_keys WHERE key_id = $1 AND {_LIVING} FOR UPDATE",
        key_id,
    )
    if was is None:
        return None
    if was["replaced_at"] is not None:
        raise Conflict(
            "This key was rotated already: rotate the key that replaced it, or revoke that one and "
            "make another.",
            code="already_rotated",
        )
    quota = was["readings_per_s"], was["bytes_per_s"]
    made = await _insert_aio(
        connection, tenant_no, key, was["name"], was["scopes"], was["until"], quota
    )
    await connection.execute(
        "UPDATE api_keys SET replaced_at = now(), expires_at ="
        " least(expires_at, now() + $2 * interval '1 second') WHERE key_id = $1",
        key_id,
        overlap_s,
    )
    detail = {"replaced": key_id, "overlap_s": overlap_s}
    await write_entry_aio(connection, tenant_no, AuditEntry(by, "key.rotated", key.key_id, detail))
    return made


async def revoke_key_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, key_id: str, by: Actor
) -> bool:
    name = await connection.fetchval(
        "UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL"
        " RETURNING name",
        key_id,
    )
    if name is None:
        return False
    entry = AuditEntry(by, "key.revoked", key_id, {"name": name})
    await write_entry_aio(connection, tenant_no, entry)
    return True


async def touch_keys_aio(connection: asyncpg.Connection, used: Mapping[str, Micros]) -> None:
    await connection.execute("SELECT touch_keys($1, $2)", list(used), list(used.values()))
