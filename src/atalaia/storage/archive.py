"""All of a tenant as one ZIP archive, made as it is taken: a piece at a time is in memory.

Everything is of one moment (storage/snapshot.py). What the service itself drops while that lasts,
readings beyond the retention, may be missing; nothing else. The manifest is the last file: an
archive without one is not whole.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import msgspec
import numpy as np
import trio

from atalaia.buckets.cells import CELL, LEVELS_US
from atalaia.model.errors import Conflict, NotFound
from atalaia.model.ids import Micros
from atalaia.model.stored import Scan
from atalaia.storage.archive_readme import README
from atalaia.storage.archive_tables import LEFT_OUT, TABLES
from atalaia.storage.migrate import load_migrations
from atalaia.storage.partitions import parse_partition
from atalaia.storage.scans import scan
from atalaia.storage.snapshot import Snapshot
from atalaia.wire.zipped import Zipper

LAYOUT = 1
"""Of the archive: another number when a file of it means something else than before."""

_LEVELS = ("minute", "hour", "day")
_SERIES = (
    "SELECT series_id, sensor_uuid, name, metric FROM series JOIN sensors"
    " USING (tenant_id, sensor_id) ORDER BY series_id"
)
_PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'public.readings'::regclass"
)
_ROLLUPS = (
    "SELECT level, series_id, cells FROM rollups WHERE (level, series_id, at) > ($1, $2, $3)"
    " AND at < $4 ORDER BY level, series_id, at LIMIT 200"
)


class _Names:
    """What every line of a series begins with."""

    def __init__(self, rows: list[asyncpg.Record]) -> None:
        self.numbers = np.array([row["series_id"] for row in rows], np.int32)
        encode = msgspec.json.encode
        self.heads = [
            f'{{"sensor_id":"{row["sensor_uuid"]}","sensor":{encode(row["name"]).decode()},'
            f'"metric":{encode(row["metric"]).decode()}'
            for row in rows
        ]
        self.place = {int(number): nr for nr, number in enumerate(self.numbers)}


async def archive(snapshot: Snapshot, now: Micros) -> AsyncGenerator[bytes, None]:
    """The archive piece by piece. now: the time to write into it.

    Raises NotFound, Conflict before the first piece; on the way as the snapshot does.
    """
    tenant = await snapshot.as_tenant(snapshot.tenant_no, _tenant_aio)
    taken_at = datetime.fromtimestamp(now / 1_000_000, UTC)
    zipper = Zipper(taken_at)
    try:
        async with aclosing(_written(snapshot, zipper, tenant, taken_at)) as steps:
            async for step in steps:
                yield step
    finally:
        zipper.close()


async def _written(
    snapshot: Snapshot, zipper: Zipper, tenant: asyncpg.Record, taken_at: datetime
) -> AsyncGenerator[bytes, None]:
    tenant_no, limiter = snapshot.tenant_no, trio.CapacityLimiter(1)

    async def aside(work: Callable[[], None]) -> bytes:
        await trio.to_thread.run_sync(work, limiter=limiter)
        return zipper.take()

    yield await aside(partial(zipper.add, "README.txt", README.encode()))
    for table in TABLES:
        zipper.begin(f"{table.file}.ndjson")
        async with aclosing(snapshot.lines(table.query, most=table.at_once)) as found:
            async for lines in found:
                data = "".join(f"{line}\n" for line in lines).encode()
                yield await aside(partial(zipper.write, data, len(lines)))
        yield await aside(zipper.end)
    names = _Names(await snapshot.as_tenant(tenant_no, _series_aio))
    months = await snapshot.as_tenant(tenant_no, _months_aio)
    kept_from = await snapshot.as_tenant(tenant_no, partial(_kept_from_aio, months=months))
    zipper.begin("rollups.ndjson")
    async with aclosing(_packs(snapshot, kept_from)) as packs:
        async for rows in packs:
            yield await aside(partial(_write_cells, zipper, names, rows, kept_from))
    yield await aside(zipper.end)
    for begin, end in months:
        begun = False
        async with aclosing(_readings(snapshot, names, begin, end)) as chunks:
            async for chunk in chunks:
                if not begun:
                    zipper.begin(f"readings/{_month(begin)}.ndjson")
                    begun = True
                yield await aside(partial(_write_readings, zipper, names, chunk))
        if begun:
            yield await aside(zipper.end)
    manifest = {
        "layout": LAYOUT,
        "schema": load_migrations()[-1].version,
        "taken_at": taken_at,
        "tenant": {"id": tenant["tenant_uuid"], "name": tenant["name"]},
        "files": zipper.files,
        "left_out": LEFT_OUT,
    }
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    yield await aside(partial(zipper.add, "manifest.json", text))
    yield await aside(zipper.finish)


async def _tenant_aio(connection: asyncpg.Connection) -> asyncpg.Record:
    row = await connection.fetchrow("SELECT tenant_uuid, name, erasing_at FROM tenants")
    if row is None:
        raise NotFound("There is no tenant with this id.")
    if row["erasing_at"] is not None:
        raise Conflict("This tenant is being erased; a part is no archive.", code="erasing")
    return row


async def _series_aio(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(await connection.fetch(_SERIES))


async def _months_aio(connection: asyncpg.Connection) -> list[tuple[int, int]]:
    """[begin, end) of each calendar month that has a partition, in order."""
    rows = await connection.fetch(_PARTITIONS)
    begins = [parse_partition(row["relname"]).from_us for row in rows]
    months = np.unique(np.array(begins, np.int64).astype("datetime64[us]").astype("datetime64[M]"))
    return [
        (int(month.astype("datetime64[us]").astype(np.int64)),
         int((month + 1).astype("datetime64[us]").astype(np.int64)))
        for month in months
    ]  # fmt: skip


async def _kept_from_aio(connection: asyncpg.Connection, months: list[tuple[int, int]]) -> int:
    """Before this there are no readings any more, or not all."""
    first = await connection.fetch(_PARTITIONS)
    since = min((parse_partition(row["relname"]).from_us for row in first), default=0)
    complete = await connection.fetchval("SELECT complete_from FROM rollup_marks")
    return max(since, complete or 0)


async def _packs(
    snapshot: Snapshot, kept_from: int
) -> AsyncGenerator[list[tuple[int, int, bytes]], None]:
    after: tuple[int, int, int] = (-1, 0, 0)
    while True:
        found = await snapshot.as_tenant(
            snapshot.tenant_no, partial(_packs_aio, after=after, kept_from=kept_from)
        )
        if not found:
            return
        yield [(level, series, cells) for level, series, _, cells in found]
        after = found[-1][:3]


async def _packs_aio(
    connection: asyncpg.Connection, after: tuple[int, int, int], kept_from: int
) -> list[tuple[int, int, int, bytes]]:
    query = _ROLLUPS.replace("cells FROM", "at, cells FROM")
    return [tuple(row) for row in await connection.fetch(query, *after, kept_from)]


async def _readings(
    snapshot: Snapshot, names: _Names, begin: int, end: int
) -> AsyncGenerator[Scan, None]:
    """Of a month, by series and time."""
    count = len(names.numbers)
    chunks = scan(
        snapshot,
        trio.CapacityLimiter(1),
        snapshot.tenant_no,
        names.numbers,
        np.full(count, begin - 1, np.int64),
        np.full(count, end - 1, np.int64),
        arrived=None,
        ordered=True,
    )
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


def _write_readings(zipper: Zipper, names: _Names, chunk: Scan) -> None:
    lines = [
        f'{names.heads[span]},"ts":"{ts}Z","value":{value!r},"received_at":"{received}Z",'
        f'"late":{"true" if late else "false"}}}\n'
        for span, ts, value, received, late in zip(
            chunk.span.tolist(), _texts(chunk.ts), chunk.value.tolist(), _texts(chunk.received),
            chunk.late.tolist(), strict=True,
        )
    ]  # fmt: skip
    zipper.write("".join(lines).encode(), len(lines))


def _write_cells(
    zipper: Zipper, names: _Names, rows: list[tuple[int, int, bytes]], kept_from: int
) -> None:
    lines = [line for row in rows for line in _cells(names, *row, kept_from)]
    zipper.write("".join(lines).encode(), len(lines))


def _cells(names: _Names, level: int, series: int, packed: bytes, kept_from: int) -> Iterator[str]:
    cells = np.frombuffer(packed, CELL)
    cells = cells[cells["at"] + LEVELS_US[level] <= max(kept_from, 0)]
    head = names.heads[names.place[series]]
    for at, cell in zip(_texts(cells["at"]), cells.tolist(), strict=True):
        _, count, total, low, high, first, last, spread = cell
        yield (
            f'{head},"level":"{_LEVELS[level]}","at":"{at}Z","count":{count},'
            f'"sum":{_number(total)},"min":{low!r},"max":{high!r},"first":{first!r},'
            f'"last":{last!r},"spread":{_number(spread)}}}\n'
        )


def _number(value: float) -> str:
    """A sum may have gone beyond what a float holds, and JSON has no word for that."""
    return repr(value) if np.isfinite(value) else "null"


def _texts(at: Any) -> list[str]:
    return list(np.datetime_as_string(at.astype("datetime64[us]"), "us"))


def _month(begin: int) -> str:
    return datetime.fromtimestamp(begin // 1_000_000, UTC).strftime("%Y-%m")
