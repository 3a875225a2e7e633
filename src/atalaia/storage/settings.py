"""What a tenant chooses for all of its sensors."""

import asyncpg

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.ids import TenantNo
from atalaia.model.views import SettingsView
from atalaia.storage.audit import write_entry_aio


async def settings_aio(connection: asyncpg.Connection) -> SettingsView:
    row = await connection.fetchrow("SELECT lateness_us, retention_days FROM tenants")
    return SettingsView(row["lateness_us"], row["retention_days"])


async def set_retention_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, days: int | None, by: Actor
) -> None:
    # No more than the update locks: foreign keys, the audit's and commits' among them, look there.
    before = await connection.fetchval("SELECT retention_days FROM tenants FOR NO KEY UPDATE")
    if before == days:
        return
    await connection.execute("UPDATE tenants SET retention_days = $1", days)
    detail = {"days": days, "days_before": before}
    entry = AuditEntry(by, "settings.retention_changed", "", detail)
    await write_entry_aio(connection, tenant_no, entry)
