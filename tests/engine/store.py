"""The engine's port in dicts, with faults that a real database does not make to order."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from uuid import UUID

import attrs
import numpy as np
import trio

from atalaia.model.alert import Transition
from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.ids import Micros, RuleNo, SensorNo, SeriesNo, TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import CommitItem, SensorRow, SeriesRow, TenantImage, Waiting


@attrs.define(eq=False)
class Tenant:
    sensors: dict[str, SensorRow] = attrs.field(factory=dict)
    series: dict[SeriesName, SeriesRow] = attrs.field(factory=dict)
    rows: dict[tuple[int, int], tuple[float, bool]] = attrs.field(factory=dict)
    newest: dict[SeriesNo, Micros] = attrs.field(factory=dict)
    states: list[bytes] = attrs.field(factory=list)
    rules: dict[int, StoredRule] = attrs.field(factory=dict)
    deleted: set[int] = attrs.field(factory=set)
    heard: dict[SensorNo, Micros] = attrs.field(factory=dict)
    waits: set[int] = attrs.field(factory=set)
    judged: dict[SeriesNo, Micros] = attrs.field(factory=dict)
    lateness_us: int = 0
    last_received: int = 0
    deltas: int = 0


@attrs.define(eq=False)
class FaultyStore:
    """faults: errors to raise, one per commit attempt (None: go on); poison: values refused.

    after_commit: the error is raised although the group was stored: the unknown outcome.
    """

    tenants: dict[TenantNo, Tenant] = attrs.field(factory=dict)
    faults: list[Exception | None] = attrs.field(factory=list)
    after_commit: bool = False
    load_faults: list[Exception | None] = attrs.field(factory=list)
    poison: dict[float, Exception] = attrs.field(factory=dict)
    suspended: dict[TenantNo, float] = attrs.field(factory=dict)
    """Since when, in trio's time."""
    groups: dict[UUID, list[int]] = attrs.field(factory=dict)
    sizes: list[int] = attrs.field(factory=list)
    buried: list[str] = attrs.field(factory=list)
    register_s: float = 0.0
    commit_s: float = 0.0
    load_s: float = 0.0
    loading: int = 0
    most_loading: int = 0
    loads: int = 0
    asked: int = 0
    asked_series: int = 0
    snapshots: int = 0
    transitions: list[Transition] = attrs.field(factory=list)
    steps: list[int] = attrs.field(factory=list)
    """How many of them each item had."""
    landed: trio.Event = attrs.field(factory=trio.Event)
    """When every lost commit has come to its end."""

    def __attrs_post_init__(self) -> None:
        self.landed.set()

    def tenant(self, tenant_no: TenantNo) -> Tenant:
        return self.tenants.setdefault(tenant_no, Tenant())

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        self.loads += 1
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        await trio.sleep(self.load_s)
        self.loading -= 1
        if self.load_faults and (fault := self.load_faults.pop(0)):
            raise fault
        t = self.tenant(tenant_no)
        return TenantImage(
            tenant_id=UUID(int=tenant_no),
            sensors=list(t.sensors.values()),
            series=list(t.series.values()),
            newest=dict(t.newest),
            rule_states=b"".join(t.states),
            rules=[rule for rule in t.rules.values() if rule.rule_no not in t.deleted],
            next_rule_no=RuleNo(len(t.rules) + 1),
            last_received=Micros(t.last_received),
            deltas=t.deltas,
            lateness_us=t.lateness_us,
            judged={s: ts for s, ts in t.judged.items() if ts != t.newest[s]},
        )

    async def last_heard(self, tenant_no: TenantNo, image: TenantImage) -> dict[SensorNo, Micros]:
        return dict(self.tenant(tenant_no).heard)

    async def waiting_tenants(self) -> Waiting:
        now = trio.current_time()
        waiting = [tenant_no for tenant_no, tenant in self.tenants.items() if tenant.waits]
        suspended = {no: round(1e6 * (now - at)) for no, at in self.suspended.items()}
        return Waiting([no for no in waiting if no not in suspended], suspended)

    async def window_rows(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> AsyncGenerator[tuple[Int32s, Int64s, Floats], None]:
        self.asked += 1
        self.asked_series += len(series)
        rows = self.tenant(tenant_no).rows
        for number, low, high in zip(series.tolist(), since.tolist(), until.tolist(), strict=True):
            kept = sorted(
                (ts, value)
                for (s, ts), (value, late) in rows.items()
                if s == number and low < ts <= high and not late
            )
            yield (
                np.full(len(kept), number, np.int32),
                np.array([ts for ts, _ in kept], np.int64),
                np.array([value for _, value in kept], np.float64),
            )

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        t = self.tenant(tenant_no)
        await trio.sleep(self.register_s)
        for name in names:
            number = SensorNo(len(t.sensors) + 1)
            t.sensors.setdefault(
                name.sensor,
                SensorRow(
                    number, UUID(int=1000 + number), name.sensor, tags.get(name.sensor, {}), now
                ),
            )
            sensor = t.sensors[name.sensor].sensor_no
            row = SeriesRow(SeriesNo(1000 * tenant_no + len(t.series)), sensor, name.metric)
            t.series.setdefault(name, row)
        return list(t.sensors.values()), [t.series[name] for name in names]

    async def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        t = self.tenant(tenant_no)
        new = [name for name in tags if name not in t.sensors]
        for name in new:
            number = SensorNo(len(t.sensors) + 1)
            t.sensors[name] = SensorRow(number, UUID(int=1000 + number), name, tags[name], now)
        return [t.sensors[name] for name in new]

    async def ensure_partitions(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        raise AssertionError("every time is covered here")

    def uncovered(self, ts: Int64s) -> Int64s:
        return np.empty(0, np.int64)

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        await trio.sleep(self.commit_s)
        if group_id in self.groups:
            return self.groups[group_id]
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not self.after_commit:
            raise fault
        for item in items:
            for value in item.fresh_value.tolist():
                if value in self.poison:
                    raise self.poison[value]
        self.sizes.append(len(items))
        self.groups[group_id] = [self._store(item) for item in items]
        if fault is not None:
            raise fault
        return self.groups[group_id]

    def _store(self, item: CommitItem) -> int:
        t = self.tenant(item.tenant_no)
        assert item.received_at > t.last_received
        for s, ts, value in zip(
            item.fresh_series.tolist(), item.fresh_ts.tolist(), item.fresh_value.tolist(),
            strict=True,
        ):  # fmt: skip
            assert (s, ts) not in t.rows
            t.rows[s, ts] = (value, False)
        late = 0
        for s, ts, value in zip(
            item.old_series.tolist(), item.old_ts.tolist(), item.old_value.tolist(), strict=True
        ):
            late += (s, ts) not in t.rows
            t.rows.setdefault((s, ts), (value, True))
        sensors = {row.series_no: row.sensor_no for row in t.series.values()}
        for s, ts in zip(item.fresh_series.tolist(), item.fresh_ts.tolist(), strict=True):
            if s not in t.newest or ts > t.newest[s]:
                t.heard[sensors[s]] = item.received_at
        judged = item.judged if len(item.judged) else item.newest
        for s, newest, at in zip(
            item.touched.tolist(), item.newest.tolist(), judged.tolist(), strict=True
        ):
            t.newest[s], t.judged[s] = newest, at
        self.transitions += item.transitions
        self.steps.append(len(item.transitions))
        if item.snapshot:
            self.snapshots += 1
            t.states.clear()
        t.states.append(item.rule_states)
        t.deltas = 0 if item.snapshot else t.deltas + 1
        t.last_received = item.received_at
        if item.rule_write is not None:
            number = item.rule_write.rule.rule_no
            t.rules[number] = item.rule_write.rule
            if item.rule_write.deleted:
                t.deleted.add(number)
            waits = item.rule_write.waits and item.rule_write.rule.enabled
            t.waits = t.waits | {number} if waits else t.waits - {number}
        if item.lateness_write is not None:
            write = item.lateness_write
            if write.sensor_no is None:
                assert write.lateness_us is not None
                t.lateness_us = write.lateness_us
            for sensor in t.sensors.values():
                if sensor.sensor_no == write.sensor_no:
                    t.sensors[sensor.name] = attrs.evolve(sensor, lateness_us=write.lateness_us)
        if item.tags_write is not None:
            for sensor in t.sensors.values():
                if sensor.sensor_no == item.tags_write.sensor_no:
                    t.sensors[sensor.name] = attrs.evolve(sensor, tags=item.tags_write.tags)
        return late

    async def probe(self) -> None:
        return  # what fails is said commit by commit

    async def outlast_commits(self) -> None:
        await self.landed.wait()

    async def housekeep(self, now: Micros, keep_groups_us: int, oldest: int) -> None:
        return

    async def bury(self, items: Sequence[CommitItem], reason: str) -> None:
        self.buried.append(reason)
