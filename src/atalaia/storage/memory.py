"""The engine's port in dicts, with the promises it keeps on Postgres; for tests and simulation.

`MemoryDatabase` is what is durable and outlives every store on it; `MemoryEngineStore` is one
process' way to it, under its lease. Knows no faults: those who want some put them around it.
Invariant: what a call refuses leaves no trace.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.errors import Conflict
from atalaia.model.ids import DAY_US, Micros, RuleNo, SensorNo, SeriesNo, TenantNo, uuid7
from atalaia.model.views import AlertFilter, AlertState, AlertStep, AlertView, OpeningView, Point
from atalaia.ports import (
    CommitItem,
    Fenced,
    RuleWrite,
    SensorRow,
    SeriesRow,
    StoreRefused,
    StoreUnavailable,
    TenantGone,
    TenantImage,
    Waiting,
)
from atalaia.storage.partitions import Partition, Partitions, parse_partition

SETTLED_US = 35 * DAY_US
_ABSENT: Any = object()
K = TypeVar("K")
V = TypeVar("V")


@attrs.frozen
class StateRow:
    """What one commit says of a tenant's state."""

    snapshot: bool
    newest: Mapping[SeriesNo, Micros]
    judged: Mapping[SeriesNo, Micros]
    rule_states: bytes


@attrs.frozen
class AlertRow:
    """An alert by the inner numbers of its rule and sensor."""

    opened: Transition
    severity: str
    state: AlertState = "open"
    cleared: Transition | None = None


@attrs.define(eq=False)
class MemoryTenant:
    """Everything that is stored of one tenant. Tables by primary key."""

    tenant_id: UUID
    max_series: int
    lateness_us: int = 0
    sensors: dict[SensorNo, SensorRow] = attrs.field(factory=dict)
    series: dict[SeriesNo, SeriesRow] = attrs.field(factory=dict)
    readings: dict[tuple[SeriesNo, Micros], Point] = attrs.field(factory=dict)
    states: dict[Micros, StateRow] = attrs.field(factory=dict)
    rules: dict[RuleNo, RuleWrite] = attrs.field(factory=dict)
    alerts: dict[UUID, AlertRow] = attrs.field(factory=dict)
    steps: dict[tuple[UUID, Micros, int], AlertStep] = attrs.field(factory=dict)
    audit: dict[int, AuditEntry] = attrs.field(factory=dict)
    letters: list[tuple[str, CommitItem]] = attrs.field(factory=list)
    removed: dict[SensorNo, Micros] = attrs.field(factory=dict)

    def living(self) -> list[SensorRow]:
        return [row for number, row in self.sensors.items() if number not in self.removed]


