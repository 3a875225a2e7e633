"""The rules of one tenant at work: what its actor owns, and what recovery rebuilds.

Series and sensors are dense slots in the order they were added. Windows are derivable and never
stored; the state of a rule at a sensor is. Invariant: a state rebuilt from
the same rules, sensors, series, warm windows and records goes on exactly as this one.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import CloseReason, Evidence, Opening, Silence, Transition, TransitionKind
from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules import judging as j
from atalaia.rules import kernel as k
from atalaia.rules import windows as w
from atalaia.rules.absence import Absence, Span, on_grid
from atalaia.rules.cost import WORD
from atalaia.rules.evidence import Witness
from atalaia.rules.forecast import STATE_BYTES
from atalaia.rules.foresight import Foresight, Sensor
from atalaia.rules.growing import Table
from atalaia.rules.language import parse_rule
from atalaia.rules.memory import Memory
from atalaia.rules.program import ActiveRule, fitting
from atalaia.rules.shapes import Shapes
from atalaia.rules.states import STORED, States
from atalaia.rules.syntax import SEVERITY_ORDER, Aggregate
from atalaia.rules.transitions import make_transition

__all__ = ["ActiveRule", "TenantRules", "compile_kernel"]

KINDS: tuple[TransitionKind, ...] = ("opened", "raised", "lowered", "cleared")
FIRST_ROOM, MOST_ROOM = 64, 16_384  # steps from one stop of the kernel to the next
RESTORED = 4_096  # states from one halt to the next
NS_PER_STEP = 40_000  # of an alert, mostly for what it is opened on
NS_PER_WATCHED = 100  # a sensor under a rule of silence
LONG_AGO = Micros(0)


@attrs.define(eq=False)
class TenantRules:
    """See the module. Single-threaded; every method is synchronous."""

    tenant_id: UUID
    rules: Sequence[ActiveRule]
    foresight: Foresight = attrs.field(init=False)
    _shapes: Shapes = attrs.field(init=False)
    _sensors: list[Sensor] = attrs.field(factory=list)
    _sensor_table: Table = attrs.field(factory=lambda: Table(k.SENSOR))
    _series: Table = attrs.field(factory=lambda: Table(w.SERIES))
    _series_of: Table = attrs.field(factory=lambda: Table(1))
    _metrics: dict[str, int] = attrs.field(factory=dict)
    """Every metric there is, numbered as they came."""
    _metric_of: Table = attrs.field(factory=lambda: Table(1))
    _states: States = attrs.field(factory=States)
    _absence: Absence = attrs.field(init=False)
    _memory: Memory = attrs.field(factory=Memory)
    _witness: Witness = attrs.field(factory=Witness)
    _rest: Callable[[], None] | None = None
    _rows_per_turn: int = 0
    _stack: Floats = attrs.field(factory=lambda: np.empty(j.STACK, np.float64))
    _scratch: Floats = attrs.field(factory=lambda: np.empty(w.FEW, np.float64))

    def __attrs_post_init__(self) -> None:
        self._shapes = Shapes(self.rules)
        self._absence = Absence(self._states)
        self.foresight = Foresight(
            len(self.rules), self._shapes, self._sensors, self._sensor_table, self._series,
            self._metric_of, self._metrics, self._absence,
        )  # fmt: skip

    def add_sensor(
        self,
        sensor_no: SensorNo,
        sensor_id: UUID,
        name: str,
        tags: Mapping[str, str],
        heard: Micros = LONG_AGO,
    ) -> int:
        """Returns the sensor's slot. Its rules are those whose selectors match now, but for
        those that `left_out` names. heard: when its silence began, at the earliest.
        """
        index, silence = self._shapes.find(name, tags)
        shape = self._shapes[index]
        slot = len(self._sensors)
        states = len(self._states)
        self._states.add(slot, sensor_no, (*shape.rules, *silence))
        self._absence.add_sensor(heard, silence, states + len(shape.rules))
        series = len(self._series_of)
        self._series_of.add((-1,), times=len(shape.metrics))
        looks = self._memory.take(w.LOOK * len(shape.windows))
        self._memory.words[looks : looks + w.LOOK * len(shape.windows)] = w.NEVER
        self._memory.words[looks + w.L_POS : looks + w.LOOK * len(shape.windows) : w.LOOK] = 0
        self._sensors.append(Sensor(sensor_no, sensor_id, name, tags, shape))
        self._sensor_table.add((index, w.NEVER, states, series, looks, 0))
        return slot

    @property
    def spent_us(self) -> int:
        """What it took to add all these sensors, about: they, their states, and their shapes."""
        return 10 * len(self._sensors) + len(self._states) + 20 * len(self._shapes.rules)

    def left_out(self, sensor: int) -> Sequence[ActiveRule]:
        """The rules that match a sensor and do not watch it: it would be too many metrics."""
        return self._shapes.matching[self._shape(sensor)][len(self._sensors[sensor].shape.rules) :]

    def name_of(self, sensor: int) -> str:
        return self._sensors[sensor].name

    def tags_of(self, sensor: int) -> Mapping[str, str]:
        return self._sensors[sensor].tags

    def _shape(self, sensor: int) -> int:
        return int(self._sensor_table.rows[sensor, k.S_SHAPE])

    def add_series(self, sensor: int, metric: str, judged: Micros | None) -> int:
        """Returns the series' slot. judged, the time of the newest reading that was judged,
        restores the clock of its sensor after a restart.
        """
        slot = len(self._series)
        shape = self._sensors[sensor].shape
        place, reach, first_class, classes = -1, 0, 0, 0
        if metric in shape.metrics:
            place = shape.metrics.index(metric)
            reach = shape.reaches[place]
            first_class, end = shape.class_at[place : place + 2]
            classes = end - first_class
            first_class += int(self._shapes.at[self._sensor_table.rows[sensor, k.S_SHAPE], 6])
            self._series_of.rows[self._sensor_table.rows[sensor, k.S_SERIES] + place, 0] = slot
        self._series.add((sensor, place, 0, 0, -1, -1, reach, -1, first_class, classes))
        self._metric_of.add((self._metrics.setdefault(metric, len(self._metrics)),))
        if judged is not None:
            clock = self._sensor_table.rows[sensor]
            clock[k.S_CLOCK] = max(clock[k.S_CLOCK], judged)
        return slot

    @property
    def used_bytes(self) -> int:
        """Memory of the windows and states, room to grow left out."""
        tables = (self._sensor_table, self._series, self._series_of)
        return (
            self._memory.used_bytes + self._states.used_bytes + sum(t.rows.nbytes for t in tables)
        )

    @property
    def held_bytes(self) -> int:
        """As `used_bytes`, and what Python keeps of the states."""
        return self.used_bytes + (STATE_BYTES - WORD) * len(self._states)

    def windows_us(self, series: Int64s) -> Int64s:
        """How far before the newest judged reading of each its windows can reach; 0: none look."""
        return self._series.rows[:, w.R_REACH][series]

    def warm(self, series: Int64s, ts: Int64s, value: Floats) -> None:
        """Rebuild windows from stored rows, ascending per series, without judging."""
        row = 0
        while row < len(series):
            row, why, what = k.warm(
                series, ts, value, row, self._sensor_table.rows, self._series.rows,
                self._memory.words, self._memory.numbers, self._memory.control,
                self._shapes.classes,
            )  # fmt: skip
            self._make_room(why, int(what))

    def fold(self, series: Int64s, ts: Int64s, value: Floats, arrived: Micros) -> list[Transition]:
        """Judge rows, sorted by (sensor, ts). Rows of one sensor and time count together.

        An opening comes with what it was judged by. Its windows still hold that here: the kernel
        stops behind it.
        """
        return self.fold_some(series, ts, value, arrived, len(series) * len(self.rules))[0]

    def fold_some(
        self, series: Int64s, ts: Int64s, value: Floats, arrived: Micros, most: int
    ) -> tuple[list[Transition], int]:
        """As `fold`, and how many rows were judged: it ends behind the group of rows with which
        there are `most` steps, or few more.
        """
        found: list[Transition] = []
        for row, steps, numbers in self._fold_on(series, ts, value, most=most):
            found += (
                self._transition(step, values, arrived)
                for step, values in zip(steps.tolist(), numbers, strict=True)
            )
            if len(found) >= most:
                return found, row
        return found, len(series)

    def fold_columns(
        self, series: Int64s, ts: Int64s, value: Floats
    ) -> Iterator[tuple[Int64s, Floats]]:
        """As `fold`, for those who want no object per step: some at a time.

        Yields (steps, columns as kernel.T_*; the values of the sensor's atoms at each).
        """
        return ((steps, numbers) for _, steps, numbers in self._fold_on(series, ts, value))

    def _fold_on(
        self, series: Int64s, ts: Int64s, value: Floats, *, most: int | None = None
    ) -> Iterator[tuple[int, Int64s, Floats]]:
        """Yields how many rows are judged, and the steps since. With `most` it stops where so many
        have been found, and behind every opening.
        """
        shapes, states, memory = self._shapes, self._states, self._memory
        hours = shapes.hours
        row, end, room, least = 0, 0, FIRST_ROOM, 1
        left = sys.maxsize if most is None else most
        if hours.schedules:
            self._cover(series, ts)
        counts = np.array([0, states.dirty_count, most is not None], np.int64)
        while row < len(series):
            if row == end:
                end = self._next_turn(series, ts, row)
            room = min(room, max(left, least))
            out = np.empty((room, k.TRANSITION), np.int64)
            out_values = np.empty((room, shapes.most_atoms), np.float64)
            counts[0] = 0
            row, why, what = k.fold(
                series[:end], ts[:end], value[:end], row,
                self._sensor_table.rows, self._series.rows, self._series_of.rows[:, 0],
                states.words, states.records, states.pool,
                memory.words, memory.numbers, memory.control,
                shapes.at, shapes.windows, shapes.classes, shapes.atoms, shapes.rules,
                shapes.programs, shapes.ops, shapes.constants, hours.edges, hours.edges_at,
                out, out_values, states.dirty, counts,
                shapes.summary, shapes.values, self._stack, self._scratch,
            )  # fmt: skip
            states.dirty_count = int(counts[1])
            if counts[0]:
                left -= int(counts[0])
                yield row, out[: counts[0]], out_values[: counts[0]]
            if why == k.OUTPUT_FULL:
                least = int(what)
                room = min(2 * room, MOST_ROOM) + least
            self._make_room(why, int(what))

    def take_turns(self, rows: int, rest: Callable[[], None]) -> None:
        """Have `fold` call this after so many rows, every time that more are left."""
        self._rows_per_turn, self._rest = rows, rest

    def _next_turn(self, series: Int64s, ts: Int64s, row: int) -> int:
        """Where it ends: rows of one sensor and time are judged together."""
        if self._rest is None:
            return len(series)
        if row:
            self._rest()
        end = min(row + self._rows_per_turn, len(series))
        sensors = self._series.rows[:, w.R_SENSOR]
        while end < len(series) and (
            ts[end] == ts[end - 1] and sensors[series[end]] == sensors[series[end - 1]]
        ):
            end += 1
        return end

    def _cover(self, series: Int64s, ts: Int64s) -> None:
        """Lay out the schedules where these rows are judged: at the clocks of their sensors."""
        sensors = self._series.rows[series, w.R_SENSOR]
        watched = self._shapes.scheduled[self._sensor_table.rows[sensors, k.S_SHAPE]] > 0
        if watched.any():
            sensors = sensors[watched]
            clocks = self._sensor_table.rows[sensors, k.S_CLOCK]
            self._shapes.hours.cover(np.maximum(clocks, ts[watched]), self._rest)

    def ns_to_prepare(self, ts: Int64s) -> int:
        """What `fold` may take for rows of these times beside its time per row, about: all rules of
        a sensor may open an alert at once.
        """
        return self._shapes.hours.ns_to_cover(ts) + NS_PER_STEP * self._shapes.most_rules

    @property
    def waits(self) -> bool:
        """Whether silence may open an alert here: then `tick` must be called."""
        return len(self._absence) > 0

    def next_tick(self) -> Micros:
        """When `tick` will open an alert if nobody is heard of before."""
        return self._absence.next_deadline()

    def listen_from(self, since: Micros) -> None:
        """Nobody's silence began before this."""
        self._absence.listen_from(since)

    def listen_to(self, sensors: Int64s, since: Int64s) -> None:
        """The silence of these sensors began no sooner than then."""
        self._absence.listen_to(sensors, since)

    def pass_over(self, spans: Sequence[Span]) -> None:
        """All times when nobody could be heard, in order and apart: they are nobody's silence."""
        self._absence.pass_over(spans)

    def due(self, now: Micros) -> Sequence[int]:
        """What `tick` would open at `now`, a line of the grid: places, in their order."""
        return self._absence.due(now)

    @property
    def ns_to_look(self) -> int:
        """What `due` takes, about."""
        return NS_PER_WATCHED * len(self._absence)

    def tick(self, places: Sequence[int], now: Micros, arrived: Micros) -> list[Transition]:
        """Open the alerts of silence that are due at `now`: some or all of those that `due` names.

        arrived: the received_at under which this is committed.
        """
        found = []
        for place in places:
            slot, _, rule = self._states.owner(place)
            silence = rule.spec.silence
            if silence is None:
                raise AssertionError("only rules of silence are watched")
            level = SEVERITY_ORDER.index(rule.spec.levels[0].severity)
            self._states.open(place, level, now)
            since = self._absence.since(slot)
            deadline = on_grid(since + silence.after_us)
            evidence = (Evidence(str(silence), (now - since) / 1e6),)
            opening = Opening(rule.spec.text, silence=Silence(Micros(since), Micros(deadline)))
            found.append(self._step("opened", place, level, now, now, arrived, evidence, opening))
        return found

    def hear(self, series: Int64s, arrived: Micros) -> list[int]:
        """Readings newer than the newest of these series arrived just now, be they judged now or
        later. Returns the places of silence that are open there: `end_silence` of them.
        """
        if not len(self._absence):
            return []
        return self._absence.hear(np.unique(self._series.rows[series, w.R_SENSOR]), arrived)

    def end_silence(self, places: Sequence[int], arrived: Micros) -> list[Transition]:
        """Clear alerts of silence."""
        found = []
        for place in places:
            closed = self._states.close(place)
            if closed is None:
                raise AssertionError("an open state has an alert")
            level, opened = closed
            evidence = (Evidence(str(self._states.owner(place)[2].spec.when), 0.0),)
            found.append(self._step("cleared", place, level, arrived, opened, arrived, evidence))
        if found:
            self._absence.cleared()
        return found

    def _make_room(self, why: int, what: int) -> None:
        """Give the kernel what it stopped for."""
        if why == k.MEMORY_FULL:
            self._memory.ensure_blocks(what)
        elif why == k.RECORDS_FULL:
            self._states.ensure_records(what)
        elif why == k.OUTPUT_FULL:
            self._states.ensure_dirty(what)
        elif why == k.SCRATCH_FULL:
            self._scratch = np.empty(what, np.float64)
        elif why == k.PANES_WANTED:
            rows, memory = self._series.rows, self._memory
            rows[what, w.R_PANES] = memory.take(w.PANE * w.PANES * int(rows[what, w.R_CLASSES]))
            w.fill_panes(rows, what, memory.words, memory.numbers, self._shapes.classes)

    def values_of(self, sensor: int) -> dict[Aggregate, float]:
        """The aggregates of a sensor's rules as they were last judged; it was judged last."""
        row, shape = self._sensor_table.rows[sensor], self._sensors[sensor].shape
        values = self._shapes.values[self._shapes.at[row[k.S_SHAPE], 2] :]
        return {
            aggregate: float(values[atom])
            for rule, atoms in zip(shape.rules, shape.rule_atoms, strict=True)
            for aggregate, atom in zip(rule.spec.aggregates, atoms.tolist(), strict=True)
        }

    def state_columns(self) -> tuple[Int64s, Int64s]:
        """Per state: the number of its rule, and where the rule's first aggregate stands among
        the values of its sensor.
        """
        numbers, firsts = [], []
        for sensor in self._sensors:
            for rule, atoms in zip(sensor.shape.rules, sensor.shape.rule_atoms, strict=True):
                numbers.append(rule.rule_no)
                firsts.append(int(atoms[0]))
        return np.array(numbers, np.int64), np.array(firsts, np.int64)

    def take_dirty(self) -> bytes:
        """The stored form of every state changed since the last call."""
        return self._states.take_dirty()

    def dump(self) -> bytes:
        """The stored form of every state that is not as new."""
        return self._states.dump()

    def restore(self, packed: bytes) -> None:
        """Apply stored states in order, later ones winning; other versions are ignored."""
        for _ in self.restore_in_parts(packed):
            pass

    def restore_in_parts(self, packed: bytes) -> Iterator[None]:
        """As `restore`, with a halt every few milliseconds."""
        slots = {sensor.sensor_no: slot for slot, sensor in enumerate(self._sensors)}
        rules = {rule.rule_no: rule for rule in self.rules}
        size = RESTORED * STORED.itemsize
        for start in range(0, len(packed), size):
            self._states.restore(packed[start : start + size], slots, rules)
            yield

    def close(
        self, rule_no: RuleNo, *, arrived: Micros, reason: CloseReason, most: int | None = None
    ) -> list[Transition]:
        """Close the open alerts of a rule at their sensors' clocks, in the order of sensors: no
        more than so many.
        """
        return self._close(self._states.open_places(rule_no)[:most], arrived, reason)

    def leave(
        self, sensor: int, tags: Mapping[str, str], *, arrived: Micros, reason: CloseReason
    ) -> list[Transition]:
        """Close the alerts of the rules that will not watch a sensor any more under these tags.

        They watch it until this state has been rebuilt with the tags.
        """
        name = self._sensors[sensor].name
        matching = self._shapes.match(name, tags)
        staying = {rule.rule_no for rule in matching[: fitting(matching)]}
        staying |= {rule.rule_no for rule in self._shapes.match_silence(name, tags)}
        return self._close_but(sensor, staying, arrived, reason)

    def forsake(self, sensor: int, *, arrived: Micros, reason: CloseReason) -> list[Transition]:
        """Close all alerts of a sensor, which is gone when this state has been rebuilt."""
        return self._close_but(sensor, set(), arrived, reason)

    def _close_but(
        self, sensor: int, staying: Set[RuleNo], arrived: Micros, reason: CloseReason
    ) -> list[Transition]:
        row = self._sensors[sensor]
        watching = (*row.shape.rules, *self._shapes.match_silence(row.name, row.tags))
        first = int(self._sensor_table.rows[sensor, k.S_STATE])
        places = [first + n for n, rule in enumerate(watching) if rule.rule_no not in staying]
        return self._close(places, arrived, reason)

    def _close(
        self, places: Sequence[int], arrived: Micros, reason: CloseReason
    ) -> list[Transition]:
        closed = []
        for place in places:
            alert = self._states.close(place)
            if alert is None:
                continue
            level, opened = alert
            slot, _, rule = self._states.owner(place)
            clock = int(self._sensor_table.rows[slot, k.S_CLOCK])
            at = clock if rule.spec.silence is None else arrived  # the clock it goes by
            step = self._step("cleared", place, level, at, opened, arrived)
            closed.append(attrs.evolve(step, reason=reason))
        return closed

    def _transition(self, step: list[int], values: Floats, arrived: Micros) -> Transition:
        sensor_slot, place, kind, level, at, opened = step
        sensor, rule = self._sensors[sensor_slot], self._states.owner(place)[2]
        atoms = sensor.shape.rule_atoms[sensor.shape.rules.index(rule)]
        evidence = tuple(
            Evidence(str(aggregate), value if math.isfinite(value) else None)
            for aggregate, value in zip(rule.spec.aggregates, values[atoms].tolist(), strict=True)
        )
        opening = self._opening(place, values, at) if kind == j.OPENED else None
        return self._step(KINDS[kind], place, level, at, opened, arrived, evidence, opening)

    def _opening(self, place: int, atoms: Floats, at: int) -> Opening:
        """Of an alert that the last judged group opened."""
        sensor, _, rule = self._states.owner(place)
        row = self._sensor_table.rows[sensor]
        shape = self._sensors[sensor].shape
        first = row[k.S_SERIES]
        return self._witness.tell(
            rule, shape, int(row[k.S_SHAPE]), atoms, at, self._states.opened_before(place),
            int(row[k.S_LOOK]), self._series_of.rows[first : first + len(shape.metrics), 0],
            self._series.rows, self._memory,
        )  # fmt: skip

    def _step(
        self,
        kind: TransitionKind,
        place: int,
        level: int,
        at: int,
        opened: int,
        arrived: Micros,
        evidence: tuple[Evidence, ...] = (),
        opening: Opening | None = None,
    ) -> Transition:
        slot, sensor_no, rule = self._states.owner(place)
        return make_transition(
            kind,
            tenant_id=self.tenant_id,
            rule=rule,
            sensor_no=sensor_no,
            sensor_id=self._sensors[slot].sensor_id,
            level=level,
            opened=opened,
            at=at,
            arrived=arrived,
            evidence=evidence,
            opening=opening,
        )


def compile_kernel() -> None:
    """Compile (or load from NUMBA_CACHE_DIR) by folding one reading under one rule."""
    spec = parse_rule("rule warm on sensors when avg(x, 1m) > 0")
    rules = TenantRules(UUID(int=0), [ActiveRule(RuleNo(1), UUID(int=1), 1, spec)])
    sensor = rules.add_sensor(SensorNo(1), UUID(int=2), "s", {})
    slot = np.array([rules.add_series(sensor, "x", None)])
    rules.warm(slot, np.array([0]), np.array([1.0]))
    rules.fold(slot, np.array([1]), np.array([1.0]), Micros(1))
    rules.restore(rules.dump())
