"""Stored readings and rollups as they are handed on: columns, spans, and how far things are."""

import attrs

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
