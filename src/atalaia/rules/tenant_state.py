"""The rules of one tenant at work: what its actor owns, and what recovery rebuilds.

Series and sensors are dense slots in the order they were added. Windows are derivable and never
stored; the state of a rule at a sensor is, as packed records. Invariant: a state rebuilt from
the same rules, sensors, series, warm windows and records goes on exactly as this one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

import attrs
import numpy as np

from atalaia.model.alert import CloseReason, Evidence, Transition, TransitionKind
from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules import judging as j
from atalaia.rules import kernel as k
from atalaia.rules import windows as w
from atalaia.rules.arena import Arena
from atalaia.rules.growing import Table
from atalaia.rules.language import parse_rule
from atalaia.rules.program import ActiveRule, Shape
from atalaia.rules.shapes import Shapes
from atalaia.rules.syntax import SEVERITY_ORDER

__all__ = ["ActiveRule", "TenantRules", "compile_kernel"]

ALERT_NAMESPACE = UUID("6f5f6d0e-2f0b-5a3e-9d7c-2a8f1c4be1a7")
KINDS: tuple[TransitionKind, ...] = ("opened", "raised", "lowered", "cleared")
FIRST_RING = 16

RECORD = np.dtype(
    [
        ("rule_no", "<i4"),
        ("version", "<i4"),
        ("sensor_no", "<i4"),
        ("phase", "u1"),
        ("level", "u1"),
        ("spare", "<u2"),
        ("since", "<i8"),
        ("opened", "<i8"),
        ("last", "<i8"),
    ]
)
"""The stored state of one rule at one sensor. Times in µs; NEVER stands for none."""


@attrs.frozen
class _Sensor:
    sensor_no: SensorNo
    sensor_id: UUID
    shape: Shape


@attrs.define(eq=False)
class TenantRules:
    """See the module. Single-threaded; every method is synchronous."""

    tenant_id: UUID
    rules: Sequence[ActiveRule]
    _shapes: Shapes = attrs.field(init=False)
    _sensors: list[_Sensor] = attrs.field(factory=list)
    _sensor_table: Table = attrs.field(factory=lambda: Table(5))
    _series: Table = attrs.field(factory=lambda: Table(w.SERIES))
    _series_of: Table = attrs.field(factory=lambda: Table(1))
    _states: Table = attrs.field(factory=lambda: Table(6))
    _arena: Arena = attrs.field(factory=Arena)
    _where: dict[tuple[int, int], int] = attrs.field(factory=dict)
    _dirty: Int64s = attrs.field(factory=lambda: np.empty(64, np.int64))
    _dirty_count: int = 0
    _owner: list[tuple[int, ActiveRule]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._shapes = Shapes(self.rules)

    def add_sensor(
        self, sensor_no: SensorNo, sensor_id: UUID, name: str, tags: Mapping[str, str]
    ) -> int:
        """Returns the sensor's slot. Its rules are those whose selectors match now."""
        index = self._shapes.find(name, tags)
        shape = self._shapes[index]
        slot = len(self._sensors)
        states = len(self._states)
        for rule in shape.rules:
            self._where[rule.rule_no, sensor_no] = len(self._states)
            self._owner.append((slot, rule))
            self._states.add((j.IDLE, 0, w.NEVER, w.NEVER, w.NEVER, 0))
        series = len(self._series_of)
        for _ in shape.metrics:
            self._series_of.add((-1,))
        looks = self._arena.take(w.LOOK * len(shape.windows))
        for look in range(looks, looks + w.LOOK * len(shape.windows), w.LOOK):
            self._arena.words[look : look + w.LOOK] = 0
            self._arena.words[look + w.L_FIRST] = w.NEVER
        self._sensors.append(_Sensor(sensor_no, sensor_id, shape))
        self._sensor_table.add((index, w.NEVER, states, series, looks))
        return slot

    def add_series(self, sensor: int, metric: str, newest: Micros | None) -> int:
        """Returns the series' slot. newest restores the clock of its sensor after a restart."""
        slot = len(self._series)
        shape = self._sensors[sensor].shape
        place, reach, first_class, classes = -1, 0, 0, 0
        if metric in shape.metrics:
            place = shape.metrics.index(metric)
            reach = shape.reach_us(place)
            first_class, end = shape.class_at[place : place + 2]
            classes = end - first_class
            first_class += int(self._shapes.at[self._sensor_table.rows[sensor, k.S_SHAPE], 6])
            self._series_of.rows[self._sensor_table.rows[sensor, k.S_SERIES] + place, 0] = slot
        self._series.add((sensor, place, 0, 0, 0, 0, reach, -1, first_class, classes))
        if newest is not None:
            clock = self._sensor_table.rows[sensor]
            clock[k.S_CLOCK] = max(clock[k.S_CLOCK], newest)
        return slot

    def window_us(self, series: int) -> int:
        """How far before a series' newest reading its windows can reach; 0 when none look."""
        return int(self._series.rows[series, w.R_REACH])

    def warm(self, series: Int64s, ts: Int64s, value: Floats) -> None:
        """Rebuild windows from stored rows, ascending per series, without judging."""
        row = 0
        while row < len(series):
            row = k.warm(
                series, ts, value, row, self._series.rows,
                self._arena.words, self._arena.numbers, self._shapes.classes,
            )  # fmt: skip
            if row < len(series):
                self._grow_ring(int(series[row]))

    def fold(self, series: Int64s, ts: Int64s, value: Floats, arrived: Micros) -> list[Transition]:
        """Judge fresh rows, sorted by (sensor, ts). Rows of one sensor and time count together."""
        shapes = self._shapes
        found: list[Transition] = []
        row = 0
        room = 64
        counts = np.array([0, self._dirty_count], np.int64)
        while row < len(series):
            out = np.empty((room, 6), np.int64)
            out_values = np.empty((room, shapes.most_atoms), np.float64)
            counts[0] = 0
            row, why, full = k.fold(
                series, ts, value, row,
                self._sensor_table.rows, self._series.rows, self._series_of.rows[:, 0],
                self._states.rows, self._arena.words, self._arena.numbers,
                shapes.at, shapes.windows, shapes.classes, shapes.atoms, shapes.rules,
                shapes.programs, shapes.ops, shapes.constants,
                out, out_values, self._dirty, counts,
            )  # fmt: skip
            for step, values in zip(out[: counts[0]], out_values, strict=False):
                found.append(self._transition(step.tolist(), values, arrived))
            if why == k.RING_FULL:
                self._grow_ring(int(full))
            elif why == k.OUTPUT_FULL:
                room = max(2 * room, 2 * shapes.most_rules)
                self._dirty = np.concatenate([self._dirty, np.empty(room, np.int64)])
        self._dirty_count = int(counts[1])
        return found

    def take_dirty(self) -> bytes:
        """The records of every state changed since the last call."""
        places = self._dirty[: self._dirty_count].copy()
        self._dirty_count = 0
        return self._pack(places)

    def dump(self) -> bytes:
        """The records of every state that is not as new."""
        states = self._states.rows
        known = (states[:, j.W_PHASE] != j.IDLE) | (states[:, j.W_OPENED] != w.NEVER)
        return self._pack(np.flatnonzero(known))

    def restore(self, packed: bytes) -> None:
        """Apply records in order, later ones winning; other versions are ignored."""
        versions = {rule.rule_no: rule.version for rule in self.rules}
        for record in np.frombuffer(packed, RECORD).tolist():
            rule_no, version, sensor_no, phase, level, _, since, opened, last = record
            place = self._where.get((rule_no, sensor_no))
            if place is None or versions.get(rule_no) != version:
                continue
            self._states.rows[place] = (phase, level, since, opened, last, 0)

    def close(self, rule_no: RuleNo, *, arrived: Micros, reason: CloseReason) -> list[Transition]:
        """Close every open alert of a rule at its sensor's clock, in the order of sensors."""
        closed = []
        for place, (sensor, rule) in enumerate(self._owner):
            state = self._states.rows[place]
            if rule.rule_no != rule_no or state[j.W_PHASE] < j.OPEN:
                continue
            at = int(self._sensor_table.rows[sensor, k.S_CLOCK])
            step = [sensor, place, j.CLEARED, int(state[j.W_LEVEL]), at, int(state[j.W_OPENED])]
            unknown = np.full(self._shapes.most_atoms, np.nan)
            closed.append(attrs.evolve(self._transition(step, unknown, arrived), reason=reason))
            state[j.W_PHASE] = j.IDLE
            self._mark(place)
        return closed

    def _mark(self, place: int) -> None:
        if self._dirty_count == len(self._dirty):
            self._dirty = np.concatenate([self._dirty, np.empty_like(self._dirty)])
        self._dirty[self._dirty_count] = place
        self._dirty_count += 1
        self._states.rows[place, j.W_DIRTY] = 1

    def _transition(self, step: list[int], values: Floats, arrived: Micros) -> Transition:
        sensor_slot, place, kind, level, at, opened = step
        sensor, rule = self._sensors[sensor_slot], self._owner[place][1]
        atoms = sensor.shape.rule_atoms[sensor.shape.rules.index(rule)]
        evidence = tuple(
            Evidence(str(aggregate), None if math.isnan(value) else value)
            for aggregate, value in zip(rule.spec.aggregates, values[atoms].tolist(), strict=True)
        )
        name = f"{self.tenant_id}/{rule.rule_id}/{rule.version}/{sensor.sensor_id}/{opened}"
        return Transition(
            kind=KINDS[kind],
            alert_id=uuid5(ALERT_NAMESPACE, name),
            rule_no=rule.rule_no,
            rule_version=rule.version,
            sensor_no=sensor.sensor_no,
            severity=SEVERITY_ORDER[level],
            at=Micros(at),
            arrived=arrived,
            value=evidence[0].value,
            evidence=evidence,
            reason="condition" if KINDS[kind] == "cleared" else None,
        )

    def _pack(self, places: Int64s) -> bytes:
        if not len(places):
            return b""
        states = self._states.rows[places]
        records: Any = np.zeros(len(places), RECORD)
        owners = [self._owner[place] for place in places.tolist()]
        records["rule_no"] = [rule.rule_no for _, rule in owners]
        records["version"] = [rule.version for _, rule in owners]
        records["sensor_no"] = [self._sensors[sensor].sensor_no for sensor, _ in owners]
        for name, column in (
            ("phase", j.W_PHASE),
            ("level", j.W_LEVEL),
            ("since", j.W_SINCE),
            ("opened", j.W_OPENED),
            ("last", j.W_LAST),
        ):
            records[name] = states[:, column]
        self._states.rows[places, j.W_DIRTY] = 0
        return bytes(records.tobytes())

    def _grow_ring(self, series: int) -> None:
        """Double the ring of one series; one that outgrows FEW readings gets panes."""
        row, arena = self._series.rows[series], self._arena
        old, offset = int(row[w.R_CAPACITY]), int(row[w.R_OFFSET])
        capacity = max(2 * old, FIRST_RING)
        start = arena.take(w.READING * capacity)
        positions = np.arange(row[w.R_TAIL], row[w.R_HEAD])
        if len(positions):
            source = offset + w.READING * (positions & (old - 1))
            target = start + w.READING * (positions & (capacity - 1))
            for word in range(w.READING):
                arena.words[target + word] = arena.words[source + word]
        if old:
            arena.give_back(offset, w.READING * old)
        row[w.R_OFFSET], row[w.R_CAPACITY] = start, capacity
        if capacity > w.FEW and row[w.R_PANES] < 0:
            row[w.R_PANES] = arena.take(w.PANE * w.PANES * int(row[w.R_CLASSES]))
            w.fill_panes(row, arena.words, arena.numbers, self._shapes.classes)


def compile_kernel() -> None:
    """Compile (or load from NUMBA_CACHE_DIR) by folding one reading under one rule."""
    spec = parse_rule("rule warm on sensors when avg(x, 1m) > 0")
    rules = TenantRules(UUID(int=0), [ActiveRule(RuleNo(1), UUID(int=1), 1, spec)])
    sensor = rules.add_sensor(SensorNo(1), UUID(int=2), "s", {})
    slot = np.array([rules.add_series(sensor, "x", None)])
    rules.warm(slot, np.array([0]), np.array([1.0]))
    rules.fold(slot, np.array([1]), np.array([1.0]), Micros(1))
