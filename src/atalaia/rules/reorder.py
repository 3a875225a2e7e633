"""Readings that wait: per sensor in order of time, until the sensor's clock is more than its
lateness ahead of them. Then they are handed on to be judged, oldest first.

What is handed on is a function of the readings that came, whatever their order, as long as none
is late. A reading is late when its series has a newer one and its sensor's clock is more than the
lateness ahead of it. Knows neither rules nor storage, nor any other clock.
"""

import attrs
import numpy as np

from atalaia.model.batch import Bools, Floats, Int32s, Int64s
from atalaia.model.ids import Micros
from atalaia.rules.chains import (
    DONE,
    MEMORY_FULL,
    NEVER,
    OUTPUT_FULL,
    ROWS,
    S_CLOCK,
    S_HEAD,
    S_LATENESS,
    SENSOR,
    drain,
    put_back,
    take,
)
from atalaia.rules.cost import WORD
from atalaia.rules.growing import Table
from atalaia.rules.memory import BLOCK, Memory

FIRST_ROOM = 64


def waiting_bytes(lateness_us: Int64s, sensor: Int32s, interval_us: Floats) -> float:
    """What waits at sensors of these latenesses once they have sent for as long.

    sensor, interval_us: of every series its sensor, and from one reading to the next.
    """
    if not (lateness_us > 0).any():
        return 0.0
    rows = np.bincount(sensor, lateness_us[sensor] / interval_us, len(lateness_us))
    blocks = np.where(rows > 0, np.ceil(rows / ROWS) + 1, 0)
    fixed = SENSOR * len(lateness_us) + len(sensor)
    return WORD * (BLOCK * float(blocks.sum()) + fixed)


@attrs.define(eq=False)
class Ready:
    """Rows to be judged: per sensor in the order in which they are. run: as given to `take`."""

    run: Int64s
    slot: Int64s
    ts: Int64s
    value: Floats

    def __len__(self) -> int:
        return len(self.ts)

    @classmethod
    def room(cls, size: int) -> "Ready":
        return cls(
            np.empty(size, np.int64),
            np.empty(size, np.int64),
            np.empty(size, np.int64),
            np.empty(size, np.float64),
        )

    def first(self, count: int) -> "Ready":
        return Ready(self.run[:count], self.slot[:count], self.ts[:count], self.value[:count])

    def grow(self) -> None:
        for column in attrs.fields_dict(Ready):
            rows = getattr(self, column)
            setattr(self, column, np.concatenate([rows, np.empty_like(rows)]))


@attrs.define(eq=False)
class Reorder:
    """What waits at the sensors of one tenant. Sensors and series are slots, in order."""

    _sensors: Table = attrs.field(factory=lambda: Table(SENSOR))
    _judged: Table = attrs.field(factory=lambda: Table(1))
    _memory: Memory = attrs.field(factory=Memory)

    @property
    def used_bytes(self) -> int:
        """Memory of what waits, room to grow left out."""
        return self._memory.used_bytes + self._sensors.rows.nbytes + self._judged.rows.nbytes

    @property
    def judged(self) -> Int64s:
        """Per series: the time of the newest reading that was handed on; NEVER for none."""
        return self._judged.rows[:, 0]

    def add_sensor(self, lateness_us: int) -> None:
        self._sensors.add((lateness_us, NEVER, -1, -1))

    def add_series(self, sensor: int, newest: Micros | None, judged: Micros | None) -> None:
        """newest, judged: as they were stored, None for never; `restore` brings what waits."""
        self._judged.add((NEVER if judged is None else judged,))
        if newest is not None:
            row = self._sensors.rows[sensor]
            row[S_CLOCK] = max(row[S_CLOCK], newest)

    def oldest(self, sensor: Int64s | Int32s) -> Int64s:
        """Since when rows may wait at sensors that have a clock, first µs included."""
        since: Int64s = self._sensors.rows[sensor, S_CLOCK] - self._sensors.rows[sensor, S_LATENESS]
        return since

    def take(
        self,
        sensor: Int64s,
        run: Int64s,
        slot: Int64s,
        ts: Int64s,
        value: Floats,
        newest: Int64s,
    ) -> tuple[Bools, Ready]:
        """Which rows are new and not late, and what is to be judged now, after each run of rows.

        Sorted by (sensor, run, ts, slot), a run being the rows that came together. newest: per
        series; it is brought up to date. A row that is not fresh is late, or is known already.
        """
        fresh = np.zeros(len(ts), np.bool_)
        ready = Ready.room(max(FIRST_ROOM, len(ts)))
        done, full, count, why = 0, -1, 0, OUTPUT_FULL
        while why != DONE:
            memory = self._memory
            done, why, full, count = take(
                sensor, run, slot, ts, value, done, full, self._sensors.rows, newest, self.judged,
                memory.words, memory.numbers, memory.control, fresh,
                ready.run, ready.slot, ready.ts, ready.value, count,
            )  # fmt: skip
            if why == OUTPUT_FULL:
                ready.grow()
            elif why == MEMORY_FULL:
                memory.ensure_blocks((len(ts) - done) // ROWS + 1)
        return fresh, ready.first(count)

    def restore(self, sensor: Int64s, slot: Int64s, ts: Int64s, value: Floats) -> None:
        """Let stored rows wait again, in any order; their series have been added."""
        order = np.lexsort((slot, ts, sensor))
        sensor, slot, ts, value = sensor[order], slot[order], ts[order], value[order]
        done = 0
        while done < len(ts):
            memory = self._memory
            memory.ensure_blocks((len(ts) - done) // ROWS + 1)
            done = put_back(
                sensor, slot, ts, value, done, self._sensors.rows,
                memory.words, memory.numbers, memory.control,
            )  # fmt: skip

    def drain(self, sensor: int | None) -> Ready:
        """Hand on everything that waits at a sensor, or at all of them."""
        waiting = np.flatnonzero(self._sensors.rows[:, S_HEAD] >= 0)
        if sensor is not None:
            waiting = waiting[waiting == sensor]
        ready = Ready.room(FIRST_ROOM)
        done, count = 0, 0
        while done < len(waiting):
            memory = self._memory
            done, count = drain(
                waiting, done, self._sensors.rows, memory.words, memory.numbers, memory.control,
                self.judged, ready.run, ready.slot, ready.ts, ready.value, count,
            )  # fmt: skip
            if done < len(waiting):
                ready.grow()
        return ready.first(count)


def compile_reorder() -> None:
    """Compile (or load from NUMBA_CACHE_DIR) by letting one reading wait, twice."""
    reorder = Reorder()
    reorder.add_sensor(1)
    reorder.add_series(0, None, None)
    zero, one = np.zeros(1, np.int64), np.ones(1)
    reorder.take(zero, zero, zero, zero, one, np.full(1, NEVER))
    reorder.drain(None)
    reorder.restore(zero, zero, zero, one)
