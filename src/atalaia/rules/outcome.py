"""What a backtest found, variant by variant."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import DAY_US, Micros
from atalaia.rules import tally as t
from atalaia.rules.program import ActiveRule
from atalaia.rules.syntax import SEVERITY_ORDER
from atalaia.rules.transitions import alert_id
from atalaia.rules.variants import Variant
from atalaia.rules.windows import NEVER

NOISIEST = 20


@attrs.frozen
class TrialAlert:
    """An alert that would have opened. severity: its highest; cleared_at None: open at the end.

    value: the rule's first aggregate at its opening. alert_id: of the live rule's alerts only.
    """

    sensor: str
    sensor_at: int
    opened_at: Micros
    cleared_at: Micros | None
    severity: str
    value: float | None
    alert_id: UUID | None = None


@attrs.frozen
class Difference:
    """Beside the live rule: its alerts that this variant also has (at the same sensor, at an
    overlapping time), its alerts that are gone, and alerts of this variant alone."""

    kept: int
    gone: int
    new: int


@attrs.frozen
class Trial:
    """One variant. Counts are exact; `alerts` holds the first ones, by opening.

    severities: alerts by their highest severity; noisiest: sensors with the most alerts.
    """

    variant: Variant
    live: bool
    opened: int
    flaps: int
    open_at_end: int
    firing_us: int
    severities: Mapping[str, int]
    busiest_day: tuple[Micros, int] | None
    sensors_alerting: int
    noisiest: Sequence[tuple[str, int]]
    alerts: Sequence[TrialAlert]
    difference: Difference | None

    def as_live(self, tenant_id: UUID, rule: ActiveRule, sensor_ids: Sequence[UUID]) -> "Trial":
        """The trial of the live rule, its alerts with the ids that they have in truth."""
        alerts = [
            attrs.evolve(
                alert,
                alert_id=alert_id(tenant_id, rule, sensor_ids[alert.sensor_at], alert.opened_at),
            )
            for alert in self.alerts
        ]
        return attrs.evolve(self, live=True, alerts=alerts)


@attrs.frozen
class Outcome:
    """All variants, over how many sensors and readings, and how long the range is."""

    trials: tuple[Trial, ...]
    sensors: int
    readings: int
    range_us: int

    def firing_share(self, trial: Trial) -> float:
        """Of the sensors' time in the range."""
        return trial.firing_us / (self.range_us * self.sensors) if self.sensors else 0.0

    def per_day(self, trial: Trial) -> float:
        return trial.opened * DAY_US / self.range_us


@attrs.define(eq=False)
class Alerts:
    """The first alerts of every variant, by opening and sensor. Memory is bounded."""

    _variants: int
    _limit: int
    _rows: Int64s = attrs.field(factory=lambda: np.empty((0, t.ALERT), np.int64))
    _values: Floats = attrs.field(factory=lambda: np.empty(0, np.float64))
    _before: Int64s = attrs.field(init=False)
    """Per variant: alerts that open then or later are not among the first."""

    def __attrs_post_init__(self) -> None:
        self._before = np.full(self._variants, np.iinfo(np.int64).max)

    def add(self, rows: Int64s, values: Floats) -> None:
        early = rows[:, t.A_OPENED] < self._before[rows[:, t.A_VARIANT]]
        if not early.any():
            return
        rows = np.concatenate([self._rows, rows[early]])
        values = np.concatenate([self._values, values[early]])
        variants = rows[:, t.A_VARIANT]
        order = np.lexsort((rows[:, t.A_SENSOR], rows[:, t.A_OPENED], variants))
        rows, values, variants = rows[order], values[order], variants[order]
        starts = np.searchsorted(variants, np.arange(self._variants))
        rank = np.arange(len(rows)) - starts[variants]
        last = rank == self._limit - 1
        self._before[variants[last]] = rows[last, t.A_OPENED]
        self._rows, self._values = rows[rank < self._limit], values[rank < self._limit]

    def of(self, variant: int) -> tuple[Int64s, Floats]:
        mine = self._rows[:, t.A_VARIANT] == variant
        return self._rows[mine], self._values[mine]


def make_trial(
    variant: Variant,
    counts: Int64s,
    by_sensor: Int64s,
    by_day: Int64s,
    *,
    first_day: int,
    names: Sequence[str],
    alerts: tuple[Int64s, Floats],
    compared: bool,
) -> Trial:
    """From the columns of the tally."""
    number = counts.tolist()
    noisiest = np.lexsort((np.arange(len(by_sensor)), -by_sensor))[:NOISIEST]
    busiest = int(by_day.argmax())
    return Trial(
        variant=variant,
        live=False,
        opened=number[t.C_OPENED],
        flaps=number[t.C_FLAPS],
        open_at_end=number[t.C_OPEN],
        firing_us=number[t.C_FIRING],
        severities=dict(zip(SEVERITY_ORDER, number[t.C_PEAKS :], strict=True)),
        busiest_day=(
            (Micros((first_day + busiest) * DAY_US), int(by_day[busiest]))
            if by_day[busiest]
            else None
        ),
        sensors_alerting=int(np.count_nonzero(by_sensor)),
        noisiest=[(names[at], int(by_sensor[at])) for at in noisiest.tolist() if by_sensor[at]],
        alerts=[
            TrialAlert(
                sensor=names[sensor],
                sensor_at=sensor,
                opened_at=Micros(opened),
                cleared_at=None if cleared == NEVER else Micros(cleared),
                severity=SEVERITY_ORDER[peak],
                value=float(value) if np.isfinite(value) else None,
            )
            for (_, sensor, opened, cleared, peak), value in zip(
                alerts[0].tolist(), alerts[1].tolist(), strict=True
            )
        ],
        difference=(
            Difference(number[t.C_KEPT], number[t.C_GONE], number[t.C_NEW]) if compared else None
        ),
    )
