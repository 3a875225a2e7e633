"""Which times have a partition, making the ones that are missing, dropping those that are over.

What exists is kept in memory as one frozen map, asked per batch without waiting and replaced in
one assignment: the asyncio thread commits with the map it took while this side makes new
partitions. Postgres' `ensure_partition` decides between a day and a month.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import asyncpg
import attrs
import numpy as np
import numpy.typing as npt
import structlog
import trio

from atalaia.model.batch import Int64s
from atalaia.model.errors import Overloaded
from atalaia.model.ids import DAY_US, MINUTE_US, SECOND_US, Micros, TenantNo
from atalaia.ports import StoreUnavailable
from atalaia.storage.database import Database

log = structlog.get_logger()

MAX_NEW_PER_BATCH = 8  # making one takes about 20 ms; a batch over 1,000 days must not stall all
DAYS_AHEAD = 2
SPARED_US = 2 * DAY_US
"""How long a partition outlives the last reading that could be stored in it: no batch that was
admitted is still on its way then, and no two clocks are so far apart."""
MAX_DROPS = 8  # at a time: everybody waits for each, if only for a moment
TENANT_BURST = 100  # eight years of months at once: what a new customer's history needs
TENANT_PERIOD_US = MINUTE_US  # then one a minute: the catalogue is everybody's


@attrs.frozen(order=True)
class Partition:
    """[from_us, to_us) is stored in the table `name`."""

    from_us: int
    to_us: int
    name: str


@attrs.frozen(eq=False)
class PartitionMap:
    """Sorted, disjoint partitions. Never changes, so that any thread may hold one."""

    partitions: tuple[Partition, ...]
    _starts: Int64s
    _ends: Int64s

    @classmethod
    def of(cls, partitions: Iterable[Partition]) -> "PartitionMap":
        known = tuple(sorted(set(partitions)))
        return cls(
            known,
            np.array([p.from_us for p in known], np.int64),
            np.array([p.to_us for p in known], np.int64),
        )

    def uncovered(self, ts: Int64s) -> npt.NDArray[np.bool_]:
        """Which times no partition covers."""
        return self._locate(ts) < 0

    def split(self, ts: Int64s) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Each partition's name with the mask of its times.

        Raises StoreUnavailable when a partition is gone that was there when the times were
        admitted: sending them again makes it anew.
        """
        where = self._locate(ts)
        for position in np.unique(where).tolist():
            if position < 0:
                raise StoreUnavailable("a partition of these readings is gone")
            yield self.partitions[position].name, where == position

    def touching(self, since: int, until: int) -> Iterator[str]:
        """The names of those that hold times with since < ts <= until."""
        for partition in self.partitions:
            if partition.from_us <= until and since < partition.to_us - 1:
                yield partition.name

    def _locate(self, ts: Int64s) -> Int64s:
        if not self.partitions:
            return np.full(len(ts), -1, dtype=np.int64)
        at = np.searchsorted(self._starts, ts, side="right") - 1
        return np.where((at >= 0) & (ts < self._ends[at]), at, -1)


class Catalogue(Protocol):
    """Where partitions are kept and made."""

    async def names(self) -> Sequence[str]: ...

    async def make(self, at: int, now: Micros) -> Partition:
        """The partition of this time, made if need be."""
        ...

    async def drop(self, partition: Partition, age_us: int) -> bool:
        """Drop one that ended so long ago; False when that cannot be done now."""
        ...


@attrs.frozen(eq=False)
class PostgresCatalogue:
    """The catalogue of the database, through the functions that the writer may call."""

    _database: Database

    async def names(self) -> Sequence[str]:
        async def work(connection: asyncpg.Connection) -> list[str]:
            return [
                row["name"] for row in await connection.fetch("SELECT * FROM list_partitions()")
            ]

        return await self._database.as_writer(work)

    async def make(self, at: int, now: Micros) -> Partition:
        async def work(connection: asyncpg.Connection) -> asyncpg.Record:
            return await connection.fetchrow("SELECT * FROM ensure_partition($1, $2)", at, now)

        row = await self._database.as_writer(work)
        return Partition(row["from_ts"], row["to_ts"], row["name"])

    async def drop(self, partition: Partition, age_us: int) -> bool:
        async def work(connection: asyncpg.Connection) -> bool:
            query = "SELECT drop_partition($1, $2)"
            return bool(await connection.fetchval(query, partition.name, age_us))

        return await self._database.as_writer(work)


