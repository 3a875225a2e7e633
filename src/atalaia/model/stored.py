"""Stored readings and rollups as they are handed on: columns, spans, and how far things are."""

import attrs
import numpy as np

from atalaia.model.batch import Bools, Floats, Int32s, Int64s
from atalaia.model.ids import Micros, SeriesNo


@attrs.frozen(eq=False)
class Scan:
    """Stored readings as columns, sorted by (span, ts). span: for which of the spans asked for."""

    span: Int64s
    ts: Int64s
    value: Floats
    received: Int64s
    late: Bools

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, rows: Int64s | slice) -> "Scan":
        return Scan(
            self.span[rows], self.ts[rows], self.value[rows], self.received[rows], self.late[rows]
        )


@attrs.frozen(eq=False)
class Rolled:
    """How far a tenant's rollups go: up to `mark`, but for these hours of these series."""

    mark: Micros
    series: Int32s
    hours: Int64s


@attrs.frozen(eq=False)
class PackSpan:
    """A stretch of one series at one level of the rollups: [begin, end)."""

    level: int
    series: SeriesNo
    begin: int
    end: int


@attrs.frozen
class RollStep:
    """What a step of the rollups wrote, and how many readings it deleted that were to go. more:
    there is more to do right now.
    """

    packs: int
    more: bool
    deleted: int = 0


@attrs.frozen(eq=False)
class Arrivals:
    """Where the readings are that came since, in the order of their commits: `counts` of them at
    most lie between the oldest and the newest of a series, and arrived at `received`. after: since
    when; what came until then is left out.
    """

    after: Micros
    received: Int64s
    series: Int32s
    oldest: Int64s
    newest: Int64s
    counts: Int64s

    def __len__(self) -> int:
        return len(self.series)

    def where(self, rows: Bools | Int64s | slice) -> "Arrivals":
        return Arrivals(
            self.after,
            self.received[rows],
            self.series[rows],
            self.oldest[rows],
            self.newest[rows],
            self.counts[rows],
        )

    def last(self, most: int) -> "Arrivals":
        """The newest commits that have so many readings together at most."""
        back = np.cumsum(self.counts[::-1])[::-1]
        over = np.flatnonzero(back > most)
        if not len(over):
            return self
        after = Micros(int(self.received[over[-1]]))
        return attrs.evolve(self.where(self.received > after), after=after)


@attrs.frozen(eq=False)
class Arrived:
    """Stored readings as columns, in the order of (received, series, ts)."""

    received: Int64s
    series: Int32s
    ts: Int64s
    value: Floats


NOTHING = Arrived(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
