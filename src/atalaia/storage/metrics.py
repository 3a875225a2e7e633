"""What the metrics of a tenant are measured in."""

from collections.abc import Sequence

import asyncpg

from atalaia.model.errors import Conflict
from atalaia.model.ids import TenantNo

MAX_METRICS = 10_000
_LOCK = 0x756E69


async def units_aio(
    connection: asyncpg.Connection, metrics: Sequence[str]
) -> list[tuple[str, str]]:
    """Of those among these metrics that have one."""
    rows = await connection.fetch(
        "SELECT metric, unit FROM metrics WHERE metric = ANY($1)", list(metrics)
    )
    return [(row["metric"], row["unit"]) for row in rows]


async def list_units_aio(
    connection: asyncpg.Connection, after: str, limit: int
) -> list[tuple[str, str]]:
    """By metric (code points), beyond `after`."""
    rows = await connection.fetch(
        "SELECT metric, unit FROM metrics WHERE metric > $1 ORDER BY metric LIMIT $2", after, limit
    )
    return [(row["metric"], row["unit"]) for row in rows]


async def set_unit_aio(
    connection: asyncpg.Connection, tenant_no: TenantNo, metric: str, unit: str
) -> None:
    """Raises Conflict beyond the bound."""
    # One at a time per tenant, so that two of them cannot both use the last place.
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, tenant_no)
    held = await connection.fetchval("SELECT count(*) FROM metrics WHERE metric <> $1", metric)
    if held >= MAX_METRICS:
        raise Conflict(
            f"A tenant may say the units of {MAX_METRICS} metrics; delete some first.",
            code="too_many_units",
        )
    await connection.execute(
        "INSERT INTO metrics (tenant_id, metric, unit) VALUES ($1, $2, $3)"
        " ON CONFLICT (tenant_id, metric) DO UPDATE SET unit = excluded.unit",
        tenant_no,
        metric,
        unit,
    )


async def drop_unit_aio(connection: asyncpg.Connection, metric: str) -> bool:
    """Whether there was one."""
    done = await connection.fetchval("DELETE FROM metrics WHERE metric = $1 RETURNING true", metric)
    return bool(done)
