"""Layouts of the open partition of readings: their tables, their rows, and the commit into them.

A commit is the engine's own (`commit_group_aio`: lease, group id, COPY of fresh rows, ON CONFLICT
for old ones, state). Where there is no unique key one road differs: rows that are not newer than
their series' newest are looked for in the open partition before they are added, all of a group in
one scan. Fresh rows need no look: the engine knows each series' newest time in every layout.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import attrs
import numpy as np

from atalaia.model.batch import Int32s, Int64s
from atalaia.model.ids import DAY_US, SECOND_US, Micros, TenantNo
from atalaia.ports import CommitItem
from atalaia.storage.commit import commit_group_aio
from atalaia.storage.database import setup_connection_aio
from atalaia.storage.partitions import Partition, PartitionMap

TENANTS = 5
ASKED_SERIES = 1_000  # of the first tenant: recovered, asked for, and in the closed days
TODAY = time.time_ns() // 1_000 // DAY_US * DAY_US - 2 * DAY_US

_NONE = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64))
_arrivals = itertools.count(TODAY + 2 * DAY_US)


@dataclass(frozen=True)
class Fleet:
    """Who sends. A day has room for 12 million readings of any fleet."""

    series: int

    @property
    def of_tenant(self) -> int:
        return self.series // TENANTS

    @property
    def step_us(self) -> int:
        """Between two readings of a series."""
        return self.series * SECOND_US * 7 // 1_000

    def number_rows(self, numbers: Int64s) -> tuple[Int32s, Int64s]:
        """Series and times of the rows of these numbers: all series in turn, then the next time."""
        series = (1 + numbers % self.series).astype(np.int32)
        return series, TODAY + numbers // self.series * self.step_us

    def make_items(self, fresh: Int64s, old: Int64s) -> list[CommitItem]:
        """A batch as the actors hand it over: one item per tenant, fresh rows by (series, ts)."""
        items = []
        fresh_series, fresh_ts = self.number_rows(fresh)
        old_series, old_ts = self.number_rows(old)
        for tenant in range(1, TENANTS + 1):
            mine = (fresh_series - 1) // self.of_tenant == tenant - 1
            late = (old_series - 1) // self.of_tenant == tenant - 1
            if mine.any() or late.any():
                items.append(
                    make_item(
                        (fresh_series[mine], fresh_ts[mine]),
                        (old_series[late], old_ts[late]),
                        tenant,
                    )
                )
        return items


@dataclass(frozen=True)
class Layout:
    """index: made on each table of the day; merge: these tables become one when the day closes."""

    name: str
    index: str = ""
    keyed: bool = True
    tables: int = 1


IN_USE = Layout("(series, ts)", "ALTER TABLE {0} ADD PRIMARY KEY (series_id, ts)")
LAYOUTS = (
    IN_USE,
    Layout("(ts, series)", "ALTER TABLE {0} ADD PRIMARY KEY (ts, series_id)"),
    Layout("(series, ts), hours", "ALTER TABLE {0} ADD PRIMARY KEY (series_id, ts)", tables=24),
    Layout(
        "BRIN (ts)", "CREATE INDEX ON {0} USING brin (ts) WITH (pages_per_range = 16)", keyed=False
    ),
    Layout("appended", keyed=False),
)


@dataclass
class OpenDay:
    """Today's readings in one layout. rows: so many have been stored, numbered from 0."""

    layout: Layout
    fleet: Fleet
    prefix: str
    rows: int = 0
    map: PartitionMap = field(init=False)

    def __post_init__(self) -> None:
        width = DAY_US // self.layout.tables
        self.map = PartitionMap.of(
            Partition(TODAY + n * width, TODAY + (n + 1) * width, f"{self.prefix}_{n}")
            for n in range(self.layout.tables)
        )

    @property
    def names(self) -> list[str]:
        return [partition.name for partition in self.map.partitions]

    @property
    def now(self) -> Micros:
        """The newest time stored."""
        return TODAY + (self.rows - 1) // self.fleet.series * self.fleet.step_us

    async def make(self, admin: asyncpg.Connection) -> None:
        for name in self.names:
            # Vacuumed before each round's reads, not whenever another layout is measured.
            await admin.execute(
                f"CREATE TABLE {name} (LIKE readings INCLUDING ALL) WITH (autovacuum_enabled=false)"
            )
            if self.layout.index:
                await admin.execute(self.layout.index.format(name))
            await admin.execute(f"GRANT SELECT, INSERT ON {name} TO atalaia_writer")

    async def vacuum(self, admin: asyncpg.Connection) -> None:
        for name in self.names:
            await admin.execute(f"VACUUM (ANALYZE) {name}")

    async def drop(self, admin: asyncpg.Connection) -> None:
        await admin.execute(f"DROP TABLE {', '.join(self.names)}")

    async def attach(self, admin: asyncpg.Connection) -> None:
        for partition in self.map.partitions:
            await attach(admin, partition)

    async def detach(self, admin: asyncpg.Connection) -> None:
        for name in self.names:
            await admin.execute(f"ALTER TABLE readings DETACH PARTITION {name}")

    async def size(self, admin: asyncpg.Connection) -> int:
        """Bytes on disk, indexes included."""
        sizes = [
            await admin.fetchval("SELECT pg_total_relation_size($1::regclass)", name)
            for name in self.names
        ]
        return sum(sizes)

    async def close(self, admin: asyncpg.Connection) -> None:
        """Give the past its form: one table of a day, key (series, ts).

        The key proves what was promised: it could not be made with a reading stored twice.
        """
        table = self.names[0]
        if len(self.names) > 1:
            day = f"{self.prefix}_day"
            await admin.execute(f"CREATE TABLE {day} (LIKE readings INCLUDING ALL)")
            hours = " UNION ALL ".join(f"SELECT * FROM {name}" for name in self.names)
            await admin.execute(f"INSERT INTO {day} {hours} ORDER BY series_id, ts")
            await self.drop(admin)
            self.map = PartitionMap.of([Partition(TODAY, TODAY + DAY_US, day)])
            table = day
        elif self.layout.keyed and self.layout is not IN_USE:
            await admin.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        if self.layout is not IN_USE:
            await admin.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (series_id, ts)")


