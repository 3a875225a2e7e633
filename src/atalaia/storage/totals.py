"""How many there are of what is listed in pages. Costs what looking at all of them costs."""

from typing import assert_never

import asyncpg

from atalaia.model.people import AuditFilter, OfPeople
from atalaia.model.views import AlertFilter, Listed, SensorFilter
from atalaia.storage.alerts import CHOSEN as ALERTS
from atalaia.storage.alerts import SOURCE
from atalaia.storage.audit import CHOSEN as AUDIT
from atalaia.storage.audit import chosen
from atalaia.storage.sensors import CHOSEN as SENSORS

_COUNT = "SELECT count(*) FROM "


async def total_aio(connection: asyncpg.Connection, of: Listed | OfPeople) -> int:
    """Of the current tenant."""
    args: tuple[object, ...] = ()
    match of:
        case SensorFilter():
            statement, args = f"sensors s WHERE {SENSORS}", (of.group, of.profile)
        case AlertFilter():
            statement = f"{SOURCE} WHERE {ALERTS}"
            args = of.state, of.severity, of.sensor, of.rule_id, of.since, of.until
        case AuditFilter():
            statement, args = f"audit WHERE {AUDIT}", chosen(of)
        case "rules":
            statement = "rules WHERE deleted_at IS NULL"
        case "api_keys":
            statement = "api_keys WHERE revoked_at IS NULL"
        case "metrics" | "users":
            statement = of
        case _:
            assert_never(of)
    return int(await connection.fetchval(_COUNT + statement, *args))
