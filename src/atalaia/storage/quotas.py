"""Reading and writing quotas. Needs the owner's rights, so it runs on the powerful role."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import asyncpg

from atalaia.bridge import Bridge
from atalaia.model.audit import COMMAND_LINE, AuditEntry
from atalaia.model.errors import NotFound
from atalaia.storage.accounts import transaction_aio
from atalaia.storage.audit import write_entry_aio

_SET = {
    "readings": "UPDATE tenants SET readings_per_s = $2 WHERE tenant_uuid = $1",
    "bytes": "UPDATE tenants SET bytes_per_s = $2 WHERE tenant_uuid = $1",
    "series": "UPDATE tenants SET max_series = coalesce($2, 100000) WHERE tenant_uuid = $1",
    "waiting": "UPDATE tenants SET waiting_bytes = $2 WHERE tenant_uuid = $1",
    "rules": "UPDATE tenants SET max_rules = $2 WHERE tenant_uuid = $1",
}
_SET_KEY = {
    "readings": "UPDATE api_keys SET readings_per_s = $2 WHERE key_id = $1",
    "bytes": "UPDATE api_keys SET bytes_per_s = $2 WHERE key_id = $1",
}


async def list_quotas(bridge: Bridge, url: str) -> tuple[Sequence[Any], Sequence[Any]]:
    """Rows of tenants and of keys; NULL: as the process says. Raises StartupRefused."""
    return await bridge.call(_list_aio, url)


async def set_quotas(
    bridge: Bridge, url: str, tenant_id: UUID, values: Mapping[str, int | None]
) -> None:
    """values: by readings, bytes, waiting, series, rules; None takes one away.

    Raises NotFound, StartupRefused.
    """
    await bridge.call(_set_aio, url, "tenant", tenant_id, values)


async def set_key_quota(
    bridge: Bridge, url: str, key_id: str, values: Mapping[str, int | None]
) -> None:
    """values: by readings, bytes. Raises NotFound, StartupRefused."""
    await bridge.call(_set_aio, url, "key", key_id, values)


async def _list_aio(url: str) -> tuple[Sequence[asyncpg.Record], Sequence[asyncpg.Record]]:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        tenants = await connection.fetch(
            "SELECT tenant_uuid, name, readings_per_s, bytes_per_s, waiting_bytes, max_series,"
            " max_rules, (SELECT count(*) FROM series s JOIN sensors USING (tenant_id, sensor_id)"
            "  WHERE s.tenant_id = t.tenant_id AND deleted_at IS NULL) AS series,"
            " (SELECT count(*) FROM rules r WHERE r.tenant_id = t.tenant_id"
            "  AND deleted_at IS NULL) AS rules"
            " FROM tenants t ORDER BY tenant_id"
        )
        keys = await connection.fetch(
            "SELECT key_id, tenant_uuid, k.name, k.readings_per_s, k.bytes_per_s FROM api_keys k"
            " JOIN tenants USING (tenant_id) WHERE revoked_at IS NULL ORDER BY tenant_id, key_id"
        )
        return tenants, keys


async def _set_aio(
    url: str, kind: Literal["tenant", "key"], whose: object, values: Mapping[str, int | None]
) -> None:
    async with transaction_aio(url, "atalaia_migrate") as connection:
        tenant_no = None
        for name, value in values.items():
            statement = (_SET if kind == "tenant" else _SET_KEY)[name]
            tenant_no = await connection.fetchval(f"{statement} RETURNING tenant_id", whose, value)
            if tenant_no is None:
                raise NotFound(f"The database knows no {whose}; `atalaia quotas show` lists all.")
        if tenant_no is not None:
            entry = AuditEntry(COMMAND_LINE, f"{kind}.quota_set", str(whose), dict(values))
            await write_entry_aio(connection, tenant_no, entry)
