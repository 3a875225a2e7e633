"""What the faces ask of what was committed."""

from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from typing import Protocol
from uuid import UUID

import attrs

from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.condition import UNCONDITIONAL, Condition
from atalaia.model.ids import Micros, SeriesNo, TenantNo
from atalaia.model.quota import Quota
from atalaia.model.rule import StoredRule
from atalaia.model.stored import Arrivals, Arrived, PackSpan, Rolled, Scan
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
from atalaia.ports.engine import SensorRow, SeriesRow
from atalaia.rules.syntax import Selector


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
        """What is written beside a tenant; one that is gone is suspended."""
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

    async def set_retention(self, tenant_no: TenantNo, days: int | None, by: Actor) -> None:
        """Keep readings so long; None: as long as the service does."""
        ...

    async def readings(
        self, tenant_no: TenantNo, series: SeriesNo, *, after: Micros, until: Micros, limit: int
    ) -> Sequence[Point]:
        """Readings of one series with after < ts <= until, oldest first."""
        ...

    async def latest(
        self, tenant_no: TenantNo, sensor: SensorView, metrics: Sequence[str]
    ) -> Mapping[str, Point]:
        """The newest reading of each of these metrics of the sensor, where it is still stored."""
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
