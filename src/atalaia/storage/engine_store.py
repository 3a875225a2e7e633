"""The engine's port on Postgres."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import asyncpg
import attrs
import msgspec
import numpy as np
import structlog

from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.ids import Micros, RuleNo, SensorNo, TenantNo
from atalaia.ports import (
    CommitItem,
    SensorRow,
    SeriesRow,
    StoreRefused,
    StoreUnavailable,
    TenantGone,
    TenantImage,
    Waiting,
)
from atalaia.storage.commit import (
    commit_group_aio,
    outlast_commits_aio,
    probe_aio,
    stored_answer_aio,
    take_lease_aio,
)
from atalaia.storage.database import Database
from atalaia.storage.partitions import Partitions, PostgresCatalogue
from atalaia.storage.readings import points_aio, window_chunk_aio
from atalaia.storage.registry import load_register_aio, register_aio, register_sensors_aio
from atalaia.storage.rules import load_rules_aio
from atalaia.storage.state import load_state_aio

log = structlog.get_logger()

CHUNK_SERIES, CHUNK_ROWS = 500, 1_000_000  # per recovery query: bounds memory meanwhile
RECOVERY_TIMEOUT_MS = 120_000
REGISTER_TIMEOUT_MS = 30_000  # a body of 50,000 new series takes 2 s on a quiet machine


@attrs.define(eq=False)
class PostgresEngineStore:
    """Implements `EngineStore` under one lease. Made by `open_engine_store`."""

    _database: Database
    _partitions: Partitions
    epoch: int

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        async def work(connection: asyncpg.Connection) -> TenantImage:
            tenant = await connection.fetchrow(
                "SELECT tenant_uuid, lateness_us FROM tenants WHERE erasing_at IS NULL"
            )
            if tenant is None:
                raise TenantGone(f"tenant {tenant_no} is not registered (any more)")
            sensors, series = await load_register_aio(connection)
            rules = await load_rules_aio(connection)
            state = await load_state_aio(connection)
            top = await connection.fetchval("SELECT coalesce(max(rule_no), 0) FROM rules")
            return TenantImage(
                tenant_id=tenant["tenant_uuid"],
                sensors=sensors,
                series=series,
                newest=state.newest,
                rule_states=state.rule_states,
                rules=rules,
                next_rule_no=RuleNo(top + 1),
                last_received=state.last_received,
                deltas=state.deltas,
                lateness_us=tenant["lateness_us"],
                judged=state.judged,
            )

        return await self._database.as_tenant(tenant_no, work, timeout_ms=RECOVERY_TIMEOUT_MS)

    async def last_heard(
        self, tenant_no: TenantNo, image: TenantImage
    ) -> Mapping[SensorNo, Micros]:
        sensor_of = {row.series_no: row.sensor_no for row in image.series}
        newest = [(series, ts) for series, ts in image.newest.items() if series in sensor_of]
        heard: dict[SensorNo, Micros] = {}
        for start in range(0, len(newest), CHUNK_SERIES):
            chunk = newest[start : start + CHUNK_SERIES]
            points = await self._database.as_tenant(
                tenant_no,
                partial(points_aio, at=chunk),
                timeout_ms=RECOVERY_TIMEOUT_MS,
            )
            for series, point in points.items():
                sensor = sensor_of[series]
                heard[sensor] = max(heard.get(sensor, point.received_at), point.received_at)
        return heard

    async def waiting_tenants(self) -> Waiting:
        async def work(connection: asyncpg.Connection) -> Waiting:
            rows = await connection.fetch(
                "SELECT tenant_id,"
                " (extract(epoch FROM now() - suspended_at) * 1000000)::int8 AS suspended_us"
                " FROM tenants t WHERE erasing_at IS NULL"
                " AND EXISTS (SELECT FROM rules r WHERE r.tenant_id = t.tenant_id"
                " AND waits AND enabled AND deleted_at IS NULL) ORDER BY tenant_id"
            )
            suspended = {row[0]: row[1] for row in rows if row[1] is not None}
            return Waiting([row[0] for row in rows if row[1] is None], suspended)

        return await self._database.as_writer(work)

    async def window_rows(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> AsyncGenerator[tuple[Int32s, Int64s, Floats], None]:
        # Neighbours in time share a chunk, so that each query touches few partitions.
        order = np.argsort(since, kind="stable")
        since = since.copy()
        starts = range(0, len(order), CHUNK_SERIES)
        chunks = [order[start : start + CHUNK_SERIES] for start in reversed(starts)]
        while chunks:
            chunk = chunks.pop()
            bounds = (series[chunk], since[chunk], until[chunk])

            async def work(
                connection: asyncpg.Connection,
                bounds: tuple[Int32s, Int64s, Int64s] = bounds,
            ) -> tuple[Int32s, Int64s, Floats]:
                return await window_chunk_aio(connection, *bounds, CHUNK_ROWS)

            rows = await self._database.as_tenant(tenant_no, work, timeout_ms=RECOVERY_TIMEOUT_MS)
            if len(rows[1]) == CHUNK_ROWS:
                if len(chunk) > 1:  # too many at once
                    half = len(chunk) // 2
                    chunks += [chunk[half:], chunk[:half]]
                    continue
                since[chunk] = rows[1][-1]  # the next ones of this series
                chunks.append(chunk)
            yield rows

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: register_aio(connection, tenant_no, names, now, tags),
            timeout_ms=REGISTER_TIMEOUT_MS,
        )

    async def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        return await self._database.as_tenant(
            tenant_no,
            lambda connection: register_sensors_aio(connection, tenant_no, tags, now, audit),
            timeout_ms=REGISTER_TIMEOUT_MS,
        )

    async def ensure_partitions(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        await self._partitions.ensure(tenant_no, ts, now)

    def uncovered(self, ts: Int64s) -> Int64s:
        return np.flatnonzero(self._partitions.map.uncovered(ts)).astype(np.int64)

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        known = self._partitions.map

        async def commit(connection: asyncpg.Connection) -> list[int]:
            return await commit_group_aio(connection, known, self.epoch, group_id, items)

        try:
            return await self._database.as_writer(commit)
        except (StoreRefused, StoreUnavailable) as error:
            if _tells_of_other_tables(error.__cause__):
                await self._partitions.reload()
                raise StoreUnavailable(f"the tables are not as known: {error}") from error
            if isinstance(error, StoreUnavailable):
                raise
            if isinstance(error.__cause__, asyncpg.RestrictViolationError):  # migration 0022
                raise TenantGone("this tenant is being erased") from error
            if not _is_same_group(error.__cause__):
                raise
        answer = await self._database.as_writer(
            lambda connection: stored_answer_aio(connection, group_id)
        )
        if answer is None:
            raise StoreUnavailable("a commit group vanished while its answer was read")
        return answer

    async def probe(self) -> None:
        await self._database.as_writer(probe_aio)

    async def outlast_commits(self) -> None:
        await self._database.as_writer(outlast_commits_aio)

    async def bury(self, items: Sequence[CommitItem], reason: str) -> None:
        letters = [(item.tenant_no, reason, *_letter(item)) for item in items]

        async def work(connection: asyncpg.Connection) -> None:
            await connection.executemany(
                "INSERT INTO dead_letters (tenant_id, reason, rows, payload)"
                " VALUES ($1, $2, $3, $4)",
                letters,
            )

        await self._database.as_writer(work)

    async def housekeep(self, now: Micros, keep_groups_us: int, oldest: int) -> None:
        """Make the next days' partitions; forget the ids of groups that nobody retries now; drop
        partitions that are over.
        """
        await self._partitions.load(now)
        await self._database.as_writer(
            lambda connection: connection.execute(
                # By the clock that wrote it: ours may step beyond a group that is being retried.
                "DELETE FROM commit_groups"
                " WHERE committed_at < now() - $1 * interval '1 microsecond'",
                keep_groups_us,
            )
        )
        await self._partitions.drop_before(oldest, now)


def _is_same_group(cause: BaseException | None) -> bool:
    return (
        isinstance(cause, asyncpg.UniqueViolationError)
        and cause.constraint_name == "commit_groups_pkey"
    )


def _tells_of_other_tables(cause: BaseException | None) -> bool:
    """A partition that somebody dropped, or that no longer covers its times (no named check)."""
    return isinstance(cause, asyncpg.UndefinedTableError) or (
        isinstance(cause, asyncpg.CheckViolationError) and cause.constraint_name is None
    )


def _letter(item: CommitItem) -> tuple[int, bytes]:
    """How many rows a refused item was to bring, itself or after it, and those as JSON columns:
    readable by a person, loadable by a script.
    """
    parts = [
        (item.fresh_series, item.fresh_ts, item.fresh_value),
        (item.old_series, item.old_ts, item.old_value),
        *item.following,
    ]
    series, ts, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    letter = {
        "series": series.tolist(),
        "ts_us": ts.tolist(),
        "value": value.tolist(),
        "received_at_us": item.received_at,
    }
    return len(ts), msgspec.json.encode(letter)


@asynccontextmanager
async def open_engine_store(database: Database, now: Micros) -> AsyncIterator[PostgresEngineStore]:
    """Take the lease and learn the partitions. Raises StoreUnavailable."""
    partitions = Partitions(PostgresCatalogue(database))
    await partitions.load(now)
    epoch = await database.as_writer(take_lease_aio)
    log.info("lease_taken", epoch=epoch)
    yield PostgresEngineStore(database, partitions, epoch)
