"""What a question about stored things is answered with."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

import attrs

from atalaia.model.alert import Opening
from atalaia.model.condition import tag_of
from atalaia.model.ids import DAY_US, Micros, SeriesNo, TenantNo
from atalaia.model.quota import NO_QUOTA, Quota

AlertState = Literal["open", "cleared"]

OVERDUE = 3
"""Expected intervals without a reading after which a sensor is said to be overdue."""


@attrs.frozen
class Point:
    """One stored reading. late: too far behind a newer one of its series, and not judged."""

    ts: Micros
    value: float
    received_at: Micros
    late: bool


@attrs.frozen
class Location:
    """Degrees, WGS 84."""

    latitude: float
    longitude: float


MAX_INTERVAL_US = 366 * DAY_US


@attrs.frozen
class Details:
    """What its owner says of a sensor, and no rule looks at. expected_us: from one reading to the
    next.
    """

    location: Location | None = None
    place: str | None = None
    expected_us: int | None = None


DetailColumn = Literal["latitude", "longitude", "place", "expected_us"]


def flat(details: Details) -> dict[DetailColumn, float | str | None]:
    """By the columns in which they are stored."""
    at = details.location
    return {
        "latitude": None if at is None else at.latitude,
        "longitude": None if at is None else at.longitude,
        "place": details.place,
        "expected_us": details.expected_us,
    }


@attrs.frozen
class SensorFilter:
    """Which sensors are asked for: those with such tags `group` and `profile`."""

    group: str | None = None
    profile: str | None = None


@attrs.frozen
class Profile:
    """What the sensors with a `profile` tag of this name share. rules: their text, all on them."""

    name: str
    description: str = ""
    expected_us: int | None = None
    rules: str = ""
    created_at: Micros | None = None
    updated_at: Micros | None = None

    @property
    def tag(self) -> str:
        """Another one after every save."""
        return tag_of(attrs.astuple(self))


@attrs.frozen
class SensorView:
    """A registered sensor; metrics maps each metric's name to its series and newest time.

    lateness_us: its own; None: its tenant's. pace_us: its own expected interval, or its profile's.
    """

    sensor_id: UUID
    name: str
    tags: Mapping[str, str]
    registered_at: Micros
    metrics: Mapping[str, tuple[SeriesNo, Micros | None]]
    lateness_us: int | None
    details: Details = Details()
    pace_us: int | None = None

    @property
    def tag(self) -> str:
        """Of what is said of it. Readings leave it as it is."""
        tags = sorted(self.tags.items())
        return tag_of(self.sensor_id, self.name, tags, self.lateness_us, self.details)

    def status(self, now: Micros) -> Literal["never", "active", "overdue"] | None:
        """Whether readings come as they are expected; None when nobody has said how often."""
        seen = self.last_seen
        if seen is None:
            return "never"
        if self.pace_us is None:
            return None
        return "active" if now - seen <= OVERDUE * self.pace_us else "overdue"

    @property
    def last_seen(self) -> Micros | None:
        """The newest event time over its metrics."""
        return max((at for _, at in self.metrics.values() if at is not None), default=None)


@attrs.frozen
class SeriesView:
    """One metric of one sensor. newest: the time of its newest reading."""

    series_no: SeriesNo
    sensor: str
    metric: str
    newest: Micros | None


@attrs.frozen
class SettingsView:
    """What a tenant has chosen for all of its sensors. retention_days: None: as the service."""

    lateness_us: int
    retention_days: int | None = None


@attrs.frozen
class AlertView:
    """One alert with the names of its rule and sensor. Times: event time and arrival."""

    alert_id: UUID
    rule_id: UUID
    rule: str
    rule_version: int
    sensor: str
    severity: str
    state: AlertState
    opened_at: Micros
    opened_arrival: Micros
    opened_value: float | None
    cleared_at: Micros | None
    cleared_arrival: Micros | None
    cleared_value: float | None
    clear_reason: str | None
    evidence: Sequence[Mapping[str, Any]]


@attrs.frozen
class AlertStep:
    """One transition in an alert's history."""

    kind: str
    at: Micros
    arrival: Micros
    severity: str
    value: float | None


@attrs.frozen
class StreamedStep:
    """A transition as its followers are told. arrival and ordinal: its place among all of them."""

    arrival: Micros
    ordinal: int
    alert_id: UUID
    rule_id: UUID
    rule: str
    sensor: str
    kind: str
    severity: str
    value: float | None
    at: Micros


@attrs.frozen
class OpeningView:
    """What an alert was opened on; late: per metric of its samples, the late readings there that
    had arrived and were not judged.
    """

    opening: Opening
    late: Sequence[int]


@attrs.frozen
class AlertFilter:
    """Which alerts are asked for; None means any. since < opened_at <= until, event time."""

    state: AlertState | None = None
    severity: str | None = None
    sensor: str | None = None
    rule_id: UUID | None = None
    since: Micros | None = None
    until: Micros | None = None


Listed = SensorFilter | AlertFilter | Literal["rules", "metrics"]
"""What of a tenant's is listed in pages: those that are asked for."""


@attrs.frozen
class KeyRecord:
    """What an API key's id stands for; hash is of its secret."""

    tenant_no: TenantNo
    tenant_id: UUID
    hash: bytes
    scopes: frozenset[str]
    quota: Quota = NO_QUOTA
    name: str = ""
    suspended: bool = False
    """The tenant is."""
    left_s: float | None = None
    """How long it held when it was looked up; None: it has no end."""
