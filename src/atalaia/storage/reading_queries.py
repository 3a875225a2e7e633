"""The faces' questions about readings: one base of `PostgresQueries`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

import asyncpg
import attrs
import numpy as np
import trio

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import Micros, SeriesNo, TenantNo
from atalaia.model.stored import NOTHING, Arrivals, Arrived, PackSpan, Rolled, Scan
from atalaia.model.views import Point, SensorView, SeriesView
from atalaia.ports import SeriesFilter
from atalaia.storage.arrivals import SPANS_AT_ONCE, arrivals_aio, arrived_aio, each_once
from atalaia.storage.database import Database
from atalaia.storage.readings import (
    arrivals_before_aio,
    count_late_aio,
    history_chunk_aio,
    points_aio,
    range_aio,
    stored_of_aio,
)
from atalaia.storage.rollups import packs_aio, rolled_aio
from atalaia.storage.scans import scan
from atalaia.storage.selectors import find_series_aio
from atalaia.storage.state import last_received_aio

HISTORY_TIMEOUT_MS = 20_000  # a chunk of a backtest; few run at once
LONG_AT_ONCE = 3
"""How many chunks of scans and of cells are read at once, of the eight connections that everybody
shares: long questions take turns with each other, and not with everybody."""


@attrs.define(eq=False)
class ReadingQueries:
    """Of `Queries` what is about readings."""

    _database: Database
    _long: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LONG_AT_ONCE))

    async def readings(
        self, tenant_no: TenantNo, series: SeriesNo, *, after: Micros, until: Micros, limit: int
    ) -> Sequence[Point]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: range_aio(connection, series, after, until, limit)
        )

    async def latest(
        self, tenant_no: TenantNo, sensor: SensorView, metrics: Sequence[str]
    ) -> Mapping[str, Point]:
        wanted = {metric: sensor.metrics[metric] for metric in metrics}
        at = [(series, ts) for series, ts in wanted.values() if ts is not None]
        points = await self._database.as_tenant(
            tenant_no, lambda connection: points_aio(connection, at)
        )
        return {
            metric: points[series] for metric, (series, _) in wanted.items() if series in points
        }

    async def arrivals_before(
        self, tenant_no: TenantNo, series: Int32s, before: Micros, until: Micros
    ) -> tuple[Int64s, Int64s]:
        async def work(connection: asyncpg.Connection) -> tuple[Int64s, Int64s]:
            return await arrivals_before_aio(connection, series, before, until)

        return await self._database.as_tenant(tenant_no, work, timeout_ms=HISTORY_TIMEOUT_MS)

    async def count_late(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> int:
        return await self._database.as_tenant(
            tenant_no, lambda connection: count_late_aio(connection, series, since, until)
        )

    async def history(
        self,
        tenant_no: TenantNo,
        series: Int32s,
        since: Int64s,
        until: Int64s,
        *,
        late: bool,
        limit: int,
    ) -> tuple[Int32s, Int64s, Floats, Int64s]:
        async def work(
            connection: asyncpg.Connection,
        ) -> tuple[Int32s, Int64s, Floats, Int64s]:
            return await history_chunk_aio(connection, series, since, until, late=late, limit=limit)

        return await self._database.as_tenant(tenant_no, work, timeout_ms=HISTORY_TIMEOUT_MS)

    async def find_series(
        self, tenant_no: TenantNo, wanted: SeriesFilter, limit: int
    ) -> Sequence[SeriesView]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: find_series_aio(connection, wanted, limit)
        )

    async def last_received(self, tenant_no: TenantNo) -> Micros | None:
        return await self._database.as_tenant(tenant_no, last_received_aio)

    def scan(
        self,
        tenant_no: TenantNo,
        series: Int32s,
        since: Int64s,
        until: Int64s,
        *,
        arrived: Micros | None = None,
        ordered: bool = False,
    ) -> AsyncGenerator[Scan, None]:
        return scan(
            self._database,
            self._long,
            tenant_no,
            series,
            since,
            until,
            arrived=arrived,
            ordered=ordered,
        )

    async def rolled(self, tenant_no: TenantNo, series: Int32s) -> Rolled:
        return await self._database.as_tenant(
            tenant_no, lambda connection: rolled_aio(connection, series)
        )

    async def packs(self, tenant_no: TenantNo, spans: Sequence[PackSpan]) -> Sequence[bytes]:
        async with self._long:
            return await self._database.as_tenant(
                tenant_no,
                lambda connection: packs_aio(connection, spans),
                timeout_ms=HISTORY_TIMEOUT_MS,
            )

    async def stored_of(
        self, tenant_no: TenantNo, received_at: Micros, series: Int32s, ts: Int64s
    ) -> tuple[Int32s, Int64s, Floats]:
        return await self._database.as_tenant(
            tenant_no, lambda connection: stored_of_aio(connection, received_at, series, ts)
        )

    async def arrivals(
        self, tenant_no: TenantNo, after: Micros, until: Micros, most_spans: int
    ) -> Arrivals:
        async with self._long:
            return await self._database.as_tenant(
                tenant_no, lambda connection: arrivals_aio(connection, after, until, most_spans)
            )

    async def arrived(self, tenant_no: TenantNo, spans: Arrivals) -> Arrived:
        # Neighbours in time share a chunk, so that each query touches few partitions.
        spans = spans.where(np.argsort(spans.oldest, kind="stable"))
        parts = [NOTHING]
        for start in range(0, len(spans), SPANS_AT_ONCE):
            chunk = spans.where(slice(start, start + SPANS_AT_ONCE))

            work = partial(arrived_aio, spans=chunk)
            async with self._long:
                parts.append(await self._database.as_tenant(tenant_no, work))
        return each_once(parts)
