"""Rules of silence: which sensors have sent nothing for too long, by arrival.

Event time plays no part: a device that delivers what it kept is heard. A deadline lies a rule's
time after the newest arrival at a sensor, or after it was registered, or after we began to
listen, whatever is latest: our own absence is nobody's silence. Nor are times at which we were
deaf: they are passed over. Time is looked at on a grid of a second, at ticks that the caller
commits.
"""

from collections.abc import Sequence
from typing import TypeVar

import attrs
import numpy as np

from atalaia.model.batch import Int64s
from atalaia.model.ids import Micros
from atalaia.rules.growing import Table
from atalaia.rules.program import ActiveRule
from atalaia.rules.states import States

GRID_US = 1_000_000
FOREVER = Micros(1 << 62)

# Columns: the sensor's slot, its state, how long it may be silent.
A_SENSOR, A_STATE, A_AFTER = range(3)
# Of a sensor: when it was heard of, and that with the deaf times after it passed over.
H_HEARD, H_SINCE = range(2)

Times = TypeVar("Times", int, Int64s)
Span = tuple[Micros, Micros]


def on_grid(at: Times) -> Times:
    """The first line of the grid that is not before a time."""
    return -(-at // GRID_US) * GRID_US


def passed_over(heard: Int64s, spans: Sequence[Span]) -> Int64s:
    """Each as much later as these spans, in order and apart, lasted after it."""
    if not spans:
        return heard
    began, ended = np.array(spans, np.int64).T
    after = np.append(np.cumsum((ended - began)[::-1])[::-1], 0)  # of a span and those that follow
    first = np.searchsorted(ended, heard, side="right")
    within = np.maximum(0, heard - np.append(began, FOREVER)[first])
    later: Int64s = heard + after[first] - within
    return later


@attrs.define(eq=False)
class Absence:
    """Who is watched, and when each sensor was last heard of. Sensors are slots, in order."""

    _states: States
    _watched: Table = attrs.field(factory=lambda: Table(3))
    _heard: Table = attrs.field(factory=lambda: Table(2))
    _next: Micros | None = None
    """No deadline is sooner; None: not known."""

    def __len__(self) -> int:
        return len(self._watched)

    def add_sensor(self, heard: Micros, rules: Sequence[ActiveRule], first_state: int) -> None:
        """The next sensor; the states of its rules of silence follow one another."""
        sensor = len(self._heard)
        self._heard.add((heard, heard))
        for n, rule in enumerate(rules):
            if rule.spec.silence is not None:
                self._watched.add((sensor, first_state + n, rule.spec.silence.after_us))
                self._next = None

    def since(self, sensor: int) -> int:
        """From when its silence counts."""
        return int(self._heard.rows[sensor, H_SINCE])

    def listen_from(self, since: Micros) -> None:
        np.maximum(self._heard.rows, since, out=self._heard.rows)

    def listen_to(self, sensors: Int64s, since: Int64s) -> None:
        rows = self._heard.rows
        rows[sensors] = np.maximum(rows[sensors], since[:, None])

    def pass_over(self, spans: Sequence[Span]) -> None:
        rows = self._heard.rows
        rows[:, H_SINCE] = passed_over(rows[:, H_HEARD], spans)

    def hear(self, sensors: Int64s, at: Micros) -> list[int]:
        """Readings of these sensors, ascending, arrived; returns their states of silence that are
        open.
        """
        self._heard.rows[sensors] = at
        watched = self._watched.rows  # by sensor
        first = np.searchsorted(watched[:, A_SENSOR], sensors)
        count = np.searchsorted(watched[:, A_SENSOR], sensors, side="right") - first
        before = np.cumsum(count) - count
        mine = watched[np.repeat(first - before, count) + np.arange(count.sum()), A_STATE]
        return mine[self._states.is_open(mine)].tolist()  # type: ignore[no-any-return]

    def cleared(self) -> None:
        """Some states that were open are not any more: they may be next."""
        self._next = None

    def due(self, now: Micros) -> list[int]:
        """The states of the pairs that have been silent for too long at `now`, in their order."""
        states = self._watched.rows[:, A_STATE]
        silent = (self._deadlines() <= now) & ~self._states.is_open(states)
        self._next = None
        return states[silent].tolist()  # type: ignore[no-any-return]

    def next_deadline(self) -> Micros:
        """`due` will not name anybody before; FOREVER for never."""
        if self._next is None:
            waiting = self._deadlines()[~self._states.is_open(self._watched.rows[:, A_STATE])]
            self._next = Micros(int(waiting.min())) if len(waiting) else FOREVER
        return self._next

    def _deadlines(self) -> Int64s:
        watched = self._watched.rows
        return on_grid(self._heard.rows[watched[:, A_SENSOR], H_SINCE] + watched[:, A_AFTER])
