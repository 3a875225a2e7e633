"""The faces' port on Postgres: every query as atalaia_app with one tenant set."""

from collections.abc import Mapping, Sequence, Set
from uuid import UUID

import asyncpg
import attrs

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.condition import UNCONDITIONAL, Condition
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.quota import Quota
from atalaia.model.rule import StoredRule
from atalaia.model.views import (
    AlertFilter,
    AlertStep,
    AlertView,
    DetailColumn,
    Details,
    KeyRecord,
    Listed,
    OpeningView,
    Profile,
    SensorFilter,
    SensorView,
    SettingsView,
    StreamedStep,
)
from atalaia.ports import (
    SensorImage,
    SensorRow,
    SeriesRow,
)
from atalaia.rules.syntax import Selector
from atalaia.storage.alerts import alert_aio, alert_steps_aio, alerts_aio
from atalaia.storage.metrics import drop_unit_aio, list_units_aio, set_unit_aio, units_aio
from atalaia.storage.profiles import (
    drop_profile_aio,
    profile_aio,
    profiles_aio,
    save_profile_aio,
)
from atalaia.storage.reading_queries import HISTORY_TIMEOUT_MS, ReadingQueries
from atalaia.storage.readings import (
    points_aio,
)
from atalaia.storage.registry import load_register_aio, load_sensor_aio
from atalaia.storage.rules import COLUMNS, stored_rule
from atalaia.storage.selectors import count_sensors_aio
from atalaia.storage.sensors import (
    describe_aio,
    described_aio,
    groups_aio,
    sensor_aio,
    sensors_aio,
    tag_names_aio,
)
from atalaia.storage.settings import set_retention_aio, settings_aio
from atalaia.storage.state import sensor_state_aio
from atalaia.storage.totals import total_aio

_FIND_KEY = (
    "SELECT *, find_key_left($1) AS left_s"
    " FROM find_credential($1) c CROSS JOIN LATERAL find_bounds(c.tenant_id, $1) b"
)

NO_TENANT = TenantNo(0)  # numbers start at 1: the policies show nothing


