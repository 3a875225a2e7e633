"""What the actor of one tenant owns: its rules at work, its series, and what waits there.

Synchronous: no clock, no I/O.
"""

from collections.abc import Container, Mapping, Sequence

import attrs
import numpy as np

from atalaia.engine.series_table import SeriesTable
from atalaia.model.alert import Transition
from atalaia.model.batch import Bools, Floats, Int64s, SeriesName
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import SensorRow, SeriesRow
from atalaia.rules.cost import most_ns_per_reading
from atalaia.rules.forecast import AS_IT_IS, Forecast, Plan, Share
from atalaia.rules.foresight import NO_TAGS, Retagged
from atalaia.rules.reorder import Reorder, waiting_bytes
from atalaia.rules.syntax import duration_text
from atalaia.rules.tenant_state import ActiveRule, TenantRules

NO_TIMES: Int64s = np.empty(0, np.int64)
NS_PER_ROW = 50  # to sort and split it, without any rule


@attrs.frozen(eq=False)
class Rows:
    """Readings by the slots of their series."""

    slot: Int64s
    ts: Int64s
    value: Floats

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, chosen: Bools | Int64s | slice) -> "Rows":
        return Rows(self.slot[chosen], self.ts[chosen], self.value[chosen])


@attrs.define(eq=False)
class TenantState:
    """Slots of series and sensors are those of the rules.

    lateness_us: of sensors without one of their own. reorder: None while no sensor has any.
    most_bytes: windows and states may take so much; beyond, nothing more is judged.
    """

    tenant_no: TenantNo
    rules: TenantRules
    last_received: Micros
    deltas: int
    most_bytes: int
    lateness_us: int = 0
    reorder: Reorder | None = None
    table: SeriesTable = attrs.field(factory=SeriesTable)
    ns_per_row: int = attrs.field(init=False)
    """Of what `judge` takes, about; rather too much."""
    _sensors: dict[SensorNo, tuple[int, str]] = attrs.field(factory=dict)
    _names: set[str] = attrs.field(factory=set)
    _own_lateness: dict[SensorNo, int] = attrs.field(factory=dict)

    @property
    def held_bytes(self) -> int:
        """Memory of windows, states, and readings that wait; room to grow left out."""
        return self.rules.held_bytes + self.waiting_bytes

    @property
    def waiting_bytes(self) -> int:
        """Of the readings that wait."""
        return 0 if self.reorder is None else self.reorder.used_bytes

    @property
    def is_full(self) -> bool:
        return self.held_bytes > self.most_bytes

    def __attrs_post_init__(self) -> None:
        specs = [rule.spec for rule in self.rules.rules]
        self.ns_per_row = NS_PER_ROW + most_ns_per_reading(specs)

    def add_sensor(self, sensor: SensorRow, heard: Micros) -> None:
        """Once per sensor; a second time changes nothing. heard: when its silence began."""
        if sensor.sensor_no not in self._sensors:
            slot = self.rules.add_sensor(
                sensor.sensor_no, sensor.sensor_id, sensor.name, sensor.tags, heard
            )
            self._sensors[sensor.sensor_no] = (slot, sensor.name)
            self._names.add(sensor.name)
            if sensor.lateness_us is not None:
                self._own_lateness[sensor.sensor_no] = sensor.lateness_us
            if self.reorder is not None:
                self.reorder.add_sensor(self._own_lateness.get(sensor.sensor_no, self.lateness_us))

    def left_out(self, sensor: SensorRow) -> Sequence[ActiveRule]:
        """The rules that match a sensor and do not watch it: it would be too many metrics."""
        return self.rules.left_out(self._sensors[sensor.sensor_no][0])

    def sensors_named(self, names: Container[str]) -> dict[str, tuple[SensorNo, int]]:
        """Number and slot of those of them that are there."""
        return {
            name: (sensor_no, slot)
            for sensor_no, (slot, name) in self._sensors.items()
            if name in names
        }

    def slots_of(self, times: Mapping[str, Micros]) -> tuple[Int64s, Int64s]:
        """The slots of those of these sensors that are known, and the time of each."""
        found = [(slot, times[name]) for slot, name in self._sensors.values() if name in times]
        slots, at = np.array(found, np.int64).reshape(-1, 2).T
        return slots, at

    def knows_sensor(self, name: str) -> bool:
        return name in self._names

    def add_series(self, series: SeriesRow, newest: Micros | None, judged: Micros | None) -> None:
        """After its sensor; a second time changes nothing."""
        sensor, sensor_name = self._sensors[series.sensor_no]
        name = SeriesName(sensor_name, series.metric)
        if name not in self.table:
            self.rules.add_series(sensor, series.metric, judged)
            self.table.add(name, series.series_no, sensor, newest)
            if self.reorder is not None:
                self.reorder.add_series(sensor, newest, judged)

    def lateness_of(self, sensor_no: SensorNo | None) -> int | None:
        """As it was set for a sensor, or for the tenant."""
        return self.lateness_us if sensor_no is None else self._own_lateness.get(sensor_no)

    def forecast(
        self,
        plan: Plan = AS_IT_IS,
        *,
        retagged: Retagged = NO_TAGS,
        delayed: tuple[SensorNo | None, int | None] | None = None,
    ) -> Forecast:
        """What will be held, by how often readings come. plan, retagged: as TenantRules.forecast.

        delayed: the lateness that a sensor is to have, or (no sensor) the tenant.
        """
        interval_us = self.table.interval_us()
        lateness_us = self._lateness_with(delayed)
        size = waiting_bytes(lateness_us, self.table.sensor, interval_us)
        some = lateness_us[lateness_us > 0]
        longest = duration_text(int(some.max(initial=0)))
        what = f"readings that wait for a lateness of up to {longest} at {len(some):,} sensors"
        return self.rules.foresight.forecast(
            interval_us, plan, waiting=Share(what, size), retagged=retagged
        )

    def _lateness_with(self, delayed: tuple[SensorNo | None, int | None] | None) -> Int64s:
        """Per sensor, in the order of slots."""
        changed, us = delayed or (None, self.lateness_us)
        tenants = self.lateness_us if changed is not None else us or 0
        own = (us if no == changed else self._own_lateness.get(no) for no in self._sensors)
        return np.array([tenants if mine is None else mine for mine in own], np.int64)

    def ns_to_judge(self, ts: Int64s) -> int:
        """What to judge rows of these times takes, about; rather too much."""
        return self.ns_per_row * len(ts) + self.rules.ns_to_prepare(ts)

    def drain(self, sensor: int | None) -> "Drained":
        """Take out what waits at a sensor, or everywhere, to be judged now."""
        if self.reorder is None:
            return Drained(self, NO_TIMES, Rows(NO_TIMES, NO_TIMES, np.empty(0)))
        judged = self.reorder.judged.copy()
        ready = self.reorder.drain(sensor)
        return Drained(self, judged, Rows(ready.slot, ready.ts, ready.value))

    def judged_of(self, slots: Int64s) -> Int64s:
        """When the newest judged reading of each series was; empty when all are its newest."""
        if self.reorder is None:
            return NO_TIMES
        return unless_equal(self.reorder.judged[slots], self.table.newest[slots])

    def next_arrival(self, now: Micros) -> Micros:
        """received_at of the next batch: strictly increasing, even when the clock steps back."""
        self.last_received = max(now, Micros(self.last_received + 1))
        return self.last_received


@attrs.define(eq=False)
class Drained:
    """Readings that waited, in the order in which they are judged: what is left of them."""

    _state: TenantState
    _judged: Int64s
    _left: Rows

    def __len__(self) -> int:
        return len(self._left)

    @property
    def ns_to_judge(self) -> int:
        """About, as `TenantState.ns_to_judge`."""
        return self._state.ns_to_judge(self._left.ts)

    def judge(self, arrived: Micros, most_steps: int) -> tuple[list[Transition], Int64s]:
        """Some or all of them: the steps, and the series that were judged."""
        left = self._left
        steps, count = self._state.rules.fold_some(
            left.slot, left.ts, left.value, arrived, most_steps
        )
        now, self._left = left.where(slice(count)), left.where(slice(count, None))
        self._judged[now.slot] = now.ts  # of several of a series the last one stays
        return steps, np.unique(now.slot)

    def judged_of(self, slots: Int64s) -> Int64s:
        """As items have it."""
        return unless_equal(self._judged[slots], self._state.table.newest[slots])


def unless_equal(judged: Int64s, newest: Int64s) -> Int64s:
    """As items have it: empty where everything is judged."""
    return NO_TIMES if bool((judged == newest).all()) else judged
