"""When a row of a file is due, and how its time is moved. Pure but for reading the files' times."""

import heapq
from collections.abc import Iterable, Iterator, Sequence

import attrs

from atalaia.cli.csv_source import Account, Choices, Layout, Row, read
from atalaia.model.errors import Invalid


@attrs.frozen
class Pace:
    """factor None: as soon as possible. shift_us is added to every time."""

    factor: float | None
    first_us: int
    shift_us: int = 0

    def due_s(self, ts: int) -> float:
        """Seconds after the start of the replay."""
        return 0.0 if self.factor is None else (ts - self.first_us) / 1e6 / self.factor

    def order(self, streams: Sequence[Iterator[Row]]) -> Iterator[Row]:
        """The rows of several sensors: by time at a pace, else one sensor after another."""
        if self.factor is None:
            return (row for stream in streams for row in stream)
        return heapq.merge(*streams, key=lambda row: row.ts)


def parse_factor(speed: str) -> float | None:
    """60x is 60; max is None. Raises Invalid."""
    if speed == "max":
        return None
    try:
        factor = float(speed.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise Invalid('--speed: write a factor such as 60x, or "max".')
    return factor


def find_pace(layouts: Iterable[Layout], choices: Choices, factor: float | None) -> Pace:
    """A pace that begins with the earliest first row. Raises Invalid for a file without times."""
    firsts = [next(_times(layout, choices), None) for layout in layouts]
    known = [first for first in firsts if first is not None]
    for layout, first in zip(layouts, firsts, strict=True):
        if first is None:
            raise Invalid(f"{layout.path}: no line has a time that can be read.")
    return Pace(factor, min(known))


def shift_to_now(pace: Pace, layouts: Iterable[Layout], choices: Choices, now_us: int) -> Pace:
    """Move all times as far ahead as none of them lies in the future when it is sent.

    That is the last row at 1x and faster, the first below. Reads the files once.
    """
    first, last = pace.first_us, pace.first_us
    for layout in layouts:
        for ts in _times(layout, choices):
            first, last = min(first, ts), max(last, ts)
    sent = [(ts, now_us + int(max(pace.due_s(ts), 0.0) * 1e6)) for ts in (first, last)]
    return attrs.evolve(pace, shift_us=min(at - ts for ts, at in sent))


def _times(layout: Layout, choices: Choices) -> Iterator[int]:
    return (row.ts for row in read(layout, choices.zone, Account()))
