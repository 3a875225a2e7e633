"""What the engine wants stored and told: images of tenants, commits, leases."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.ids import Micros, RuleNo, SensorNo, SeriesNo, TenantNo
from atalaia.model.rule import StoredRule


@attrs.frozen
class SensorRow:
    """A registered sensor. lateness_us: its own; None: its tenant's."""

    sensor_no: SensorNo
    sensor_id: UUID
    name: str
    tags: Mapping[str, str]
    registered_at: Micros
    lateness_us: int | None = None


@attrs.frozen
class SeriesRow:
    """A registered series: one metric of one sensor."""

    series_no: SeriesNo
    sensor_no: SensorNo
    metric: str


@attrs.frozen(eq=False)
class TenantImage:
    """What is committed of one tenant: enough to rebuild its actor, windows apart.

    newest: the newest event time per series; rule_states: packed records in commit order;
    last_received: the newest committed received_at, 0 when there is none;
    deltas: state rows since the last snapshot; lateness_us: of sensors without their own;
    judged: the newest judged event time of the series that have readings waiting, NEVER for none
    yet; of the other series everything is judged.
    """

    tenant_id: UUID
    sensors: Sequence[SensorRow]
    series: Sequence[SeriesRow]
    newest: Mapping[SeriesNo, Micros]
    rule_states: bytes
    rules: Sequence[StoredRule]
    next_rule_no: RuleNo
    last_received: Micros
    deltas: int
    lateness_us: int = 0
    judged: Mapping[SeriesNo, Micros] = attrs.field(factory=dict)


@attrs.frozen
class RuleWrite:
    """A rule as it is to stand after this commit; deleted rules keep their row and history.

    waits: it opens alerts without a reading, so that its tenant must be awake.
    """

    rule: StoredRule
    deleted: bool = False
    waits: bool = False


@attrs.frozen
class TagsWrite:
    """A sensor's tags as they are to stand after this commit."""

    sensor_no: SensorNo
    tags: Mapping[str, str]


@attrs.frozen
class LatenessWrite:
    """The lateness of a sensor, or of a tenant where there is none, as it is to stand after this
    commit; None: the sensor has its tenant's.
    """

    sensor_no: SensorNo | None
    lateness_us: int | None


@attrs.frozen
class Waiting:
    """Tenants that are waited for, and those of them that are suspended, with how long, in µs."""

    awake: Sequence[TenantNo]
    suspended_us: Mapping[TenantNo, int] = attrs.field(factory=dict)


_no_series = partial(np.empty, 0, np.int32)
_no_times = partial(np.empty, 0, np.int64)
_no_values = partial(np.empty, 0, np.float64)


@attrs.frozen(eq=False)
class CommitItem:
    """One batch (or one change of rules, sensors or lateness) of one tenant, judged and ready to be
    stored.

    fresh_*: rows that are surely new and not late, sorted by (series, ts), unique.
    old_*: the other rows in body order: late readings and duplicates, told apart by the store.
    touched, newest, judged: series whose newest moved, or whose newest judged reading did, and
    where both stand now; judged is empty when it is newest.
    removal: a sensor that is gone after this commit, but for its history.
    rule_states: packed rule-state records changed by this batch. snapshot: all of it, replacing
    the deltas before it (touched and newest then name every series).
    audit: who asked for the change, and for what: stored with it.
    following: rows of the same batch, as (series, ts, value), that come in items after this one and
    are not stored without it: a dead letter keeps them too.
    """

    tenant_no: TenantNo
    received_at: Micros
    rule_states: bytes
    fresh_series: Int32s = attrs.field(factory=_no_series)
    fresh_ts: Int64s = attrs.field(factory=_no_times)
    fresh_value: Floats = attrs.field(factory=_no_values)
    old_series: Int32s = attrs.field(factory=_no_series)
    old_ts: Int64s = attrs.field(factory=_no_times)
    old_value: Floats = attrs.field(factory=_no_values)
    touched: Int32s = attrs.field(factory=_no_series)
    newest: Int64s = attrs.field(factory=_no_times)
    judged: Int64s = attrs.field(factory=_no_times)
    transitions: Sequence[Transition] = ()
    rule_write: RuleWrite | None = None
    tags_write: TagsWrite | None = None
    lateness_write: LatenessWrite | None = None
    removal: SensorNo | None = None
    audit: AuditEntry | None = None
    snapshot: bool = False
    following: Sequence[tuple[Int32s, Int64s, Floats]] = ()

    @property
    def rows(self) -> int:
        return len(self.fresh_ts) + len(self.old_ts)


