"""What should have happened: one tenant's committed items folded in their order, from nothing,
without a fault, a restart or a snapshot.

Shares the fold with the engine and nothing else: what is late, which windows are warm, what an
edit closes and what silence means is worked out anew from the readings themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import CloseReason, Evidence, Opening, Silence, Transition
from atalaia.model.ids import Micros, RuleNo, SensorNo, SeriesNo, TenantNo
from atalaia.ports import CommitItem, RuleWrite, TagsWrite
from atalaia.rules.absence import GRID_US, on_grid
from atalaia.rules.chains import NEVER
from atalaia.rules.language import parse_rule
from atalaia.rules.syntax import SEVERITY_ORDER
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from atalaia.rules.transitions import make_transition
from atalaia.storage.memory import AlertRow, MemoryTenant, since_snapshot
from tests.simulation.items import by_sensor, rows_in, spelled, states_in, times_in, zipped
from tests.simulation.plan import KEPT_IN_ORDER
from tests.simulation.waiting import Row, Waiting
from tests.simulation.world import Entry, World

MANY = 256  # steps in an item: more than a batch here makes


@attrs.define(eq=False)
class Reference:
    """Takes a tenant's entries in order; says through `world.check` what differs."""

    world: World
    tenant_no: TenantNo
    rules: TenantRules = attrs.field(init=False)
    waiting: Waiting = attrs.field(init=False)
    last: int = 0
    stored: dict[tuple[SeriesNo, Micros], tuple[float, Micros, bool]] = attrs.field(factory=dict)
    alerts: dict[UUID, AlertRow] = attrs.field(factory=dict)
    steps: list[tuple[object, ...]] = attrs.field(factory=list)
    writes: dict[RuleNo, RuleWrite] = attrs.field(factory=dict)
    tags: dict[SensorNo, dict[str, str]] = attrs.field(factory=dict)
    removed: set[SensorNo] = attrs.field(factory=set)
    heard: dict[SensorNo, Micros] = attrs.field(factory=dict)
    silent: dict[tuple[RuleNo, SensorNo], tuple[int, Micros]] = attrs.field(factory=dict)
    """Open alerts of silence: their level and when they opened."""
    ending: set[tuple[RuleNo, SensorNo]] = attrs.field(factory=set)
    """Of those, whose sensors have been heard of: they are cleared, of many some in later items."""
    _sensors: dict[SensorNo, int] = attrs.field(factory=dict)
    _series: dict[SeriesNo, int] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.rules = TenantRules(self._tenant.tenant_id, [])
        self.waiting = Waiting(self.world.plan.lateness_us[self.tenant_no - 1])

    @property
    def _tenant(self) -> MemoryTenant:
        return self.world.database.tenants[self.tenant_no]

    def take(self, entry: Entry) -> None:
        item = entry.item
        self.world.check(
            item.received_at > self.last, "received_at grows", last=self.last, now=item.received_at
        )
        self.last = item.received_at
        wanted = self._judge(item)
        if item.rule_write is not None:
            wanted += self._edit(item.rule_write, item.received_at)
        elif item.tags_write is not None:
            wanted += self._tag(item.tags_write, item.received_at)
        elif item.removal is not None:
            wanted += self._remove(item.removal, item.received_at)
        elif item.lateness_write is not None:
            write = item.lateness_write
            self.waiting.set_lateness(write.sensor_no, write.lateness_us)
        else:
            wanted += self._close_ahead(item)
            wanted += self._end_silences(item)
            if not item.rows:
                wanted += self._tick(item, entry)
        if by_sensor(wanted) != by_sensor(item.transitions):
            self.world.fail(
                f"tenant {self.tenant_no} at {item.received_at}: the alerts differ\n"
                f"  committed {spelled(item.transitions)}\n  reference {spelled(wanted)}"
            )
        self._note(wanted)
        self._check_times(item)

    def finish(self) -> None:
        """Compare what is stored in the end."""
        tenant, check = self._tenant, self.world.check
        stored = {
            key: (point.value, point.received_at, point.late)
            for key, point in tenant.readings.items()
        }
        check(stored == self.stored, "the readings differ", tenant=self.tenant_no,
              difference=list(stored.items() ^ self.stored.items())[:4])  # fmt: skip
        check(tenant.alerts == self.alerts, "the alert rows differ", tenant=self.tenant_no)
        steps = sorted((s.arrival, str(key[0]), s.kind, s.at, s.severity, s.value)
                       for key, s in tenant.steps.items())  # fmt: skip
        check(steps == sorted(self.steps), "the alerts' histories differ", tenant=self.tenant_no)
        opened = [
            (row.opened.rule_no, row.opened.sensor_no)
            for row in tenant.alerts.values()
            if row.state == "open"
        ]
        check(len(opened) == len(set(opened)), "one open alert per rule and sensor")
        self._check_states(tenant)

    def _check_states(self, tenant: MemoryTenant) -> None:
        """What the next process would know is what this fold knows."""
        newest: dict[SeriesNo, Micros] = {}
        judged: dict[SeriesNo, Micros] = {}
        packed = b""
        for _, row in since_snapshot(tenant):
            newest.update(row.newest)
            judged.update(row.judged)
            packed += row.rule_states
        for what, theirs, mine in (
            ("newest", newest, self.waiting.newest),
            ("newest judged", judged, self.waiting.judged),
        ):
            there = {
                (series, at)
                for series, at in theirs.items()
                if at != NEVER and tenant.series[series].sensor_no not in self.removed
            }
            self.world.check(there == set(mine.items()), f"the {what} times differ",
                             tenant=self.tenant_no,
                             difference=list(there ^ set(mine.items()))[:4])  # fmt: skip
        after = self._fresh()
        after.restore(packed)
        states, wanted = states_in(after), states_in(self.rules)
        self.world.check(
            states == wanted, "the rule states differ", tenant=self.tenant_no,
            stored=sorted(states - wanted), wanted=sorted(wanted - states),
        )  # fmt: skip

    def _judge(self, item: CommitItem) -> list[Transition]:
        rows = self._rows_of(rows_in(item))
        fresh, heard = self.waiting.take(rows, self.stored)
        for row in fresh:
            self._know(row.series)
            self.stored[row.series, row.ts] = (row.value, item.received_at, False)
        for row in rows:
            if (row.series, row.ts) not in self.stored:
                self.stored[row.series, row.ts] = (row.value, item.received_at, True)
                self.world.check(
                    self._tenant.sensors[row.sensor].name not in KEPT_IN_ORDER,
                    "what is sent in order is not late", tenant=self.tenant_no, row=row,
                )  # fmt: skip
        ready = self._ready(item, fresh)
        self.waiting.judge(ready)
        columns = sorted(
            (self._sensors[row.sensor], row.ts, self._series[row.series], row.value)
            for row in ready
        )
        found: list[Transition] = []
        if columns:
            found = self.rules.fold(
                np.array([series for _, _, series, _ in columns]),
                np.array([ts for _, ts, _, _ in columns], np.int64),
                np.array([value for _, _, _, value in columns]),
                item.received_at,
            )
        self._hear(heard, item)
        return found

    def _rows_of(self, rows: Iterable[tuple[SeriesNo, Micros, float]]) -> list[Row]:
        tenant = self._tenant
        found = [Row(tenant.series[n].sensor_no, ts, n, value) for n, ts, value in rows]
        gone = {row.sensor for row in found} & self.removed
        self.world.check(not gone, "a removed sensor gets no readings", sensors=gone)
        return found

    def _ready(self, item: CommitItem, fresh: Sequence[Row]) -> list[Row]:
        """What is judged with an item: how much with a part that others follow is not promised, but
        that it is the oldest of what is due at a sensor, and all that is stored with it.
        """
        write, is_part = item.lateness_write, len(item.following) > 0
        if write is not None:
            return self.waiting.all_of(write.sensor_no)
        if item.rows or is_part:
            ahead: dict[SensorNo, Micros] = {}
            for row in self._rows_of(zipped(item.following)):
                ahead[row.sensor] = max(row.ts, ahead.get(row.sensor, row.ts))
            due = self.waiting.due(ahead)
            if not is_part:
                return due
        elif item.snapshot or self.world.plan.limits.item_steps >= MANY:
            return []
        else:  # a lateness is changed
            due = self.waiting.all_of(None)
        until = times_in(item)
        ready = [row for row in due if row.series in until and row.ts <= until[row.series][1]]
        reached: dict[SensorNo, Micros] = {}
        for row in ready:
            reached[row.sensor] = max(row.ts, reached.get(row.sensor, row.ts))
        left = set(due) - set(ready)
        self.world.check(
            all(row.ts > reached.get(row.sensor, 0) for row in left),
            "a part judges the oldest", tenant=self.tenant_no, at=item.received_at,
        )  # fmt: skip
        self.world.check(
            left.isdisjoint(fresh), "a part stores what it judges", tenant=self.tenant_no
        )
        return ready

    def _check_times(self, item: CommitItem) -> None:
        """Where an item says that its series stand."""
        for series, said in times_in(item).items():
            mine = (self.waiting.newest.get(series), self.waiting.judged.get(series, NEVER))
            self.world.check(
                said == mine, "a series stands where it is said to", series=series, said=said,
                reference=mine, at=item.received_at,
            )  # fmt: skip

    def _know(self, series: SeriesNo) -> None:
        if series in self._series:
            return
        row = self._tenant.series[series]
        if row.sensor_no not in self._sensors:
            self._sensors[row.sensor_no] = self._add_sensor(self.rules, row.sensor_no)
        slot = self.rules.add_series(self._sensors[row.sensor_no], row.metric, None)
        self._series[series] = slot

    def _add_sensor(self, rules: TenantRules, number: SensorNo) -> int:
        sensor = self._tenant.sensors[number]
        return rules.add_sensor(number, sensor.sensor_id, sensor.name, self._tags(number))

    def _tags(self, number: SensorNo) -> Mapping[str, str]:
        return self.tags.get(number, self.world.first_tags.get(number, {}))

    def _fresh(self) -> TenantRules:
        """The rules and tags as they stand, windows warm from all that was judged."""
        judged = self.waiting.judged
        rules = TenantRules(
            self._tenant.tenant_id, [r for r in self._active() if r.spec.silence is None]
        )
        for sensor in self._sensors:
            self._add_sensor(rules, sensor)
        for series in self._series:
            row = self._tenant.series[series]
            rules.add_series(self._sensors[row.sensor_no], row.metric, judged.get(series))
        rows = sorted(
            (self._series[series], ts, value)
            for (series, ts), (value, _, late) in self.stored.items()
            if not late and ts <= judged.get(series, 0)
        )
        rules.warm(
            np.array([series for series, _, _ in rows], np.int64),
            np.array([ts for _, ts, _ in rows], np.int64),
            np.array([value for _, _, value in rows], np.float64),
        )
        return rules

    def _active(self) -> list[ActiveRule]:
        return [
            ActiveRule(no, write.rule.rule_id, write.rule.version, parse_rule(write.rule.text))
            for no, write in sorted(self.writes.items())
            if write.rule.enabled and not write.deleted
        ]

    def _rebuild(self) -> None:
        states = self.rules.dump()
        self.rules = self._fresh()
        self.rules.restore(states)

    def _edit(self, write: RuleWrite, arrived: Micros) -> list[Transition]:
        number, before = write.rule.rule_no, self.writes.get(write.rule.rule_no)
        reason: CloseReason | None = None
        if write.deleted:
            reason = "rule_deleted"
        elif not write.rule.enabled:
            reason = "rule_disabled"
        elif before is not None and before.rule.version != write.rule.version:
            reason = "rule_changed"
        closed: list[Transition] = []
        if reason is not None:
            closed = self.rules.close(number, arrived=arrived, reason=reason)
            pairs = [pair for pair in self.silent if pair[0] == number]
            closed += [self._end(pair, arrived, reason) for pair in pairs]
        self.writes[number] = write
        self._rebuild()
        return closed

    def _tag(self, write: TagsWrite, arrived: Micros) -> list[Transition]:
        closed: list[Transition] = []
        if write.sensor_no in self._sensors:
            slot = self._sensors[write.sensor_no]
            closed = self.rules.leave(slot, write.tags, arrived=arrived, reason="rule_changed")
        name = self._tenant.sensors[write.sensor_no].name
        for rule in self._active():
            pair = (rule.rule_no, write.sensor_no)
            if pair in self.silent and not rule.spec.selector.matches(name, write.tags):
                closed.append(self._end(pair, arrived, "rule_changed"))
        self.tags[write.sensor_no] = dict(write.tags)
        self._rebuild()
        return closed

    def _remove(self, number: SensorNo, arrived: Micros) -> list[Transition]:
        closed: list[Transition] = []
        if number in self._sensors:
            slot = self._sensors.pop(number)
            closed = self.rules.forsake(slot, arrived=arrived, reason="sensor_deleted")
        pairs = sorted(pair for pair in self.silent if pair[1] == number)
        closed += [self._end(pair, arrived, "sensor_deleted") for pair in pairs]
        self.removed.add(number)
        self.heard.pop(number, None)
        series = [s for s in self._series if self._tenant.series[s].sensor_no == number]
        self.waiting.forget(number, series)
        staying = [s for s in self._series if s not in series]
        self._sensors = {sensor: slot for slot, sensor in enumerate(self._sensors)}
        self._series = {number: slot for slot, number in enumerate(staying)}
        self._rebuild()
        return closed

    def _hear(self, sensors: set[SensorNo], item: CommitItem) -> None:
        self.heard |= dict.fromkeys(sensors, item.received_at)
        self.ending |= {pair for pair in self.silent if pair[1] in sensors}

    def _end_silences(self, item: CommitItem) -> list[Transition]:
        """At once, but where items are so short that a batch comes in parts."""
        ended = self.ending
        if self.world.plan.limits.item_steps < MANY:
            ended = ended & {(step.rule_no, step.sensor_no) for step in item.transitions}
        self.ending = self.ending - ended
        return [self._end(pair, item.received_at, "condition") for pair in sorted(ended)]

    def _close_ahead(self, item: CommitItem) -> list[Transition]:
        """Alerts of a rule whose edit follows, some of many; or it fails, and they stay closed."""
        wanted: list[Transition] = []
        if self.world.plan.limits.item_steps >= MANY:
            return wanted
        for step in item.transitions:
            pair, reason = (step.rule_no, step.sensor_no), step.reason
            if reason is None or reason == "condition":
                continue
            if pair in self.silent:
                wanted.append(self._end(pair, item.received_at, reason))
            else:
                wanted += self._close_at(step.rule_no, step.sensor_no, item.received_at, reason)
        return wanted

    def _close_at(
        self, rule_no: RuleNo, sensor: SensorNo, arrived: Micros, reason: CloseReason
    ) -> list[Transition]:
        """At the sensor that was closed: which comes first, of many, is not promised."""
        states, slot = self.rules._states, self._sensors.get(sensor)
        places = [p for p in states.open_places(rule_no) if states.owner(p)[0] == slot]
        return self.rules._close(places, arrived, reason)

    def _end(
        self, pair: tuple[RuleNo, SensorNo], arrived: Micros, reason: CloseReason
    ) -> Transition:
        level, opened = self.silent.pop(pair)
        self.ending.discard(pair)
        rule = next(rule for rule in self._active() if rule.rule_no == pair[0])
        evidence = (Evidence(str(rule.spec.when), 0.0),) if reason == "condition" else ()
        step = self._step("cleared", rule, pair[1], level, opened, arrived, arrived, evidence)
        return attrs.evolve(step, reason=reason)

    def _step(
        self, kind: str, rule: ActiveRule, sensor: SensorNo, level: int, opened: int, at: int,
        arrived: Micros, evidence: tuple[Evidence, ...],
    ) -> Transition:  # fmt: skip
        return make_transition(
            kind,  # type: ignore[arg-type]
            tenant_id=self._tenant.tenant_id, rule=rule, sensor_no=sensor,
            sensor_id=self._tenant.sensors[sensor].sensor_id, level=level, opened=opened, at=at,
            arrived=arrived, evidence=evidence,
        )  # fmt: skip

    def _tick(self, item: CommitItem, entry: Entry) -> list[Transition]:
        """A tick may open any alert that is due; what it says of the silence must be true."""
        line = item.received_at // GRID_US * GRID_US
        rules = {rule.rule_no: rule for rule in self._active()}
        wanted = []
        for step in item.transitions:
            rule, sensor = rules.get(step.rule_no), self._tenant.sensors[step.sensor_no]
            silence = None if rule is None else rule.spec.silence
            pair = (step.rule_no, step.sensor_no)
            tags = self._tags(step.sensor_no)
            if rule is None or silence is None or pair in self.silent or step.value is None:
                continue  # then it is not wanted, and the comparison says so
            heard = line - round(1e6 * step.value)
            mine = self.heard.get(step.sensor_no, sensor.registered_at)
            since = 0 if self.world.plan.clock_steps else self.world.began_us[entry.life]
            due = heard + silence.after_us <= line and heard >= max(mine, since)
            there = step.sensor_no not in self.removed
            if there and due and rule.spec.selector.matches(sensor.name, tags):
                level = SEVERITY_ORDER.index(rule.spec.levels[0].severity)
                self.silent[pair] = (level, Micros(line))
                evidence = (Evidence(str(rule.spec.when), (line - heard) / 1e6),)
                told = self._step("opened", rule, step.sensor_no, level, line, line,
                                  item.received_at, evidence)  # fmt: skip
                deadline = on_grid(heard + silence.after_us)
                opening = Opening(rule.spec.text, silence=Silence(Micros(heard), Micros(deadline)))
                wanted.append(attrs.evolve(told, opening=opening))
        return wanted

    def _note(self, wanted: Sequence[Transition]) -> None:
        for step in wanted:
            self.steps.append((step.arrived, str(step.alert_id), step.kind, step.at, step.severity,
                               step.value))  # fmt: skip
            if step.kind == "opened":
                self.alerts[step.alert_id] = AlertRow(step, step.severity)
            else:
                row = attrs.evolve(self.alerts[step.alert_id], severity=step.severity)
                if step.kind == "cleared":
                    row = attrs.evolve(row, state="cleared", cleared=step)
                self.alerts[step.alert_id] = row

    def overdue(self, now: Micros) -> list[tuple[RuleNo, SensorNo]]:
        """Pairs of rule and sensor that have been silent for too long, with no alert open."""
        began = {
            number: sensor.registered_at
            for number, sensor in self._tenant.sensors.items()
            if (self.tenant_no, sensor.name) in self.world.registered and number not in self.removed
        }
        return [
            (rule.rule_no, number)
            for rule in self._active()
            if rule.spec.silence is not None
            for number, heard in (began | self.heard).items()
            if rule.spec.selector.matches(self._tenant.sensors[number].name, self._tags(number))
            and heard + rule.spec.silence.after_us < now
            and (rule.rule_no, number) not in self.silent
        ]
