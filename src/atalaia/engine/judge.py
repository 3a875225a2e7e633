"""From a batch to what will be committed: dedupe, time limits, the fold. Synchronous and pure
but for the tenant's own state: no clock, no I/O.

Newer than the series' newest is fresh: copied and judged. Everything else is old: late or a
duplicate, which only the store can tell apart, and never judged. Where sensors have a lateness,
readings out of order may be fresh too, and fresh ones wait before they are judged.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs
import numpy as np

from atalaia.engine.series_table import SeriesTable
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, Bools, Floats, Int32s, Int64s, Reject, SeriesName
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import CommitItem, SensorRow, SeriesRow
from atalaia.rules.cost import most_ns_per_reading
from atalaia.rules.forecast import AS_IT_IS, Forecast, Plan, Share
from atalaia.rules.reorder import Reorder, waiting_bytes
from atalaia.rules.syntax import duration_text
from atalaia.rules.tenant_state import ActiveRule, TenantRules

_NO_TIMES: Int64s = np.empty(0, np.int64)
NS_PER_ROW = 50  # to sort and split it, without any rule
NS_PER_STEP = 40_000  # of an alert, mostly for what it is opened on


@attrs.define(eq=False)
class TenantState:
    """What the actor of one tenant owns. Slots of series and sensors are those of the rules.

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
    """What `judge` takes, about; rather too much."""
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

    def find_sensor(self, name: str) -> tuple[SensorNo, int] | None:
        """Number and slot of the sensor with this name."""
        for sensor_no, (slot, known) in self._sensors.items():
            if known == name:
                return sensor_no, slot
        return None

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
        retagged: tuple[int, Mapping[str, str]] | None = None,
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
        return self.rules.forecast(interval_us, plan, waiting=Share(what, size), retagged=retagged)

    def _lateness_with(self, delayed: tuple[SensorNo | None, int | None] | None) -> Int64s:
        """Per sensor, in the order of slots."""
        changed, us = delayed or (None, self.lateness_us)
        tenants = self.lateness_us if changed is not None else us or 0
        own = (us if no == changed else self._own_lateness.get(no) for no in self._sensors)
        return np.array([tenants if mine is None else mine for mine in own], np.int64)

    def judge_waiting(self, sensor: int | None, arrived: Micros) -> tuple[list[Transition], Int64s]:
        """Judge now what waits at a sensor, or everywhere; and the series that were judged."""
        if self.reorder is None:
            return [], np.empty(0, np.int64)
        ready = self.reorder.drain(sensor)
        return self.rules.fold(ready.slot, ready.ts, ready.value, arrived), np.unique(ready.slot)

    def judged_of(self, slots: Int64s) -> Int64s:
        """When the newest judged reading of each series was; empty when all are its newest."""
        if self.reorder is None:
            return _NO_TIMES
        return unless_equal(self.reorder.judged[slots], self.table.newest[slots])

    def next_arrival(self, now: Micros) -> Micros:
        """received_at of the next batch: strictly increasing, even when the clock steps back."""
        self.last_received = max(now, Micros(self.last_received + 1))
        return self.last_received


@attrs.frozen(eq=False)
class Part:
    """Rows of a batch, ready for their commit; mostly all of them. last: none of it follows."""

    item: CommitItem
    last: bool


@attrs.frozen(eq=False)
class _Rows:
    slot: Int64s
    ts: Int64s
    value: Floats

    def __len__(self) -> int:
        return len(self.ts)

    def where(self, chosen: Bools | Int64s | slice) -> "_Rows":
        return _Rows(self.slot[chosen], self.ts[chosen], self.value[chosen])


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
    """Refuse rows beyond the allowed skew into the future, and those before the retention."""
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
        "the time lies before the retention period; readings that old are not kept",
    )


