"""Sensors and series of one tenant: reading the register, and adding to it within the quota."""

from collections.abc import Sequence

import asyncpg

from atalaia.model.batch import SeriesName
from atalaia.model.ids import Micros, uuid7
from atalaia.ports import SensorRow, SeriesRow


def _sensor(row: asyncpg.Record) -> SensorRow:
    return SensorRow(
        row["sensor_id"], row["sensor_uuid"], row["name"], row["tags"], row["registered_at"]
    )


def _series(row: asyncpg.Record) -> SeriesRow:
    return SeriesRow(row["series_id"], row["sensor_id"], row["metric"])


async def load_register_aio(
    connection: asyncpg.Connection,
) -> tuple[list[SensorRow], list[SeriesRow]]:
    """Every living sensor and series of the tenant that this transaction is set to."""
    sensors = await connection.fetch(
        "SELECT sensor_id, sensor_uuid, name, tags, registered_at FROM sensors"
        " WHERE deleted_at IS NULL ORDER BY sensor_id"
    )
    series = await connection.fetch(
        "SELECT s.series_id, s.sensor_id, s.metric FROM series s"
        " JOIN sensors USING (tenant_id, sensor_id)"
        " WHERE deleted_at IS NULL ORDER BY s.series_id"
    )
    return [_sensor(row) for row in sensors], [_series(row) for row in series]


async def register_aio(
    connection: asyncpg.Connection, tenant_no: int, names: Sequence[SeriesName], now: Micros
) -> tuple[list[SensorRow], list[SeriesRow]]:
    """Add what is missing of these series, in their order, while the quota has room.

    Returns the sensors and the series that these names stand for now; names beyond the quota
    are not among them.
    """
    # One registration at a time per tenant, so that two of them cannot both use the last place.
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", 0x61746C, tenant_no)
    room = await connection.fetchval(
        "SELECT max_series - (SELECT count(*) FROM series) FROM tenants"
    )
    existing = await connection.fetch(
        "SELECT s.name, e.metric FROM sensors s JOIN series e USING (tenant_id, sensor_id)"
        " WHERE s.deleted_at IS NULL AND s.name = ANY($1)",
        list({name.sensor for name in names}),
    )
    known = {(row["name"], row["metric"]) for row in existing}
    new = [name for name in names if (name.sensor, name.metric) not in known][: max(room, 0)]
    if new:
        sensors = list(dict.fromkeys(name.sensor for name in new))
        await connection.execute(
            "INSERT INTO sensors (tenant_id, sensor_uuid, name, registered_at)"
            " SELECT $1, id, name, $2 FROM unnest($3::uuid[], $4::text[]) WITH ORDINALITY"
            " AS new (id, name, nr) ORDER BY nr"
            " ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO NOTHING",
            tenant_no,
            now,
            [uuid7(now) for _ in sensors],
            sensors,
        )
        await connection.execute(
            "INSERT INTO series (tenant_id, sensor_id, metric)"
            " SELECT $1, s.sensor_id, new.metric FROM unnest($2::text[], $3::text[])"
            " WITH ORDINALITY AS new (sensor, metric, nr) JOIN sensors s"
            " ON s.tenant_id = $1 AND s.name = new.sensor AND s.deleted_at IS NULL ORDER BY nr",
            tenant_no,
            [name.sensor for name in new],
            [name.metric for name in new],
        )
    sensor_rows = await connection.fetch(
        "SELECT sensor_id, sensor_uuid, name, tags, registered_at FROM sensors"
        " WHERE deleted_at IS NULL AND name = ANY($1) ORDER BY sensor_id",
        list({name.sensor for name in names}),
    )
    series_rows = await connection.fetch(
        "SELECT e.series_id, e.sensor_id, e.metric"
        " FROM unnest($1::text[], $2::text[]) AS wanted (sensor, metric)"
        " JOIN sensors s ON s.name = wanted.sensor AND s.deleted_at IS NULL"
        " JOIN series e ON e.tenant_id = s.tenant_id AND e.sensor_id = s.sensor_id"
        " AND e.metric = wanted.metric ORDER BY e.series_id",
        [name.sensor for name in names],
        [name.metric for name in names],
    )
    return [_sensor(row) for row in sensor_rows], [_series(row) for row in series_rows]
