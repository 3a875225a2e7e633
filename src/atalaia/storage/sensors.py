"""Sensors as their owners see them: what is known of each, and in which groups they are."""

from collections.abc import Mapping, Sequence, Set
from typing import get_args

import asyncpg

from atalaia.model.audit import AuditEntry
from atalaia.model.ids import TenantNo
from atalaia.model.views import (
    DetailColumn,
    Details,
    Location,
    SensorFilter,
    SensorView,
    flat,
)
from atalaia.storage.audit import write_entry_aio
from atalaia.storage.selectors import is_uuid
from atalaia.storage.state import newest_aio

MAX_GROUPS = 1_000
COLUMNS: tuple[DetailColumn, ...] = get_args(DetailColumn)

CHOSEN = (
    "s.deleted_at IS NULL AND ($1::text IS NULL OR s.tags ->> 'group' = $1)"
    " AND ($2::text IS NULL OR s.tags ->> 'profile' = $2)"
)
_LIVING = (
    "SELECT s.*, coalesce(s.expected_us, p.expected_us) AS pace_us FROM sensors s"
    " LEFT JOIN profiles p ON p.tenant_id = s.tenant_id AND p.name = s.tags ->> 'profile'"
    " WHERE s.deleted_at IS NULL"
)


async def sensors_aio(
    connection: asyncpg.Connection, wanted: SensorFilter, after: str, limit: int
) -> list[SensorView]:
    """Living sensors beyond the name `after`, by name (code points)."""
    return await _views_aio(
        connection,
        f" AND {CHOSEN} AND s.name > $3 ORDER BY s.name LIMIT $4",
        wanted.group,
        wanted.profile,
        after,
        limit,
    )


async def sensor_aio(connection: asyncpg.Connection, name: str) -> SensorView | None:
    """A living sensor by its name, or by its id where nobody has that name."""
    found = await _views_aio(connection, " AND s.name = $1", name)
    if not found and is_uuid(name):
        found = await _views_aio(connection, " AND s.sensor_uuid = $1::text::uuid", name)
    return found[0] if found else None


async def _views_aio(
    connection: asyncpg.Connection, condition: str, *args: object
) -> list[SensorView]:
    rows = await connection.fetch(
        "SELECT s.sensor_uuid, s.name, s.tags, s.registered_at, s.lateness_us,"  # noqa: S608
        " s.latitude, s.longitude, s.place, s.expected_us, s.pace_us,"
        " (SELECT array_agg(metric ORDER BY metric) FROM series e"
        "  WHERE (e.tenant_id, e.sensor_id) = (s.tenant_id, s.sensor_id)) AS metrics,"
        " (SELECT array_agg(series_id ORDER BY metric) FROM series e"
        "  WHERE (e.tenant_id, e.sensor_id) = (s.tenant_id, s.sensor_id)) AS series"
        f" FROM ({_LIVING}{condition}) s ORDER BY s.name",
        *args,
    )
    newest = await newest_aio(connection, [n for row in rows for n in row["series"] or ()])
    return [
        SensorView(
            sensor_id=row["sensor_uuid"],
            name=row["name"],
            tags=row["tags"],
            registered_at=row["registered_at"],
            metrics={
                metric: (series, newest.get(series))
                for metric, series in zip(row["metrics"] or (), row["series"] or (), strict=True)
            },
            lateness_us=row["lateness_us"],
            details=_details(row),
            pace_us=row["pace_us"],
        )
        for row in rows
    ]


def _details(row: asyncpg.Record) -> Details:
    at = None
    if row["latitude"] is not None:
        at = Location(row["latitude"], row["longitude"])
    return Details(at, row["place"], row["expected_us"])


async def describe_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    details: Mapping[str, Details],
    columns: Set[DetailColumn],
    audit: AuditEntry,
) -> set[str]:
    """Replace these columns of what is known of sensors; the names of those where it changed."""
    known = [flat(one) for one in details.values()]
    chosen = [name for name in COLUMNS if name in columns]
    if not chosen:
        return set()
    new = ", ".join(f"n.{name}" for name in chosen)
    rows = await connection.fetch(
        "UPDATE sensors s SET "  # noqa: S608 - names of our own
        + ", ".join(f"{name} = n.{name}" for name in chosen)
        + " FROM unnest($1::text[], $2::float8[], $3::float8[], $4::text[], $5::int8[])"
        " AS n (name, latitude, longitude, place, expected_us)"
        " WHERE s.name = n.name AND s.deleted_at IS NULL"
        f" AND ROW({', '.join('s.' + name for name in chosen)}) IS DISTINCT FROM ROW({new})"
        " RETURNING s.name",
        list(details),
        *([one[name] for one in known] for name in COLUMNS),
    )
    if rows:
        await write_entry_aio(connection, tenant_no, audit)
    return {row["name"] for row in rows}


async def described_aio(
    connection: asyncpg.Connection, after: str, limit: int
) -> list[tuple[str, Mapping[str, str], Details]]:
    """Names, tags and details of living sensors beyond a name, by name (code points)."""
    rows = await connection.fetch(
        "SELECT name, tags, latitude, longitude, place, expected_us FROM sensors"
        " WHERE deleted_at IS NULL AND name > $1 ORDER BY name LIMIT $2",
        after,
        limit,
    )
    return [(row["name"], row["tags"], _details(row)) for row in rows]


async def tag_names_aio(connection: asyncpg.Connection) -> list[str]:
    """Of all living sensors."""
    rows = await connection.fetch(
        "SELECT DISTINCT jsonb_object_keys(tags) AS name FROM sensors WHERE deleted_at IS NULL"
    )
    return [row["name"] for row in rows]


async def groups_aio(connection: asyncpg.Connection) -> Sequence[tuple[str, int]]:
    """Groups and how many living sensors each has, by name (code points); at most MAX_GROUPS."""
    rows = await connection.fetch(
        "SELECT tags ->> 'group' COLLATE \"C\" AS name, count(*) AS sensors FROM sensors"
        " WHERE deleted_at IS NULL AND tags ? 'group' GROUP BY 1 ORDER BY 1 LIMIT $1",
        MAX_GROUPS,
    )
    return [(row["name"], row["sensors"]) for row in rows]