@attrs.define(eq=False)
class MemoryDatabase:
    """now: the database's own clock."""

    now: Callable[[], Micros]
    tenants: dict[TenantNo, MemoryTenant] = attrs.field(factory=dict)
    groups: dict[UUID, tuple[Micros, list[int]]] = attrs.field(factory=dict)
    partitions: dict[str, Partition] = attrs.field(factory=dict)
    epoch: int = 0
    _sensors: int = 0
    _series: int = 0
    _undo: list[tuple[dict[Any, Any], Any, Any]] = attrs.field(factory=list)

    def add_tenant(self, tenant_id: UUID, max_series: int = 100_000) -> TenantNo:
        number = TenantNo(len(self.tenants) + 1)
        self.tenants[number] = MemoryTenant(tenant_id, max_series)
        return number

    def take_lease(self) -> int:
        """Take the shard over; returns the new epoch."""
        self.epoch += 1
        return self.epoch

    async def names(self) -> Sequence[str]:
        return list(self.partitions)

    async def make(self, at: int, now: Micros) -> Partition:
        """A month for what is settled, else a day; as ensure_partition of the migrations."""
        day = np.datetime64(at, "us").astype("datetime64[D]")
        month = day.astype("datetime64[M]")
        monthly = parse_partition(f"readings_m{str(month).replace('-', '')}")
        days = f"readings_d{monthly.name[-6:]}"
        if monthly.to_us >= now - SETTLED_US or any(n.startswith(days) for n in self.partitions):
            return self._attach(parse_partition(f"readings_d{str(day).replace('-', '')}"))
        return self._attach(monthly)

    async def drop(self, partition: Partition, age_us: int) -> bool:
        del self.partitions[partition.name]
        for tenant in self.tenants.values():
            for key in [k for k in tenant.readings if partition.from_us <= k[1] < partition.to_us]:
                del tenant.readings[key]
        return True

    def _attach(self, partition: Partition) -> Partition:
        return self.partitions.setdefault(partition.name, partition)

    def commit(self, epoch: int, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        """As `EngineStore.commit_group`, all of it or nothing."""
        if epoch != self.epoch:
            raise Fenced(f"epoch {epoch} has been superseded")
        if group_id in self.groups:
            return self.groups[group_id][1]
        with self._transaction():
            for item in items:
                self._copy_fresh(item)
            late = [self._insert_old(item) for item in items]
            for item in items:
                self._write_rule(item)
                self._write_tags(item)
                self._write_lateness(item)
                self._write_alerts(item)
                self._remove(item)
                self._write_audit(item)
            for item in items:
                self._write_state(item)
            for item in items:
                self._drop_before(item)
            self._put(self.groups, group_id, (self.now(), late))
        return late

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for table, key, old in reversed(self._undo):
                if old is _ABSENT:
                    del table[key]
                else:
                    table[key] = old
            raise
        finally:
            self._undo.clear()

    def _put(self, table: dict[K, V], key: K, value: V) -> None:
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def _insert(self, table: dict[K, V], key: K, value: V) -> None:
        if key in table:
            _refuse("23505 duplicate key", key)
        self._put(table, key, value)

    def _copy_fresh(self, item: CommitItem) -> None:
        readings = self.tenants[item.tenant_no].readings
        rows = zip(item.fresh_series.tolist(), item.fresh_ts.tolist(), item.fresh_value.tolist(),
                   strict=True)  # fmt: skip
        for series, ts, value in rows:
            self._insert(readings, (series, ts), Point(ts, value, item.received_at, late=False))

    def _insert_old(self, item: CommitItem) -> int:
        """The first in body order wins. Returns how many are new."""
        readings = self.tenants[item.tenant_no].readings
        before = len(readings)
        rows = zip(item.old_series.tolist(), item.old_ts.tolist(), item.old_value.tolist(),
                   strict=True)  # fmt: skip
        for series, ts, value in rows:
            if (series, ts) not in readings:
                self._put(readings, (series, ts), Point(ts, value, item.received_at, late=True))
        return len(readings) - before

    def _write_rule(self, item: CommitItem) -> None:
        write = item.rule_write
        if write is None:
            return
        rules = self.tenants[item.tenant_no].rules
        for other in rules.values():
            same_name = other.rule.name == write.rule.name and not (other.deleted or write.deleted)
            same_id = other.rule.rule_id == write.rule.rule_id
            if other.rule.rule_no != write.rule.rule_no and (same_name or same_id):
                _refuse("23505 duplicate key", write.rule.name)
        self._put(rules, write.rule.rule_no, write)

    def _write_tags(self, item: CommitItem) -> None:
        write, sensors = item.tags_write, self.tenants[item.tenant_no].sensors
        if write is not None and write.sensor_no in sensors:
            row = attrs.evolve(sensors[write.sensor_no], tags=dict(write.tags))
            self._put(sensors, write.sensor_no, row)

    def _write_lateness(self, item: CommitItem) -> None:
        write, tenant = item.lateness_write, self.tenants[item.tenant_no]
        if write is None:
            return
        if write.sensor_no is not None:
            row = attrs.evolve(tenant.sensors[write.sensor_no], lateness_us=write.lateness_us)
            self._put(tenant.sensors, write.sensor_no, row)
        elif write.lateness_us is None:
            _refuse("23502 a tenant has a lateness", item.tenant_no)
        else:
            self._put(
                self.tenants, item.tenant_no, attrs.evolve(tenant, lateness_us=write.lateness_us)
            )

    def _remove(self, item: CommitItem) -> None:
        if item.removal is not None:
            self._put(self.tenants[item.tenant_no].removed, item.removal, item.received_at)

    def _write_audit(self, item: CommitItem) -> None:
        audit = self.tenants[item.tenant_no].audit
        if item.audit is not None:
            self._insert(audit, len(audit) + 1, item.audit)

    def _write_alerts(self, item: CommitItem) -> None:
        tenant = self.tenants[item.tenant_no]
        for ordinal, step in enumerate(item.transitions):
            if step.kind == "opened":
                self._open_alert(tenant, step)
            elif step.alert_id not in tenant.alerts:
                _refuse("23503 no such alert", step.alert_id)
            else:
                row = attrs.evolve(tenant.alerts[step.alert_id], severity=step.severity)
                if step.kind == "cleared":
                    row = attrs.evolve(row, state="cleared", cleared=step)
                self._put(tenant.alerts, step.alert_id, row)
            self._insert(
                tenant.steps,
                (step.alert_id, step.arrived, ordinal),
                AlertStep(step.kind, step.at, step.arrived, step.severity, step.value),
            )

    def _open_alert(self, tenant: MemoryTenant, step: Transition) -> None:
        if step.rule_no not in tenant.rules or step.sensor_no not in tenant.sensors:
            _refuse("23503 no such rule or sensor", step.alert_id)
        for other in tenant.alerts.values():
            same = (other.opened.rule_no, other.opened.sensor_no) == (step.rule_no, step.sensor_no)
            if same and other.state == "open":
                _refuse("23505 one open alert per rule and sensor", step.alert_id)
        self._insert(tenant.alerts, step.alert_id, AlertRow(step, step.severity))

    def _write_state(self, item: CommitItem) -> None:
        states = self.tenants[item.tenant_no].states
        touched = item.touched.tolist()
        newest = dict(zip(touched, item.newest.tolist(), strict=True))
        judged = newest
        if len(item.judged):
            judged = dict(zip(touched, item.judged.tolist(), strict=True))
        row = StateRow(item.snapshot, newest, judged, item.rule_states)
        self._insert(states, item.received_at, row)

    def _drop_before(self, item: CommitItem) -> None:
        """A snapshot replaces what came before it."""
        states = self.tenants[item.tenant_no].states
        for at in [at for at in states if item.snapshot and at < item.received_at]:
            self._undo.append((states, at, states.pop(at)))

    def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        """As `EngineStore.register`."""
        tenant = self.tenants[tenant_no]
        wanted = {name.sensor for name in names}
        sensors = {row.name: row for row in tenant.living() if row.name in wanted}
        living = [row for row in tenant.series.values() if row.sensor_no not in tenant.removed]
        known = {(row.sensor_no, row.metric): row for row in living}

        def find(name: SeriesName) -> SeriesRow | None:
            sensor = sensors.get(name.sensor)
            return None if sensor is None else known.get((sensor.sensor_no, name.metric))

        room = max(tenant.max_series - len(living), 0)
        for name in [name for name in names if find(name) is None][:room]:
            if name.sensor not in sensors:
                theirs = tags.get(name.sensor, {})
                sensors[name.sensor] = self._add_sensor(tenant, name.sensor, theirs, now)
            self._series += 1
            made = SeriesRow(SeriesNo(self._series), sensors[name.sensor].sensor_no, name.metric)
            known[made.sensor_no, made.metric] = tenant.series[made.series_no] = made
        rows = [row for name in names if (row := find(name)) is not None]
        return (
            sorted(sensors.values(), key=lambda sensor: sensor.sensor_no),
            sorted(rows, key=lambda row: row.series_no),
        )

    def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        """As `EngineStore.register_sensors`."""
        tenant = self.tenants[tenant_no]
        living = tenant.living()
        new = [name for name in tags if name not in {row.name for row in living}]
        if len(living) + len(new) > tenant.max_series:
            raise Conflict("no room", code="too_many_sensors")
        if new:
            tenant.audit[len(tenant.audit) + 1] = audit
        return [self._add_sensor(tenant, name, tags[name], now) for name in new]

    def _add_sensor(
        self, tenant: MemoryTenant, name: str, tags: Mapping[str, str], now: Micros
    ) -> SensorRow:
        self._sensors += 1
        number = SensorNo(self._sensors)
        tenant.sensors[number] = SensorRow(number, uuid7(now), name, dict(tags), now)
        return tenant.sensors[number]


@attrs.define(eq=False)
class MemoryEngineStore:
    """Implements `EngineStore` under one lease. Made by `open_memory_store`."""

    database: MemoryDatabase
    _partitions: Partitions
    epoch: int
    chunk_series: int = 500

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        tenant = self.database.tenants.get(tenant_no)
        if tenant is None:
            raise TenantGone(f"tenant {tenant_no} is not registered (any more)")
        rows = since_snapshot(tenant)
        newest: dict[SeriesNo, Micros] = {}
        judged: dict[SeriesNo, Micros] = {}
        for _, row in rows:
            newest.update(row.newest)
            judged.update(row.judged)
        return TenantImage(
            tenant_id=tenant.tenant_id,
            sensors=tenant.living(),
            series=[row for row in tenant.series.values() if row.sensor_no not in tenant.removed],
            newest=newest,
            judged={series: at for series, at in judged.items() if at != newest[series]},
            lateness_us=tenant.lateness_us,
            rule_states=b"".join(row.rule_states for _, row in rows),
            rules=[write.rule for _, write in sorted(tenant.rules.items()) if not write.deleted],
            next_rule_no=RuleNo(max(tenant.rules, default=0) + 1),
            last_received=rows[-1][0] if rows else Micros(0),
            deltas=sum(not row.snapshot for _, row in rows),
        )

    async def last_heard(
        self, tenant_no: TenantNo, image: TenantImage
    ) -> Mapping[SensorNo, Micros]:
        readings = self.database.tenants[tenant_no].readings
        heard: dict[SensorNo, Micros] = {}
        for row in image.series:
            if row.series_no in image.newest:
                point = readings.get((row.series_no, image.newest[row.series_no]))
                if point is None:
                    continue  # dropped
                heard[row.sensor_no] = max(heard.get(row.sensor_no, Micros(0)), point.received_at)
        return heard

    async def waiting_tenants(self) -> Waiting:
        """Nobody is suspended here: that is done behind the engine's back."""
        return Waiting(
            [
                number
                for number, tenant in self.database.tenants.items()
                if any(w.waits and w.rule.enabled and not w.deleted for w in tenant.rules.values())
            ]
        )

    async def window_rows(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> AsyncGenerator[tuple[Int32s, Int64s, Floats], None]:
        readings = self.database.tenants[tenant_no].readings
        order = np.argsort(since, kind="stable")
        for start in range(0, len(order), self.chunk_series):
            chunk = order[start : start + self.chunk_series]
            bounds = {
                number: (low, high)
                for number, low, high in zip(
                    series[chunk].tolist(), since[chunk].tolist(), until[chunk].tolist(),
                    strict=True,
                )
            }  # fmt: skip
            rows = sorted(
                (number, ts, point.value)
                for (number, ts), point in readings.items()
                if number in bounds
                and bounds[number][0] < ts <= bounds[number][1]
                and not point.late
            )
            yield (
                np.array([number for number, _, _ in rows], np.int32),
                np.array([ts for _, ts, _ in rows], np.int64),
                np.array([value for _, _, value in rows], np.float64),
            )

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        return self.database.register(tenant_no, names, now, tags)

    async def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        return self.database.register_sensors(tenant_no, tags, now, audit)

    async def ensure_partitions(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        await self._partitions.ensure(tenant_no, ts, now)

    def uncovered(self, ts: Int64s) -> Int64s:
        return np.flatnonzero(self._partitions.map.uncovered(ts)).astype(np.int64)

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        for item in items:
            if len(self.uncovered(item.fresh_ts)) or len(self.uncovered(item.old_ts)):
                raise StoreUnavailable("a partition of these readings is gone")
        return self.database.commit(self.epoch, group_id, items)

    async def probe(self) -> None:
        return  # memory takes everything

    async def outlast_commits(self) -> None:
        return  # none outlives its call here

    async def housekeep(self, now: Micros, keep_groups_us: int, oldest: int) -> None:
        await self._partitions.load(now)
        await self._partitions.drop_before(oldest, now)
        groups = self.database.groups
        for group_id in [
            g for g, (at, _) in groups.items() if at < self.database.now() - keep_groups_us
        ]:
            del groups[group_id]

    async def bury(self, items: Sequence[CommitItem], reason: str) -> None:
        for item in items:
            self.database.tenants[item.tenant_no].letters.append((reason, item))


@attrs.frozen(eq=False)
class MemoryQueries:
    """Of `Queries` what shows that a commit did what it says."""

    database: MemoryDatabase

    async def readings(
        self, tenant_no: TenantNo, series: SeriesNo, *, after: Micros, until: Micros, limit: int
    ) -> Sequence[Point]:
        stored = self.database.tenants[tenant_no].readings
        mine = (p for (s, ts), p in stored.items() if s == series and after < ts <= until)
        return sorted(mine, key=lambda point: point.ts)[:limit]

    async def alerts(
        self,
        tenant_no: TenantNo,
        wanted: AlertFilter,
        *,
        before: tuple[Micros, UUID] | None,
        limit: int,
    ) -> Sequence[AlertView]:
        tenant = self.database.tenants[tenant_no]
        if before is not None or wanted != AlertFilter():
            raise NotImplementedError("nobody has needed it here")
        views = [_view(tenant, row) for row in tenant.alerts.values()]
        return sorted(views, key=lambda view: (-view.opened_at, view.alert_id))[:limit]

    async def alert(
        self, tenant_no: TenantNo, alert_id: UUID
    ) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None] | None:
        """What it was opened on is left out."""
        tenant = self.database.tenants[tenant_no]
        row = tenant.alerts.get(alert_id)
        if row is None:
            return None
        steps = [step for key, step in sorted(tenant.steps.items()) if key[0] == alert_id]
        return _view(tenant, row), steps, None


async def open_memory_store(
    database: MemoryDatabase, now: Micros, *, chunk_series: int = 500
) -> MemoryEngineStore:
    """Learn the partitions and take the lease."""
    partitions = Partitions(database)
    await partitions.load(now)
    return MemoryEngineStore(database, partitions, database.take_lease(), chunk_series)


def since_snapshot(tenant: MemoryTenant) -> list[tuple[Micros, StateRow]]:
    """The last snapshot and what came after it, in order."""
    rows = sorted(tenant.states.items())
    last = max((n for n, (_, row) in enumerate(rows) if row.snapshot), default=0)
    return rows[last:]


def _view(tenant: MemoryTenant, row: AlertRow) -> AlertView:
    opened, cleared = row.opened, row.cleared
    rule = tenant.rules[opened.rule_no].rule
    return AlertView(
        alert_id=opened.alert_id,
        rule_id=rule.rule_id,
        rule=rule.name,
        rule_version=opened.rule_version,
        sensor=tenant.sensors[opened.sensor_no].name,
        severity=row.severity,
        state=row.state,
        opened_at=opened.at,
        opened_arrival=opened.arrived,
        opened_value=opened.value,
        cleared_at=None if cleared is None else cleared.at,
        cleared_arrival=None if cleared is None else cleared.arrived,
        cleared_value=None if cleared is None else cleared.value,
        clear_reason=None if cleared is None else cleared.reason,
        evidence=[attrs.asdict(atom) for atom in opened.evidence],
    )


def _refuse(what: str, key: object) -> NoReturn:
    raise StoreRefused(f"{what}: {key}")
