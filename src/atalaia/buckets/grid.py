"""The buckets that a range is cut into: whole ones, in order, each [begin, next begin).

They are aligned to the epoch in UTC, or, when they are days, to midnight in a time zone: such days
may have 23 or 25 hours.
"""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import attrs
import numpy as np

from atalaia.buckets.cells import LEVELS_US
from atalaia.model.batch import Int64s
from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, Micros

_EPOCH = date(1970, 1, 1)


@attrs.frozen(eq=False)
class Grid:
    """edges: where each bucket begins, and where the last one ends."""

    edges: Int64s

    @property
    def starts(self) -> Int64s:
        return self.edges[:-1]

    @property
    def begin(self) -> int:
        return int(self.edges[0])

    @property
    def end(self) -> int:
        return int(self.edges[-1])

    @property
    def level(self) -> int | None:
        """The longest cells that make up every bucket; None when not even minutes do."""
        fitting = [n for n, size in enumerate(LEVELS_US) if not (self.edges % size).any()]
        return fitting[-1] if fitting else None

    def begins(self, ts: Int64s) -> Int64s:
        """Where the bucket of each time begins; the times lie within."""
        return self.edges[np.searchsorted(self.edges, ts, side="right") - 1]


def make_grid(
    since: Micros, until: Micros, bucket_us: int, zone: ZoneInfo | None, most: int
) -> Grid:
    """The buckets from that of `since` to that of `until`, both included: times of readings.

    zone: for buckets of whole days. Raises Invalid for more buckets than `most`.
    """
    if (until - since) // bucket_us >= most:
        raise Invalid(
            f"That would be more than {most} buckets; ask for longer ones or a shorter range.",
            code="too_many_buckets",
        )
    if zone is None:
        first = since // bucket_us
        count = until // bucket_us - first + 1
        return Grid(np.arange(first, first + count + 1, dtype=np.int64) * bucket_us)
    days = bucket_us // DAY_US
    first_day = _day(since, zone) // days * days
    last_day = _day(until, zone) // days * days
    edges = [_midnight(day, zone) for day in range(first_day, last_day + days + 1, days)]
    return Grid(np.unique(np.array(edges, np.int64)))  # a date may have been left out there


def _day(ts: Micros, zone: ZoneInfo) -> int:
    """The days from 1970-01-01 to the date there."""
    moment = datetime.fromtimestamp(ts // 1_000_000, UTC).astimezone(zone)
    return (moment.date() - _EPOCH).days


def _midnight(day: int, zone: ZoneInfo) -> int:
    """Where the day begins there. Where there is no midnight, when the clocks are put on."""
    moment = datetime.combine(_EPOCH + timedelta(days=day), time(), zone)
    return int(moment.timestamp()) * 1_000_000
