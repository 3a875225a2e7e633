"""Stored readings of some series in one order, from a store that is asked for slices of time.

Only those series are asked on whose readings their sensor waits, and how far a slice reaches
follows how many readings the last one brought: memory holds about CHUNK_ROWS, whatever the rate.
Pure: says what to ask for, takes the answer, gives what is in order.
"""

import attrs
import numpy as np

from atalaia.model.batch import Bools, Floats, Int32s, Int64s

CHUNK_ROWS = 250_000  # some 100 ms of a database and of a fold; 10 MB on the way
MOST_ROWS = 2 * CHUNK_ROWS
FIRST_SLICE_US = 60_000_000
FASTER = 16.0  # how much longer or shorter the next slice may be
ENDLESS = np.iinfo(np.int64).max


@attrs.frozen(eq=False)
class Slice:
    """What to ask for: rows with since < ts <= until of these series, by their place here."""

    series: Int64s
    since: Int64s
    until: Int64s


@attrs.frozen(eq=False)
class Rows:
    """Columns of readings; series by their place, received_at in µs."""

    series: Int64s
    ts: Int64s
    value: Floats
    received: Int64s

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, keep: Bools) -> "Rows":
        return Rows(self.series[keep], self.ts[keep], self.value[keep], self.received[keep])

    def beside(self, other: "Rows") -> "Rows":
        if not len(self):
            return other
        return Rows(
            np.concatenate([self.series, other.series]),
            np.concatenate([self.ts, other.ts]),
            np.concatenate([self.value, other.value]),
            np.concatenate([self.received, other.received]),
        )


@attrs.define(eq=False)
class Feed:
    """`next_slice`, ask, `take`, until `done`.

    sensor: of each series, by number. since: of all, or of each series. The rows that `take` gives
    follow, at each sensor, those it gave before: by ts, or with arrival by received_at. Rows of one
    series have both in one order when none of them is late, but for those within the lateness of
    each other.
    """

    sensor: Int64s
    since: int | Int64s
    until: int
    arrival: bool
    lateness: Int64s | None = None
    """Of each series; None: they have none."""
    _asked: Int64s = attrs.field(init=False)
    """Per series: rows up to this time are here or were given."""
    _known: Int64s = attrs.field(init=False)
    """Per series: no row to come has this key or a lower one. The key: ts or received_at."""
    _width: Floats = attrs.field(init=False)
    _rows: Rows = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        count = len(self.sensor)
        self._asked = np.full(count, self.since, np.int64)
        self._known = np.full(count, -ENDLESS, np.int64) if self.arrival else self._asked.copy()
        self._width = np.full(count, max(FIRST_SLICE_US, CHUNK_ROWS // max(count, 1) * 1e6))
        none = np.empty(0, np.int64)
        self._rows = Rows(none, none, np.empty(0), none)
        self._end()

    @property
    def done(self) -> bool:
        return bool((self._asked == self.until).all())

    @property
    def share(self) -> float:
        """How much of the range was asked for."""
        return float(((self._asked - self.since) / np.maximum(self.until - self.since, 1)).mean())

    def next_slice(self) -> Slice:
        """What the sensors wait for. Not when done."""
        waits = (self._asked < self.until) & (self._known <= self._least()[self.sensor])
        series = np.flatnonzero(waits)
        since = self._asked[series]
        until = since + np.maximum(self._width[series], 1).astype(np.int64)
        return Slice(series, since, np.minimum(until, self.until))

    def take(self, asked: Slice, rows: Rows) -> Rows:
        """The answer to the slice asked for, of at most MOST_ROWS rows; what is in order now.

        An answer that is full is thrown away: the next slice will be shorter.
        """
        if len(rows) >= MOST_ROWS:
            self._width[asked.series] = (asked.until - asked.since) / FASTER
            return rows.where(np.zeros(len(rows), np.bool_))
        self._asked[asked.series] = asked.until
        found = np.bincount(rows.series, minlength=len(self.sensor))[asked.series]
        wanted = max(1.0, CHUNK_ROWS / max(int(np.count_nonzero(self._asked < self.until)), 1))
        factor = np.clip(wanted / np.maximum(found, 1 / FASTER), 1 / FASTER, FASTER)
        self._width[asked.series] = np.minimum((asked.until - asked.since) * factor, 1e17)
        new, rows = rows, self._rows.beside(rows)
        if not self.arrival:
            self._known[asked.series] = asked.until
        elif self.lateness is None:
            np.maximum.at(self._known, new.series, new.received - 1)
        else:  # a row to come arrived no earlier than one that is older by more than the lateness
            settled = rows.where(rows.ts <= (self._asked - self.lateness)[rows.series])
            np.maximum.at(self._known, settled.series, settled.received - 1)
        self._end()
        key = rows.received if self.arrival else rows.ts
        ready = key <= self._least()[self.sensor[rows.series]]
        self._rows = rows.where(~ready)
        return rows.where(ready)

    def _end(self) -> None:
        """Of a series that was asked to the end everything is known."""
        self._known[self._asked == self.until] = ENDLESS

    def _least(self) -> Int64s:
        """Per sensor: up to which key everything is known."""
        least = np.full(int(self.sensor.max(initial=-1)) + 1, ENDLESS, np.int64)
        np.minimum.at(least, self.sensor, self._known)
        return least


def as_rows(columns: tuple[Int32s, Int64s, Floats, Int64s], numbers: Int32s) -> Rows:
    """A store's answer; numbers: of the series, in the order of their places."""
    order = np.argsort(numbers)
    series = order[np.searchsorted(numbers[order], columns[0])]
    return Rows(series, *columns[1:])
