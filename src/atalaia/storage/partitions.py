"""Which times have a partition, and making the ones that are missing.

The map is kept in memory (partitions are only ever added while we run) and asked per batch
without waiting; Postgres' `ensure_partition` decides between a day and a month.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import asyncpg
import attrs
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import DAY_US, Micros
from atalaia.storage.database import Database

MAX_NEW_PER_BATCH = 8  # making one takes about 20 ms; a batch over 1,000 days must not stall all
DAYS_AHEAD = 2


@attrs.frozen(order=True)
class Partition:
    """[from_us, to_us) is stored in the table `name`."""

    from_us: int
    to_us: int
    name: str


@attrs.define(eq=False)
class Partitions:
    """The sorted, disjoint partitions that exist."""

    _database: Database
    _known: list[Partition] = attrs.field(factory=list)
    _starts: Int64s = attrs.field(factory=lambda: np.empty(0, np.int64))
    _ends: Int64s = attrs.field(factory=lambda: np.empty(0, np.int64))

    def locate(self, ts: Int64s) -> Int64s:
        """The position of each time's partition in this map's order, -1 where there is none."""
        if not self._known:
            return np.full(len(ts), -1, dtype=np.int64)
        at = np.searchsorted(self._starts, ts, side="right") - 1
        inside = (at >= 0) & (ts < self._ends[at])
        return np.where(inside, at, -1)

    def name(self, position: int) -> str:
        return self._known[position].name

    async def load(self, now: Micros) -> None:
        """Read what exists and make the next days."""

        async def work(connection: asyncpg.Connection) -> list[str]:
            return [
                row["name"] for row in await connection.fetch("SELECT * FROM list_partitions()")
            ]

        self._set(parse_partition(name) for name in await self._database.as_writer(work))
        ahead = np.array([now + day * DAY_US for day in range(DAYS_AHEAD + 1)], np.int64)
        await self.ensure(ahead, now)

    async def ensure(self, ts: Int64s, now: Micros) -> None:
        """Make at most MAX_NEW_PER_BATCH missing partitions for these times, newest first."""
        missing = ts[self.locate(ts) < 0]
        made: list[Partition] = []
        for _ in range(MAX_NEW_PER_BATCH):
            if not len(missing):
                break
            at = int(missing.max())

            async def work(connection: asyncpg.Connection, at: int = at) -> asyncpg.Record:
                return await connection.fetchrow("SELECT * FROM ensure_partition($1, $2)", at, now)

            row = await self._database.as_writer(work)
            made.append(Partition(row["from_ts"], row["to_ts"], row["name"]))
            missing = missing[(missing < row["from_ts"]) | (missing >= row["to_ts"])]
        if made:
            self._set([*self._known, *made])

    def _set(self, partitions: Iterable[Partition]) -> None:
        self._known = sorted(set(partitions))
        self._starts = np.array([p.from_us for p in self._known], np.int64)
        self._ends = np.array([p.to_us for p in self._known], np.int64)


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