def judge(
    state: TenantState,
    batch: Batch,
    slots: Int64s,
    arrived: Micros,
    *,
    snapshot: bool,
    most_steps: int,
) -> Iterator[Part]:
    """Split fresh rows from old ones, judge what is to be judged now, and say what to commit.

    slots: the series of each row, in state.table. A batch that makes more than most_steps steps of
    alerts comes in parts, each judged when it is asked for, as a batch of its own would be. The
    repeats are in the last: within a batch none may be stored before its reading.
    Cost: two sorts of the batch and the fold; a third sort where readings may wait.
    """
    table = state.table
    order = _stable_order(batch.ts, slots)
    rows = _Rows(slots[order], batch.ts[order], batch.value[order])
    fresh = rows.ts > table.newest[rows.slot]
    if len(rows) > 1:  # of equal times in one batch the first in body order is the reading
        fresh[1:] &= (rows.ts[1:] != rows.ts[:-1]) | (rows.slot[1:] != rows.slot[:-1])
    news = rows.where(fresh)
    last = _last_of_each(news.slot)
    heard = news.slot[last]
    if len(heard):
        table.observe(heard, last, news.ts)
    judged = None
    if state.reorder is None:
        table.newest[heard] = news.ts[last]
        ready = news.where(_stable_order(news.ts, table.sensor[news.slot]))
    else:
        judged = state.reorder.judged.copy()
        fresh, ready = _reorder(state.reorder, table, rows)
        news = rows.where(fresh)
    old = np.sort(order[~fresh])  # back to body order: the first of equal ones wins
    repeats = _Rows(slots[old], batch.ts[old], batch.value[old])
    while True:
        steps, count = state.rules.fold_some(ready.slot, ready.ts, ready.value, arrived, most_steps)
        now, ready = ready.where(slice(count)), ready.where(slice(count, None))
        is_last = len(ready) == 0
        if judged is None:
            stored = news if len(now) == len(news) else now.where(_stable_order(now.ts, now.slot))
            last = _last_of_each(stored.slot)
            heard = touched = stored.slot[last]
            newest = stored.ts[last]
        else:
            judged[now.slot] = now.ts
            stored, news = news, news.where(slice(0))  # what is not judged yet waits
            touched = np.unique(np.concatenate([heard, now.slot]))
            newest = table.newest[touched]
        steps += state.rules.hear(heard, arrived)
        heard = heard[:0]
        if snapshot and is_last:
            touched = table.seen()
            newest = table.newest[touched]
        olds = repeats if is_last else repeats.where(slice(0))
        item = CommitItem(
            tenant_no=state.tenant_no,
            received_at=arrived,
            fresh_series=table.series_no[stored.slot],
            fresh_ts=stored.ts,
            fresh_value=stored.value,
            old_series=table.series_no[olds.slot],
            old_ts=olds.ts,
            old_value=olds.value,
            touched=table.series_no[touched],
            newest=newest,
            judged=_NO_TIMES if judged is None else unless_equal(judged[touched], newest),
            rule_states=rule_states(state.rules, snapshot=snapshot and is_last),
            transitions=steps,
            snapshot=snapshot and is_last,
            following=[
                (table.series_no[rows.slot], rows.ts, rows.value)
                for rows in ((ready, repeats) if judged is None else (repeats,))
                if not is_last
            ],
        )
        yield Part(item, is_last)
        if is_last:
            return
        arrived = state.next_arrival(arrived)


def _last_of_each(slot: Int64s) -> Int64s:
    """Where the rows of each series end; sorted by series."""
    return np.flatnonzero(np.append(slot[1:] != slot[:-1], len(slot) > 0))


def _reorder(reorder: Reorder, table: SeriesTable, rows: _Rows) -> tuple[Bools, _Rows]:
    """Which rows are fresh, in the order given, and what is to be judged now."""
    sensor = table.sensor[rows.slot].astype(np.int64)
    order = np.lexsort((rows.slot, rows.ts, sensor))
    found, ready = reorder.take(
        sensor[order], sensor[order], rows.slot[order], rows.ts[order], rows.value[order],
        table.newest,
    )  # fmt: skip
    fresh = np.empty(len(rows), np.bool_)
    fresh[order] = found
    return fresh, _Rows(ready.slot, ready.ts, ready.value)


def unless_equal(judged: Int64s, newest: Int64s) -> Int64s:
    """As items have it: empty where everything is judged."""
    return _NO_TIMES if bool((judged == newest).all()) else judged


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
