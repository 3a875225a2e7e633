"""Long readings of readings: chunk by chunk, each a transaction of its own.

No connection is held between two chunks, so that whoever takes them slowly keeps nobody waiting.
"""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Protocol, TypeVar

import attrs
import numpy as np
import trio

from atalaia.model.batch import Int32s, Int64s
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.stored import Scan
from atalaia.storage.database import Work
from atalaia.storage.readings import scan_aio

T = TypeVar("T")

CHUNK_ROWS = 100_000  # some 5 MB as they come
TOGETHER = 64
SCAN_TIMEOUT_MS = 20_000


class Reader(Protocol):
    """The database as it goes on, or one moment of it."""

    async def as_tenant(self, tenant_no: TenantNo, work: Work[T], *, timeout_ms: int) -> T: ...


async def scan(
    database: Reader,
    turns: trio.CapacityLimiter,
    tenant_no: TenantNo,
    series: Int32s,
    since: Int64s,
    until: Int64s,
    *,
    arrived: Micros | None,
    ordered: bool,
    chunk_rows: int = CHUNK_ROWS,
) -> AsyncGenerator[Scan, None]:
    """As `Queries.scan` says. turns: each chunk waits for one."""
    since = since.copy()
    waiting = np.flatnonzero(since < until)
    together = TOGETHER
    while len(waiting):
        spans = waiting[:together]
        each = max(1, chunk_rows // len(spans))
        chunk = partial(
            scan_aio,
            series=series[spans],
            since=since[spans],
            until=until[spans],
            arrived=arrived,
            each=each,
        )
        async with turns:
            rows = await database.as_tenant(tenant_no, chunk, timeout_ms=SCAN_TIMEOUT_MS)
        count = np.bincount(rows.span, minlength=len(spans))
        full = count == each
        together = TOGETHER
        if ordered and full.any():  # go on with this one alone; what was read beyond it was in vain
            most = int(np.argmax(full)) + 1
            spans, count, full = spans[:most], count[:most], full[:most]
            rows = rows.where(slice(int(count.sum())))
            together = 1
        since[spans[full]] = rows.ts[np.cumsum(count)[full] - 1]
        waiting = np.concatenate((spans[full], waiting[len(spans) :]))
        if len(rows):
            yield attrs.evolve(rows, span=spans[rows.span])