async def attach(admin: asyncpg.Connection, partition: Partition) -> None:
    low, high = (f"{np.datetime64(at, 'us')}+00" for at in (partition.from_us, partition.to_us))
    await admin.execute(
        f"ALTER TABLE readings ATTACH PARTITION {partition.name}"
        f" FOR VALUES FROM ('{low}') TO ('{high}')"
    )


async def connect(url: str, role: str | None = None) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    await setup_connection_aio(connection)
    if role is not None:
        await connection.execute(f"SET ROLE {role}")
    return connection


def make_item(
    fresh: tuple[Int32s, Int64s], old: tuple[Int32s, Int64s], tenant: int = 1, shift: float = 0.0
) -> CommitItem:
    """shift: added to the values, which otherwise are a function of the times."""
    order = np.lexsort((fresh[1], fresh[0]))
    series, ts = fresh[0][order], fresh[1][order]
    last = np.append(series[1:] != series[:-1], True)[: len(series)]
    return CommitItem(
        tenant_no=TenantNo(tenant),
        received_at=Micros(next(_arrivals)),
        fresh_series=series,
        fresh_ts=ts,
        fresh_value=ts % 1_000_003 / 7 + shift,
        old_series=old[0],
        old_ts=old[1],
        old_value=old[1] % 1_000_003 / 7 + shift,
        touched=series[last],
        newest=ts[last],
        rule_states=b"",
    )


async def commit(
    connection: asyncpg.Connection,
    day: OpenDay,
    epoch: int,
    group_id: UUID,
    items: Sequence[CommitItem],
) -> list[int]:
    """Inside the caller's transaction, as `commit_group_aio`; its answer too."""
    if day.layout.keyed:
        return await commit_group_aio(connection, day.map, epoch, group_id, items)
    series, ts, value = _NONE
    bare = [attrs.evolve(i, old_series=series, old_ts=ts, old_value=value) for i in items]
    late = await commit_group_aio(connection, day.map, epoch, group_id, bare)
    if any(len(item.old_ts) for item in items):
        late = await append_old(connection, day, items)
        await connection.execute(
            "UPDATE commit_groups SET late = $2 WHERE group_id = $1", group_id, late
        )
    return late


async def append_old(
    connection: asyncpg.Connection, day: OpenDay, items: Sequence[CommitItem]
) -> list[int]:
    """Add those old rows that are nowhere in the open partition; per item, how many."""
    tenant = _each(items, [item.tenant_no for item in items])
    received = _each(items, [item.received_at for item in items])
    series = np.concatenate([item.old_series for item in items])
    ts = np.concatenate([item.old_ts for item in items])
    value = np.concatenate([item.old_value for item in items])
    # A plan made once for all would search the table again for every row.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    new: Counter[tuple[int, int]] = Counter()
    for table, rows in day.map.split(ts):
        added = await connection.fetch(
            "WITH old AS (SELECT DISTINCT ON (series, ts) * FROM unnest($1::int4[], $2::int4[],"
            " $3::timestamptz[], $4::float8[], $5::timestamptz[]) WITH ORDINALITY"
            " AS old (tenant, series, ts, value, received, nr) ORDER BY series, ts, nr)"
            f" INSERT INTO {table} (tenant_id, series_id, ts, value, received_at, late)"
            " SELECT tenant, series, ts, value, received, true FROM old"
            f" WHERE NOT EXISTS (SELECT FROM {table} r WHERE r.series_id = old.series"
            " AND r.ts = old.ts AND r.ts >= $6 AND r.ts <= $7) RETURNING tenant_id, received_at",
            *(column[rows].tolist() for column in (tenant, series, ts, value, received)),
            int(ts[rows].min()),
            int(ts[rows].max()),
        )
        new.update((row["tenant_id"], row["received_at"]) for row in added)
    return [new[item.tenant_no, item.received_at] for item in items]


def _each(items: Sequence[CommitItem], values: Iterable[int]) -> Int64s:
    return np.repeat(np.array(list(values), np.int64), [len(item.old_ts) for item in items])