@attrs.define(eq=False)
class Partitions:
    """The map as it stands, and who may still add to it."""

    _catalogue: Catalogue
    map: PartitionMap = attrs.field(factory=lambda: PartitionMap.of(()))
    _changing: trio.Lock = attrs.field(factory=trio.Lock)
    _spent_until: dict[TenantNo, int] = attrs.field(factory=dict)

    async def load(self, now: Micros) -> None:
        """Read what exists and make the next days."""
        await self.reload()
        ahead = np.array([now + day * DAY_US for day in range(DAYS_AHEAD + 1)], np.int64)
        async with self._changing:
            for at in ahead[self.map.uncovered(ahead)].tolist():
                await self._make(at, now)

    async def reload(self) -> None:
        """Read what exists, and forget what does not."""
        async with self._changing:
            names = await self._catalogue.names()
            self.map = PartitionMap.of(parse_partition(name) for name in names)

    async def ensure(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        """Make at most MAX_NEW_PER_BATCH missing partitions for these times, newest first.

        Raises Overloaded when this tenant has made more than its share; those made stay.
        """
        async with self._changing:
            for _ in range(MAX_NEW_PER_BATCH):
                missing = ts[self.map.uncovered(ts)]
                if not len(missing):
                    return
                spent_until = self._share(tenant_no, now)
                await self._make(int(missing.max()), now)
                self._spent_until[tenant_no] = spent_until

    async def drop_before(self, oldest: int, now: Micros) -> None:
        """Drop what lies wholly before `oldest`, the readings of which are refused, with
        SPARED_US to spare. It leaves the map first, so that nobody sets out for it meanwhile.
        """
        age_us = now - oldest + SPARED_US
        async with self._changing:
            known = self.map.partitions
            for over in [p for p in known if p.to_us <= now - age_us][:MAX_DROPS]:
                before, dropped = self.map, False
                self.map = PartitionMap.of(p for p in before.partitions if p != over)
                try:
                    dropped = await self._catalogue.drop(over, age_us)
                finally:
                    if not dropped:
                        self.map = before
                if not dropped:
                    return  # somebody reads for long; the next time, rather than again and again
                log.info("partition_dropped", partition=over.name)

    async def _make(self, at: int, now: Micros) -> None:
        made = await self._catalogue.make(at, now)
        self.map = PartitionMap.of((*self.map.partitions, made))

    def _share(self, tenant_no: TenantNo, now: Micros) -> int:
        """Until when the tenant's share is spent once it has made one more; or raise Overloaded.

        A token bucket as one number per tenant (GCRA, ITU-T I.371): each partition spends
        TENANT_PERIOD_US, and not more than TENANT_BURST of them lie ahead.
        """
        for tenant in [t for t, until in self._spent_until.items() if until <= now]:
            del self._spent_until[tenant]
        full = now + TENANT_BURST * TENANT_PERIOD_US
        # min: a clock that was set back must not shut a tenant out for longer than that.
        spent_until = min(self._spent_until.get(tenant_no, now), full) + TENANT_PERIOD_US
        if spent_until > full:
            raise Overloaded(
                "These readings need more new days or months than this tenant may open now; "
                "send them again after the delay.",
                retry_after_s=-(-(spent_until - full) // SECOND_US),
            )
        return spent_until


def parse_partition(name: str) -> Partition:
    """The range that a partition's name stands for: readings_dYYYYMMDD or readings_mYYYYMM."""
    kind, digits = name[len("readings_")], name[len("readings_") + 1 :]
    year, month = int(digits[:4]), int(digits[4:6])
    start = datetime(year, month, int(digits[6:]) if kind == "d" else 1, tzinfo=UTC)
    from_us = int(start.timestamp()) * 1_000_000
    if kind == "d":
        return Partition(from_us, from_us + DAY_US, name)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return Partition(from_us, int(end.timestamp()) * 1_000_000, name)
