"""From a batch to what will be committed: dedupe, time limits, the fold. Synchronous and pure
but for the tenant's own state: no clock, no I/O.

Newer than the series' newest is fresh: copied and judged. Everything else is old: late or a
duplicate, which only the store can tell apart, and never judged.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from atalaia.engine.series_table import SeriesTable
from atalaia.model.batch import Batch, Bools, Int32s, Int64s, Reject, SeriesName
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import CommitItem, SensorRow, SeriesRow
from atalaia.rules.cost import most_ns_per_reading
from atalaia.rules.tenant_state import ActiveRule, TenantRules

NS_PER_ROW = 50  # to sort and split it, without any rule


@attrs.define(eq=False)
class TenantState:
    """What the actor of one tenant owns. Slots of series and sensors are those of the rules."""

    tenant_no: TenantNo
    rules: TenantRules
    last_received: Micros
    deltas: int
    table: SeriesTable = attrs.field(factory=SeriesTable)
    ns_per_row: int = attrs.field(init=False)
    """What `judge` takes, about; rather too much."""
    _sensors: dict[SensorNo, tuple[int, str]] = attrs.field(factory=dict)

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

    def left_out(self, sensor: SensorRow) -> Sequence[ActiveRule]:
        """The rules that match a sensor and do not watch it: it would be too many metrics."""
        return self.rules.left_out(self._sensors[sensor.sensor_no][0])

    def find_sensor(self, name: str) -> tuple[SensorNo, int] | None:
        """Number and slot of the sensor with this name."""
        for sensor_no, (slot, known) in self._sensors.items():
            if known == name:
                return sensor_no, slot
        return None

    def add_series(self, series: SeriesRow, newest: Micros | None) -> None:
        """After its sensor; a second time changes nothing."""
        sensor, sensor_name = self._sensors[series.sensor_no]
        name = SeriesName(sensor_name, series.metric)
        if name not in self.table:
            self.rules.add_series(sensor, series.metric, newest)
            self.table.add(name, series.series_no, sensor, newest)

    def next_arrival(self, now: Micros) -> Micros:
        """received_at of the next batch: strictly increasing, even when the clock steps back."""
        self.last_received = max(now, Micros(self.last_received + 1))
        return self.last_received


@attrs.frozen(eq=False)
class Judged:
    """A batch ready for its commit, with every row that was refused on the way."""

    item: CommitItem
    rejects: tuple[Reject, ...]


def refuse(batch: Batch, keep: Bools, code: str, detail: str) -> Batch:
    """The batch without the rows where keep is false, which become rejects."""
    if keep.all():
        return batch
    refused = [Reject(int(row), code, detail) for row in batch.row[~keep]]
    return attrs.evolve(
        batch,
        idx=batch.idx[keep],
        ts=batch.ts[keep],
        value=batch.value[keep],
        row=batch.row[keep],
        rejects=(*batch.rejects, *refused),
    )


def check_times(batch: Batch, *, oldest: int, newest: int) -> Batch:
    """Refuse rows beyond the allowed skew into the future, and those retention has dropped."""
    batch = refuse(
        batch,
        batch.ts <= newest,
        "future_timestamp",
        "the time lies in the future; check the device's clock and the precision parameter",
    )
    return refuse(
        batch,
        batch.ts >= oldest,
        "too_old",
        "the time lies before the retention period, whose readings have been dropped",
    )


def judge(
    state: TenantState, batch: Batch, slots: Int64s, arrived: Micros, *, snapshot: bool
) -> Judged:
    """Split fresh rows from old ones, judge the fresh ones, and say what to commit.

    slots: the series of each row, in state.table. Cost: two sorts of the batch
    and the fold.
    """
    table = state.table
    order = _stable_order(batch.ts, slots)
    slot, ts, value = slots[order], batch.ts[order], batch.value[order]

    fresh = ts > table.newest[slot]
    if len(ts) > 1:  # of equal times in one batch the first in body order is the reading
        fresh[1:] &= (ts[1:] != ts[:-1]) | (slot[1:] != slot[:-1])
    fresh_slot, fresh_ts, fresh_value = slot[fresh], ts[fresh], value[fresh]

    touched = np.empty(0, np.int64)
    if len(fresh_ts):
        last = np.flatnonzero(np.append(fresh_slot[1:] != fresh_slot[:-1], True))
        touched = fresh_slot[last]
        table.newest[touched] = fresh_ts[last]

    by_time = _stable_order(fresh_ts, table.sensor[fresh_slot])
    transitions = state.rules.fold(
        fresh_slot[by_time], fresh_ts[by_time], fresh_value[by_time], arrived
    )

    old = np.sort(order[~fresh])  # back to body order: the first of equal ones wins
    if snapshot:
        touched = table.seen()
    item = CommitItem(
        tenant_no=state.tenant_no,
        received_at=arrived,
        fresh_series=table.series_no[fresh_slot],
        fresh_ts=fresh_ts,
        fresh_value=fresh_value,
        old_series=table.series_no[slots[old]],
        old_ts=batch.ts[old],
        old_value=batch.value[old],
        touched=table.series_no[touched],
        newest=table.newest[touched].copy(),
        rule_states=rule_states(state.rules, snapshot=snapshot),
        transitions=transitions,
        snapshot=snapshot,
    )
    return Judged(item, tuple(sorted(batch.rejects, key=lambda reject: reject.index)))


def rule_states(rules: TenantRules, *, snapshot: bool) -> bytes:
    """What changed since the last commit, or everything."""
    changed = rules.take_dirty()
    return rules.dump() if snapshot else changed


def _stable_order(minor: Int64s, major: Int64s | Int32s) -> Int64s:
    """Indexes that sort by (major, minor), equal ones in their first order."""
    if len(minor) < 2:
        return np.arange(len(minor))
    step = major[1:] - major[:-1]
    if bool(((step > 0) | ((step == 0) & (minor[1:] >= minor[:-1]))).all()):
        return np.arange(len(minor))  # gateways mostly send in order
    return np.lexsort((minor, major))