class EngineStore(Protocol):
    """What the engine needs from the outside: the committed past, and a way to commit."""

    async def load_tenant(self, tenant_no: TenantNo) -> TenantImage:
        """The committed state of one tenant. Raises StoreUnavailable, TenantGone."""
        ...

    async def last_heard(
        self, tenant_no: TenantNo, image: TenantImage
    ) -> Mapping[SensorNo, Micros]:
        """When the newest reading of each sensor arrived; sensors without one are left out."""
        ...

    async def waiting_tenants(self) -> Waiting:
        """Tenants with a rule in service that opens alerts without a reading."""
        ...

    def window_rows(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> AsyncGenerator[tuple[Int32s, Int64s, Floats], None]:
        """Judged (not late) rows with since < ts <= until per series, in bounded chunks.

        Within a chunk rows are sorted by (series, ts); a series of many goes on in the next one.
        Whoever does not exhaust it closes it.
        """
        ...

    async def register(
        self,
        tenant_no: TenantNo,
        names: Sequence[SeriesName],
        now: Micros,
        tags: Mapping[str, Tags] = NO_TAGS,
    ) -> tuple[list[SensorRow], list[SeriesRow]]:
        """Register unknown series and their sensors, in the order of names, within the quota.

        tags: of new sensors, by name; those that are there keep theirs. Returns the new
        sensors and a row for every name that exists now; names beyond the tenant's quota are left
        out.
        """
        ...

    async def register_sensors(
        self, tenant_no: TenantNo, tags: Mapping[str, Tags], now: Micros, audit: AuditEntry
    ) -> list[SensorRow]:
        """Register sensors by name, with their tags, before any reading of theirs: those that are
        not there yet, in the order given, of which it returns the rows.

        Raises Conflict when they are more than the tenant's quota has room for; then none is there.
        """
        ...

    async def ensure_partitions(self, tenant_no: TenantNo, ts: Int64s, now: Micros) -> None:
        """Make the partitions that these times need and that do not exist, at most 8.

        Raises Overloaded when the tenant has opened more than its share of new ones.
        """
        ...

    def uncovered(self, ts: Int64s) -> Int64s:
        """Positions of times that no known partition covers. Does not wait."""
        ...

    async def commit_group(self, group_id: UUID, items: Sequence[CommitItem]) -> list[int]:
        """Store one group in one transaction; per item, how many old rows were new (late).

        Calling it again with the same group_id and items is harmless and gives the same answer.
        Raises StoreUnavailable (outcome unknown), StoreRefused (nothing stored; TenantGone: nor
        will it be), Fenced.
        """
        ...

    async def probe(self) -> None:
        """Find out whether a commit could be stored now: the store may answer every question and
        take nothing. Leaves nothing behind. Raises StoreUnavailable, StoreRefused.
        """
        ...

    async def outlast_commits(self) -> None:
        """Wait until no call of commit_group that has failed can still store anything.

        Raises StoreUnavailable.
        """
        ...

    async def housekeep(self, now: Micros, keep_groups_us: int, oldest: int) -> None:
        """Make the next days' partitions and forget the ids of groups older than that, by the
        clock that the store itself wrote beside them. Readings from before `oldest` are refused;
        those two days older may be dropped, by day or by month.
        """
        ...

    async def bury(self, items: Sequence[CommitItem], reason: str) -> None:
        """Keep refused items in the dead-letter table with their reason."""
        ...