@attrs.define(eq=False)
class PostgresQueries(ReadingQueries):
    """Implements `Queries`."""

    async def find_key(self, key_id: str) -> KeyRecord | None:
        async def work(connection: asyncpg.Connection) -> KeyRecord | None:
            row = await connection.fetchrow(_FIND_KEY, key_id)
            if row is None:
                return None
            quota = Quota(
                row["readings_per_s"],
                row["bytes_per_s"],
                row["max_rules"],
                row["key_readings_per_s"],
                key_id,
                key_bytes_per_s=row["key_bytes_per_s"],
                waiting_bytes=row["waiting_bytes"],
            )
            return KeyRecord(
                row["tenant_id"], row["tenant_uuid"], row["hash"], frozenset(row["scopes"]), quota,
                row["name"], row["suspended"], row["left_s"],
            )  # fmt: skip

        return await self._database.as_tenant(NO_TENANT, work)

    async def find_tenant(self, tenant_id: UUID) -> TenantNo | None:
        found: TenantNo | None = await self._database.as_tenant(
            NO_TENANT, lambda c: c.fetchval("SELECT find_tenant($1)", tenant_id)
        )
        return found

    async def tenant_quota(self, tenant_no: TenantNo) -> Quota:
        async def work(connection: asyncpg.Connection) -> Quota:
            row = await connection.fetchrow(
                "SELECT readings_per_s, bytes_per_s, max_rules, waiting_bytes,"
                " suspended_at IS NOT NULL AS suspended FROM tenants"
            )
            return Quota(suspended=True) if row is None else Quota(**row)  # it is gone

        return await self._database.as_tenant(tenant_no, work)

    async def total(self, tenant_no: TenantNo, of: Listed) -> int:
        return await self._database.as_tenant(
            tenant_no, lambda connection: total_aio(connection, of)
        )

    async def ping(self) -> None:
        await self._database.as_tenant(NO_TENANT, lambda c: c.fetchval("SELECT 1"))

    async def sensors(
        self, tenant_no: TenantNo, wanted: SensorFilter, *, after: str, limit: int
    ) -> Sequence[SensorView]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: sensors_aio(connection, wanted, after, limit)
        )

    async def sensor(self, tenant_no: TenantNo, name: str) -> SensorView | None:
        return await self._database.as_tenant(
            tenant_no, lambda connection: sensor_aio(connection, name)
        )

    async def describe(
        self,
        tenant_no: TenantNo,
        details: Mapping[str, Details],
        columns: Set[DetailColumn],
        audit: AuditEntry,
    ) -> set[str]:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: describe_aio(connection, tenant_no, details, columns, audit),
        )

    async def described(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[tuple[str, Mapping[str, str], Details]]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: described_aio(connection, after, limit)
        )

    async def tag_names(self, tenant_no: TenantNo) -> Sequence[str]:
        return await self._database.as_tenant(tenant_no, tag_names_aio)

    async def groups(self, tenant_no: TenantNo) -> Sequence[tuple[str, int]]:
        return await self._database.as_tenant(tenant_no, groups_aio)

    async def profiles(self, tenant_no: TenantNo) -> Sequence[Profile]:
        return await self._database.as_tenant(tenant_no, profiles_aio)

    async def profile(self, tenant_no: TenantNo, name: str) -> Profile | None:
        return await self._database.as_tenant(
            tenant_no, lambda connection: profile_aio(connection, name)
        )

    async def save_profile(
        self,
        tenant_no: TenantNo,
        profile: Profile,
        now: Micros,
        audit: AuditEntry,
        only: Condition = UNCONDITIONAL,
    ) -> Profile:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: save_profile_aio(connection, tenant_no, profile, now, audit, only),
        )

    async def drop_profile(
        self,
        tenant_no: TenantNo,
        name: str,
        audit: AuditEntry,
        only: Condition = UNCONDITIONAL,
    ) -> bool:
        return await self._database.as_tenant(
            tenant_no, lambda connection: drop_profile_aio(connection, tenant_no, name, audit, only)
        )

    async def settings(self, tenant_no: TenantNo) -> SettingsView:
        return await self._database.as_tenant(tenant_no, settings_aio)

    async def set_retention(self, tenant_no: TenantNo, days: int | None, by: Actor) -> None:
        await self._database.as_tenant(
            tenant_no, lambda connection: set_retention_aio(connection, tenant_no, days, by)
        )

    async def register(
        self, tenant_no: TenantNo
    ) -> tuple[Sequence[SensorRow], Sequence[SeriesRow]]:
        return await self._database.as_tenant(
            tenant_no, load_register_aio, timeout_ms=HISTORY_TIMEOUT_MS
        )

    async def sensor_image(self, tenant_no: TenantNo, name: str) -> SensorImage | None:
        async def work(connection: asyncpg.Connection) -> SensorImage | None:
            found = await load_sensor_aio(connection, name)
            if found is None:
                return None
            sensor, rows = found
            series = {row.metric: row.series_no for row in rows}
            newest, judged, rule_states = await sensor_state_aio(connection, list(series.values()))
            points = await points_aio(connection, list(newest.items()))
            return SensorImage(
                sensor=sensor,
                series=series,
                newest={m: newest[number] for m, number in series.items() if number in newest},
                judged={m: judged[number] for m, number in series.items() if number in judged},
                arrived={
                    m: points[number].received_at
                    for m, number in series.items()
                    if number in points
                },
                rule_states=rule_states,
            )

        return await self._database.as_tenant(tenant_no, work, timeout_ms=HISTORY_TIMEOUT_MS)

    async def rules(self, tenant_no: TenantNo, *, after: int, limit: int) -> Sequence[StoredRule]:
        async def work(connection: asyncpg.Connection) -> Sequence[StoredRule]:
            rows = await connection.fetch(
                f"SELECT {COLUMNS} FROM rules WHERE deleted_at IS NULL"  # noqa: S608
                " AND rule_no > $1 ORDER BY rule_no LIMIT $2",
                after,
                limit,
            )
            return [stored_rule(row) for row in rows]

        return await self._database.as_tenant(tenant_no, work)

    async def rule(self, tenant_no: TenantNo, rule_id: UUID) -> StoredRule | None:
        async def work(connection: asyncpg.Connection) -> StoredRule | None:
            row = await connection.fetchrow(
                f"SELECT {COLUMNS} FROM rules"  # noqa: S608
                " WHERE deleted_at IS NULL AND rule_id = $1",
                rule_id,
            )
            return None if row is None else stored_rule(row)

        return await self._database.as_tenant(tenant_no, work)

    async def rule_named(self, tenant_no: TenantNo, name: str) -> StoredRule | None:
        async def work(connection: asyncpg.Connection) -> StoredRule | None:
            row = await connection.fetchrow(
                f"SELECT {COLUMNS} FROM rules WHERE deleted_at IS NULL AND name = $1",  # noqa: S608
                name,
            )
            return None if row is None else stored_rule(row)

        return await self._database.as_tenant(tenant_no, work)

    async def units(self, tenant_no: TenantNo, metrics: Sequence[str]) -> Mapping[str, str]:
        found = await self._database.as_tenant(
            tenant_no, lambda connection: units_aio(connection, metrics)
        )
        return dict(found)

    async def list_units(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[tuple[str, str]]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: list_units_aio(connection, after, limit)
        )

    async def set_unit(self, tenant_no: TenantNo, metric: str, unit: str) -> None:
        await self._database.as_tenant(
            tenant_no, lambda connection: set_unit_aio(connection, tenant_no, metric, unit)
        )

    async def drop_unit(self, tenant_no: TenantNo, metric: str) -> bool:
        return await self._database.as_tenant(
            tenant_no, lambda connection: drop_unit_aio(connection, metric)
        )

    async def count_sensors(
        self, tenant_no: TenantNo, selectors: Sequence[Selector]
    ) -> Sequence[int]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: count_sensors_aio(connection, selectors)
        )

    async def alerts(
        self,
        tenant_no: TenantNo,
        wanted: AlertFilter,
        *,
        before: tuple[Micros, UUID] | None,
        limit: int,
    ) -> Sequence[AlertView]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: alerts_aio(connection, wanted, before, limit)
        )

    async def alert_steps(
        self,
        tenant_no: TenantNo,
        after: tuple[int, int],
        sensors: Sequence[str] | None,
        limit: int,
    ) -> Sequence[StreamedStep]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: alert_steps_aio(connection, after, sensors, limit)
        )

    async def alert(
        self, tenant_no: TenantNo, alert_id: UUID
    ) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None] | None:
        return await self._database.as_tenant(
            tenant_no, lambda connection: alert_aio(connection, alert_id)
        )
