"""Sensors and series of one tenant: reading the register, and adding to it within the quota."""

from collections.abc import Mapping, Sequence

import asyncpg

from atalaia.model.audit import AuditEntry
from atalaia.model.batch import SeriesName, Tags
from atalaia.model.errors import Conflict
from atalaia.model.ids import Micros, TenantNo, uuid7
from atalaia.ports import SensorRow, SeriesRow
from atalaia.storage.audit import write_entry_aio

_LOCK = 0x61746C
_SENSOR = "sensor_id, sensor_uuid, name, tags, registered_at, lateness_us"


def _sensor(row: asyncpg.Record) -> SensorRow:
    return SensorRow(
        row["sensor_id"], row["sensor_uuid"], row["name"], row["tags"], row["registered_at"],
        row["lateness_us"],
    )  # fmt: skip


def _series(row: asyncpg.Record) -> SeriesRow:
    return SeriesRow(row["series_id"], row["sensor_id"], row["metric"])


async def load_register_aio(
    connection: asyncpg.Connection,
) -> tuple[list[SensorRow], list[SeriesRow]]:
    """Every living sensor and series of the tenant that this transaction is set to."""
    sensors = await connection.fetch(
        f"SELECT {_SENSOR} FROM sensors WHERE deleted_at IS NULL ORDER BY sensor_id"  # noqa: S608
    )
    series = await connection.fetch(
        "SELECT s.series_id, s.sensor_id, s.metric FROM series s"
        " JOIN sensors USING (tenant_id, sensor_id)"
        " WHERE deleted_at IS NULL ORDER BY s.series_id"
    )
    return [_sensor(row) for row in sensors], [_series(row) for row in series]


async def load_sensor_aio(
    connection: asyncpg.Connection, name: str
) -> tuple[SensorRow, list[SeriesRow]] | None:
    """A living sensor by its name, with its series."""
    row = await connection.fetchrow(
        f"SELECT {_SENSOR} FROM sensors WHERE deleted_at IS NULL AND name = $1",  # noqa: S608
        name,
    )
    if row is None:
        return None
    series = await connection.fetch(
        "SELECT series_id, sensor_id, metric FROM series WHERE sensor_id = $1 ORDER BY series_id",
        row["sensor_id"],
    )
    return _sensor(row), [_series(one) for one in series]


async def register_aio(
    connection: asyncpg.Connection,
    tenant_no: int,
    names: Sequence[SeriesName],
    now: Micros,
    tags: Mapping[str, Tags],
) -> tuple[list[SensorRow], list[SeriesRow]]:
    """Add what is missing of these series, in their order, while the quota has room.

    Returns the sensors and the series that these names stand for now; names beyond the quota are
    not among them. tags: of new sensors, by name. No statement joins the names: Postgres knows
    nothing of the size of what was just inserted, and a nested loop over 10,000 of them took 5 s.
    Only the count joins: 44 ms for 110,000 series.
    """
    await _lock_aio(connection, tenant_no)
    room = await connection.fetchval(
        "SELECT max_series - (SELECT count(*) FROM series JOIN sensors USING (tenant_id, sensor_id)"
        " WHERE deleted_at IS NULL) FROM tenants"
    )
    found = await connection.fetch(
        f"SELECT {_SENSOR} FROM sensors"  # noqa: S608
        " WHERE deleted_at IS NULL AND name = ANY($1)",
        list({name.sensor for name in names}),
    )
    sensors = {row["name"]: _sensor(row) for row in found}
    found = await connection.fetch(
        "SELECT series_id, sensor_id, metric FROM series WHERE sensor_id = ANY($1)",
        [sensor.sensor_no for sensor in sensors.values()],
    )
    series = {(row["sensor_id"], row["metric"]): _series(row) for row in found}

    def known(name: SeriesName) -> SeriesRow | None:
        sensor = sensors.get(name.sensor)
        return None if sensor is None else series.get((sensor.sensor_no, name.metric))

    new = [name for name in names if known(name) is None][: max(room, 0)]
    if new:
        unknown = list(dict.fromkeys(n.sensor for n in new if n.sensor not in sensors))
        theirs = {name: tags.get(name, {}) for name in unknown}
        added = await _insert_aio(connection, tenant_no, theirs, now)
        sensors.update((row.name, row) for row in added)
        made = await connection.fetch(
            "INSERT INTO series (tenant_id, sensor_id, metric)"
            " SELECT $1, sensor, metric FROM unnest($2::int4[], $3::text[]) WITH ORDINALITY"
            " AS new (sensor, metric, nr) ORDER BY nr RETURNING series_id, sensor_id, metric",
            tenant_no,
            [sensors[name.sensor].sensor_no for name in new],
            [name.metric for name in new],
        )
        series.update(((row["sensor_id"], row["metric"]), _series(row)) for row in made)
    rows = [row for name in names if (row := known(name)) is not None]
    return (
        sorted(sensors.values(), key=lambda sensor: sensor.sensor_no),
        sorted(rows, key=lambda row: row.series_no),
    )


async def register_sensors_aio(
    connection: asyncpg.Connection,
    tenant_no: TenantNo,
    tags: Mapping[str, Tags],
    now: Micros,
    audit: AuditEntry,
) -> list[SensorRow]:
    """Add those of these sensors that are missing, in their order. A tenant may have as many
    sensors as series.

    Raises Conflict when there is no room for all of them.
    """
    await _lock_aio(connection, tenant_no)
    room = await connection.fetchval(
        "SELECT max_series - (SELECT count(*) FROM sensors WHERE deleted_at IS NULL) FROM tenants"
    )
    found = await connection.fetch(
        "SELECT name FROM sensors WHERE deleted_at IS NULL AND name = ANY($1)", list(tags)
    )
    there = {row["name"] for row in found}
    new = {name: wanted for name, wanted in tags.items() if name not in there}
    if len(new) > room:
        raise Conflict(
            f"These are {len(new)} new sensors, and there is room for {max(room, 0)}; delete "
            "sensors that are gone, or ask for more room.",
            code="too_many_sensors",
        )
    rows = await _insert_aio(connection, tenant_no, new, now)
    if rows:
        await write_entry_aio(connection, tenant_no, audit)
    return rows


async def _lock_aio(connection: asyncpg.Connection, tenant_no: int) -> None:
    """One registration at a time per tenant, so that two cannot both use the last place."""
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", _LOCK, tenant_no)


async def _insert_aio(
    connection: asyncpg.Connection,
    tenant_no: int,
    tags: Mapping[str, Tags],
    now: Micros,
) -> list[SensorRow]:
    rows = await connection.fetch(
        "INSERT INTO sensors (tenant_id, sensor_uuid, name, tags, registered_at)"  # noqa: S608
        " SELECT $1, id, name, tags, $2 FROM unnest($3::uuid[], $4::text[], $5::jsonb[])"
        f" WITH ORDINALITY AS new (id, name, tags, nr) ORDER BY nr RETURNING {_SENSOR}",
        tenant_no,
        now,
        [uuid7(now) for _ in tags],
        list(tags),
        [dict(wanted) for wanted in tags.values()],
    )
    return [_sensor(row) for row in rows]
