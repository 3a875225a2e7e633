"""Everything outside the process, as the engine and the faces see it.

`storage` implements these on Postgres. Times are UTC epoch µs; numbers of tenants, sensors and
series are the inner int4 ones. A call either does what it says or raises one of the three store
errors below.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from functools import partial
from typing import Protocol
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.audit import AuditEntry
from atalaia.model.batch import NO_TAGS, Floats, Int32s, Int64s, SeriesName, Tags
from atalaia.model.condition import UNCONDITIONAL, Condition
from atalaia.model.ids import Micros, RuleNo, SensorNo, SeriesNo, TenantNo
from atalaia.model.quota import Quota
from atalaia.model.rule import StoredRule
from atalaia.model.stored import Arrivals, Arrived, PackSpan, Rolled, RollStep, Scan
from atalaia.model.views import (
    AlertFilter,
    AlertStep,
    AlertView,
    DetailColumn,
    Details,
    KeyRecord,
    Listed,
    OpeningView,
    Point,
    Profile,
    SensorFilter,
    SensorView,
    SeriesView,
    SettingsView,
    StreamedStep,
)
from atalaia.rules.syntax import Selector


class StoreUnavailable(Exception):
    """The database cannot be reached or answers too late; the outcome may be unknown."""


class StoreSlow(StoreUnavailable):
    """The statement took longer than it may, and was given up."""


class TenantGone(StoreUnavailable):
    """The tenant is being erased, or was: nothing of it is loaded any more."""


class StoreRefused(Exception):
    """The database refuses the data itself: trying again would fail again."""


class Fenced(Exception):
    """Another process has taken this shard over; nothing more may be committed here."""


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
        """The committed state of one tenant. Raises StoreUnavailable."""
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
        Raises StoreUnavailable (outcome unknown), StoreRefused (nothing stored), Fenced.
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


@attrs.frozen(eq=False)
class SensorImage:
    """A sensor as its rules see it, as of one commit. By metric: the series, the event times of its
    newest reading and of the newest that was judged, and when the former arrived. rule_states: of
    all rules and sensors, in commit order.
    """

    sensor: SensorRow
    series: Mapping[str, SeriesNo]
    newest: Mapping[str, Micros]
    judged: Mapping[str, Micros]
    arrived: Mapping[str, Micros]
    rule_states: bytes


@attrs.frozen
class SeriesFilter:
    """Which series are asked for; None: any. sensors: names or ids. All of
    them must hold."""

    sensors: Sequence[str] | None = None
    selector: Selector | None = None
    metrics: Sequence[str] | None = None


class Queries(Protocol):
    """What the faces ask of the committed past, always in the name of one tenant, and what they
    may say by themselves since it judges nothing: units.

    Everything raises StoreUnavailable when the database does not answer.
    """

    async def find_key(self, key_id: str) -> KeyRecord | None:
        """A living API key by its public id, before any tenant is known."""
        ...

    async def find_tenant(self, tenant_id: UUID) -> TenantNo | None:
        """A tenant's inner number, for messages that name their tenant."""
        ...

    async def tenant_quota(self, tenant_no: TenantNo) -> Quota:
        """What is written beside a tenant."""
        ...

    async def total(self, tenant_no: TenantNo, of: Listed) -> int:
        """How many there are of what is listed."""
        ...

    async def ping(self) -> None:
        """One round trip to the database."""
        ...

    async def sensors(
        self, tenant_no: TenantNo, wanted: SensorFilter, *, after: str, limit: int
    ) -> Sequence[SensorView]:
        """Living sensors with a name beyond `after`, by name (code points)."""
        ...

    async def sensor(self, tenant_no: TenantNo, name: str) -> SensorView | None:
        """A living sensor by its name, or else by its id."""
        ...

    async def describe(
        self,
        tenant_no: TenantNo,
        details: Mapping[str, Details],
        columns: Set[DetailColumn],
        audit: AuditEntry,
    ) -> set[str]:
        """Replace some of what is known of sensors, by their names; returns those that changed."""
        ...

    async def described(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[tuple[str, Mapping[str, str], Details]]:
        """Names, tags and details of living sensors beyond a name, by name (code points)."""
        ...

    async def tag_names(self, tenant_no: TenantNo) -> Sequence[str]:
        """Of all living sensors, in no order."""
        ...

    async def groups(self, tenant_no: TenantNo) -> Sequence[tuple[str, int]]:
        """Every group and how many living sensors it has, by name (code points)."""
        ...

    async def profiles(self, tenant_no: TenantNo) -> Sequence[Profile]:
        """By name (code points)."""
        ...

    async def profile(self, tenant_no: TenantNo, name: str) -> Profile | None: ...

    async def save_profile(
        self,
        tenant_no: TenantNo,
        profile: Profile,
        now: Micros,
        audit: AuditEntry,
        only: Condition = UNCONDITIONAL,
    ) -> Profile:
        """Make or replace it. Raises Conflict for one too many, PreconditionFailed."""
        ...

    async def drop_profile(
        self,
        tenant_no: TenantNo,
        name: str,
        audit: AuditEntry,
        only: Condition = UNCONDITIONAL,
    ) -> bool:
        """Whether there was one. Raises PreconditionFailed."""
        ...

    async def settings(self, tenant_no: TenantNo) -> SettingsView: ...

    async def set_retention(self, tenant_no: TenantNo, days: int | None) -> None:
        """Keep readings so long; None: as long as the service does."""
        ...

    async def readings(
        self, tenant_no: TenantNo, series: SeriesNo, *, after: Micros, until: Micros, limit: int
    ) -> Sequence[Point]:
        """Readings of one series with after < ts <= until, oldest first."""
        ...

    async def latest(self, tenant_no: TenantNo, sensor: SensorView) -> Mapping[str, Point]:
        """The newest reading of each metric of the sensor."""
        ...

    async def register(
        self, tenant_no: TenantNo
    ) -> tuple[Sequence[SensorRow], Sequence[SeriesRow]]:
        """Every living sensor and its series, in the order of their numbers."""
        ...

    async def arrivals_before(
        self, tenant_no: TenantNo, series: Int32s, before: Micros, until: Micros
    ) -> tuple[Int64s, Int64s]:
        """Of readings that were not late, per series: the ts after which those lie that arrived
        at `before` or later, and when the newest of the others arrived, -1 for none of them.

        until: the newest ts that matters; so much for a series without any reading.
        """
        ...

    async def sensor_image(self, tenant_no: TenantNo, name: str) -> SensorImage | None: ...

    async def count_late(
        self, tenant_no: TenantNo, series: Int32s, since: Int64s, until: Int64s
    ) -> int:
        """Late readings with since < ts <= until per series, over all of them."""
        ...

    async def history(
        self,
        tenant_no: TenantNo,
        series: Int32s,
        since: Int64s,
        until: Int64s,
        *,
        late: bool,
        limit: int,
    ) -> tuple[Int32s, Int64s, Floats, Int64s]:
        """(series, ts, value, received_at) of up to `limit` rows with since < ts <= until per
        series, in no order. late: late readings too.
        """
        ...

    async def find_series(
        self, tenant_no: TenantNo, wanted: SeriesFilter, limit: int
    ) -> Sequence[SeriesView]:
        """Series of living sensors, by the names of sensor and metric (code points)."""
        ...

    async def last_received(self, tenant_no: TenantNo) -> Micros | None:
        """When the newest committed batch arrived. What is committed later has a later time."""
        ...

    def scan(
        self,
        tenant_no: TenantNo,
        series: Int32s,
        since: Int64s,
        until: Int64s,
        *,
        arrived: Micros | None = None,
        ordered: bool = False,
    ) -> AsyncGenerator[Scan, None]:
        """The readings of each span (since < ts <= until of a series), in bounded chunks.

        Each span's come in order of time over all chunks. ordered: and the spans one after the
        other. arrived: only what had arrived by then. No connection is held between chunks.
        Whoever does not exhaust it closes it.
        """
        ...

    async def rolled(self, tenant_no: TenantNo, series: Int32s) -> Rolled:
        """How far these series are rolled up."""
        ...

    async def packs(self, tenant_no: TenantNo, spans: Sequence[PackSpan]) -> Sequence[bytes]:
        """Per span the stored cells of every pack that it touches, in order of time.

        To be asked after `rolled`, and for readings after this: so nothing is missed.
        """
        ...

    async def rules(self, tenant_no: TenantNo, *, after: int, limit: int) -> Sequence[StoredRule]:
        """Rules with a number beyond `after`, in the order of creation."""
        ...

    async def rule(self, tenant_no: TenantNo, rule_id: UUID) -> StoredRule | None: ...

    async def rule_named(self, tenant_no: TenantNo, name: str) -> StoredRule | None: ...

    async def units(self, tenant_no: TenantNo, metrics: Sequence[str]) -> Mapping[str, str]:
        """What these metrics are said to be measured in, as far as it is said."""
        ...

    async def list_units(
        self, tenant_no: TenantNo, *, after: str, limit: int
    ) -> Sequence[tuple[str, str]]:
        """Metrics with their units, beyond the name `after`, by name (code points)."""
        ...

    async def set_unit(self, tenant_no: TenantNo, metric: str, unit: str) -> None:
        """Raises Conflict for one metric too many."""
        ...

    async def drop_unit(self, tenant_no: TenantNo, metric: str) -> bool:
        """Whether there was one."""
        ...

    async def count_sensors(
        self, tenant_no: TenantNo, selectors: Sequence[Selector]
    ) -> Sequence[int]:
        """How many living sensors each selector matches now."""
        ...

    async def alerts(
        self,
        tenant_no: TenantNo,
        wanted: AlertFilter,
        *,
        before: tuple[Micros, UUID] | None,
        limit: int,
    ) -> Sequence[AlertView]:
        """Alerts newest opening first, beyond the (opened_at, id) of `before`."""
        ...

    async def alert_steps(
        self,
        tenant_no: TenantNo,
        after: tuple[int, int],
        sensors: Sequence[str] | None,
        limit: int,
    ) -> Sequence[StreamedStep]:
        """Steps of alerts beyond this arrival and ordinal, in the order of their commits."""
        ...

    async def stored_of(
        self, tenant_no: TenantNo, received_at: Micros, series: Int32s, ts: Int64s
    ) -> tuple[Int32s, Int64s, Floats]:
        """Of these readings those that arrived then."""
        ...

    async def arrivals(
        self, tenant_no: TenantNo, after: Micros, until: Micros, most_spans: int
    ) -> Arrivals:
        """Where the readings are that arrived after `after` and up to `until`, which is the newest
        commit or one of the last minutes: of so many spans the newest at most, and of so many
        minutes. The answer's own `after` says since when they are complete.
        """
        ...

    async def arrived(self, tenant_no: TenantNo, spans: Arrivals) -> Arrived:
        """The readings of these spans that came with these commits, each once."""
        ...

    async def alert(
        self, tenant_no: TenantNo, alert_id: UUID
    ) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None] | None:
        """One alert with its history, and what it was opened on (None: before this was kept)."""
        ...


class Rollups(Protocol):
    """Cells of readings, kept right; and readings that are rolled up, deleted when their tenant
    wants no more of them. Everything raises StoreUnavailable or StoreRefused.
    """

    async def due(self) -> Sequence[TenantNo]:
        """Tenants with hours to roll up, with noted ones, or with readings to be deleted."""
        ...

    async def step(self, tenant_no: TenantNo, keep_since: int) -> RollStep:
        """Do the next bounded part of a tenant; cells from before `keep_since` go."""
        ...
