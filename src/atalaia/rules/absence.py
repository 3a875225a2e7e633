"""Rules of silence: which sensors have sent nothing for too long, by arrival.

Event time plays no part: a device that delivers what it kept is heard. A deadline lies a rule's
time after the newest arrival at a sensor, or after it was registered, or after we began to
listen, whatever is latest: our own absence is nobody's silence. Time is looked at on a grid of a
second, at ticks that the caller commits.
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

Times = TypeVar("Times", int, Int64s)


def on_grid(at: Times) -> Times:
    """The first line of the grid that is not before a time."""
    return -(-at // GRID_US) * GRID_US


@attrs.define(eq=False)
class Absence:
    """Who is watched, and when each sensor was last heard of. Sensors are slots, in order."""

    _states: States
    _watched: Table = attrs.field(factory=lambda: Table(3))
    _heard: Table = attrs.field(factory=lambda: Table(1))

    def __len__(self) -> int:
        return len(self._watched)

    def add_sensor(self, heard: Micros, rules: Sequence[ActiveRule], first_state: int) -> None:
        """The next sensor; the states of its rules of silence follow one another."""
        sensor = len(self._heard)
        self._heard.add((heard,))
        for n, rule in enumerate(rules):
            if rule.spec.silence is not None:
                self._watched.add((sensor, first_state + n, rule.spec.silence.after_us))

    def heard(self, sensor: int) -> int:
        return int(self._heard.rows[sensor, 0])

    def listen_from(self, since: Micros) -> None:
        np.maximum(self._heard.rows, since, out=self._heard.rows)

    def hear(self, sensors: Int64s, at: Micros) -> list[int]:
        """Readings of these sensors arrived; returns their states of silence that are open."""
        self._heard.rows[sensors, 0] = at
        watched = self._watched.rows
        mine = watched[np.isin(watched[:, A_SENSOR], sensors), A_STATE]
        return mine[self._states.is_open(mine)].tolist()  # type: ignore[no-any-return]

    def due(self, now: Micros) -> list[int]:
        """The states of the pairs that have been silent for too long at `now`, in their order."""
        states = self._watched.rows[:, A_STATE]
        silent = (self._deadlines() <= now) & ~self._states.is_open(states)
        return states[silent].tolist()  # type: ignore[no-any-return]

    def next_deadline(self) -> Micros:
        """When `due` will name somebody if nobody is heard of before; FOREVER for never."""
        waiting = self._deadlines()[~self._states.is_open(self._watched.rows[:, A_STATE])]
        return Micros(int(waiting.min())) if len(waiting) else FOREVER

    def _deadlines(self) -> Int64s:
        watched = self._watched.rows
        return on_grid(self._heard.rows[watched[:, A_SENSOR], 0] + watched[:, A_AFTER])
