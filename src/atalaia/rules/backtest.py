"""A backtest: variants of a rule over stored readings, by the fold that judges live ones.

The variants, and the live version of the rule beside them, are the rules of a tenant made for the
purpose, so that equal windows are shared. Sensors come in groups, one group after the other, so
that memory holds the windows of one group. Rules of silence go by arrivals alone, and have groups
of their own (silent.py). Knows no storage and no clock.
"""

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, Micros, RuleNo, SensorNo
from atalaia.rules import tally as t
from atalaia.rules.language import parse_rule
from atalaia.rules.outcome import Alerts, Outcome, Trial, make_trial
from atalaia.rules.reorder import Reorder
from atalaia.rules.scanning import scan_shift
from atalaia.rules.silent import LONG_AGO, SilentGroup, Watched
from atalaia.rules.syntax import MAX_METRICS, Selector
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from atalaia.rules.variants import Variant, find_threshold
from atalaia.rules.windows import NEVER

Order = Literal["event", "arrival"]
"""By time, late readings in their place; or as they came, late ones not judged and the others when
they had waited for their sensor's lateness: as live does."""

ALERTS_SHOWN = 2_000  # over all variants; they are counted without end
MAX_STATE_BYTES = 1 << 30


@attrs.define(eq=False)
class Backtest:
    """Ask `watch` which sensors matter, open groups of them one by one, then ask for the outcome.

    The range has both ends. live: the rule as it stands, if there is one to compare with; it
    becomes a variant unless one of them judges the same, or it goes by another clock: then there
    is none. Silence has one order, that of arrival. counts, by_day: columns of tally.py.
    """

    tenant_id: UUID
    variants: tuple[Variant, ...]
    live: ActiveRule | None
    since: Micros
    until: Micros
    order: Order
    live_at: int = attrs.field(init=False, default=-1)
    """Which of the variants is the live rule; -1 for none."""
    incomparable: bool = attrs.field(init=False, default=False)
    """Whether the live rule goes by another clock."""
    readings: int = 0
    _sensors: list[Watched] = attrs.field(factory=list)
    _by_sensor: list[Int64s] = attrs.field(factory=list)
    counts: Int64s = attrs.field(init=False)
    by_day: Int64s = attrs.field(init=False)
    _alerts: Alerts = attrs.field(init=False)

    _looks: frozenset[tuple[Selector, tuple[str, ...]]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.silence:
            self.order = "arrival"
        if self.live is not None and (self.live.spec.silence is not None) != self.silence:
            self.live, self.incomparable = None, True
        if self.live is not None:
            keys = [variant.spec.condition_key for variant in self.variants]
            if self.live.spec.condition_key not in keys:
                keys.append(self.live.spec.condition_key)
                found = find_threshold(self.live.spec.when)
                self.variants = (*self.variants, Variant(self.live.spec, found, as_written=False))
            self.live_at = keys.index(self.live.spec.condition_key)
        specs = [variant.spec for variant in self.variants]
        self._looks = frozenset((spec.selector, spec.metrics) for spec in specs)
        if len({metric for spec in specs for metric in spec.metrics}) > MAX_METRICS:
            raise Invalid(
                f"The rule and its live version together look at more than {MAX_METRICS} metrics.",
                code="backtest_too_large",
            )
        self.counts = np.zeros((len(self.variants), t.COUNTS), np.int64)
        days = self.until // DAY_US - self.since // DAY_US + 1
        self.by_day = np.zeros((len(self.variants), days), np.int64)
        self._alerts = Alerts(len(self.variants), max(40, ALERTS_SHOWN // len(self.variants)))

    @property
    def silence(self) -> bool:
        """Whether the variants wait for silence."""
        return self.variants[0].spec.silence is not None

    @property
    def reach_us(self) -> int:
        """How far before a reading the windows look; scanned ones a step of their grid more."""
        looked_at = [a for variant in self.variants for a in variant.spec.aggregates]
        reaches = (a.history_us + (1 << scan_shift(a.window_us)) for a in looked_at)
        return max(reaches, default=0)  # silence has no windows

    def watch(
        self,
        sensor_id: UUID,
        name: str,
        tags: Mapping[str, str],
        metrics: Sequence[str],
        lateness_us: int = 0,
        registered_at: Micros = LONG_AGO,
    ) -> Watched | None:
        """The sensor as it matters here; None when no variant can judge it."""
        if self.silence:
            if not any(selector.matches(name, tags) for selector, _ in self._looks):
                return None
            return Watched(sensor_id, name, tags, tuple(metrics), lateness_us, registered_at)
        wanted = {
            metric
            for selector, looked_at in self._looks
            if selector.matches(name, tags)
            for metric in looked_at
        }
        seen = tuple(metric for metric in metrics if metric in wanted)
        if not seen:
            return None
        if self.order == "event":
            return Watched(sensor_id, name, tags, seen)
        # Judged as it came, a lagging metric is judged at the clock that the others have set.
        return Watched(sensor_id, name, tags, tuple(metrics), lateness_us)

    def open_group(self, sensors: Sequence[Watched]) -> "Group | SilentGroup":
        """Sensors to be judged together; close the group before the next is opened."""
        return SilentGroup(self, tuple(sensors)) if self.silence else Group(self, tuple(sensors))

    def open_account(self, sensors: int) -> t.Account:
        """For a group: where its steps are added up."""
        return t.Account(sensors, self.live_at, self.since, self.until, self.counts, self.by_day)

    def add_group(self, sensors: Sequence[Watched], opened: Int64s) -> None:
        """For a group that closes. opened: alerts per sensor and variant."""
        self._sensors += sensors
        self._by_sensor.append(opened)

    def add_alerts(self, alerts: Int64s, values: Floats) -> None:
        """For a group: alerts that ended, sensors counted within the group."""
        if len(alerts):
            alerts[:, t.A_SENSOR] += len(self._sensors)
            self._alerts.add(alerts, values)

    def outcome(self) -> Outcome:
        """What the variants would have done, after the last group was closed."""
        none = np.empty((0, len(self.variants)), np.int64)
        by_sensor = np.concatenate([none, *self._by_sensor])
        trials: list[Trial] = []
        for number, variant in enumerate(self.variants):
            trial = make_trial(
                variant,
                self.counts[number],
                by_sensor[:, number],
                self.by_day[number],
                first_day=self.since // DAY_US,
                names=[sensor.name for sensor in self._sensors],
                alerts=self._alerts.of(number),
                compared=self.live_at not in (-1, number),
            )
            trials.append(trial)
        if self.live is not None:
            ids = [sensor.sensor_id for sensor in self._sensors]
            trials[self.live_at] = trials[self.live_at].as_live(self.tenant_id, self.live, ids)
        return Outcome(
            trials=tuple(trials),
            sensors=len(self._sensors),
            readings=self.readings,
            range_us=self.until - self.since + 1,
        )


@attrs.define(eq=False)
class Group:
    """Some sensors and their windows. Series are numbered sensor by sensor, metric by metric."""

    backtest: Backtest
    sensors: tuple[Watched, ...]
    sensor_of: Int64s = attrs.field(init=False)
    """The sensor of each series."""
    lateness_of: Int64s = attrs.field(init=False)
    """The lateness of each series."""
    _reorder: Reorder | None = attrs.field(init=False, default=None)
    _newest: Int64s = attrs.field(init=False)
    _rules: TenantRules = attrs.field(init=False)
    _account: t.Account = attrs.field(init=False)
    _columns: tuple[Int64s, Int64s] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rules = [
            ActiveRule(RuleNo(number), UUID(int=number), 1, variant.spec)
            for number, variant in enumerate(self.backtest.variants)
        ]
        self._rules = TenantRules(self.backtest.tenant_id, rules)
        owners = []
        # The last one is not theirs: its reading, which no rule looks at, keeps others apart.
        for number, sensor in enumerate((*self.sensors, Watched(UUID(int=0), "", {}, ("",)))):
            slot = self._rules.add_sensor(
                SensorNo(number), sensor.sensor_id, sensor.name, sensor.tags
            )
            for metric in sensor.metrics:
                self._rules.add_series(slot, metric, None)
                owners.append(slot)
        self.sensor_of = np.array(owners, np.int64)
        lateness = np.array([*(sensor.lateness_us for sensor in self.sensors), 0], np.int64)
        self.lateness_of = lateness[self.sensor_of]
        self._newest = np.full(len(owners), NEVER)
        if lateness.any():
            self._reorder = Reorder()
            for lateness_us in lateness.tolist():
                self._reorder.add_sensor(lateness_us)
            for slot in owners:
                self._reorder.add_series(slot, None, None)
        self._columns = self._rules.state_columns()
        self._account = self.backtest.open_account(len(self.sensors) + 1)

    def warm(self, series: Int64s, ts: Int64s, value: Floats, _: Int64s) -> None:
        """Fill the windows from readings before the range, which are not judged; as `fold`."""
        order = _order(series, ts)
        self._rules.warm(series[order], ts[order], value[order])
        self._check_size()

    def fold(self, series: Int64s, ts: Int64s, value: Floats, received: Int64s) -> None:
        """Judge readings, in any order among themselves, that follow those of the last call.

        They follow by time per sensor for `event`, by (received, ts) for `arrival`; there those
        that are to wait are judged in a later call, or never.
        Holds Python's lock for a small part of the time.
        """
        both = self.backtest
        sensor = self.sensor_of[series]
        if both.order == "event":
            order = _order(sensor, ts)
            series, ts, value = series[order], ts[order], value[order]
            both.readings += len(ts)
        else:
            order = _order(sensor, received, ts, series)
            run, series, ts, value = received[order], series[order], ts[order], value[order]
            if self._reorder is not None:
                _, ready = self._reorder.take(sensor[order], run, series, ts, value, self._newest)
                run, series, ts, value = ready.run, ready.slot, ready.ts, ready.value
            both.readings += len(ts)
            series, ts, value = self._keep_apart(self.sensor_of[series], run, series, ts, value)
        for steps, values in self._rules.fold_columns(series, ts, value):
            both.add_alerts(*self._account.add(steps, values, *self._columns))
        self._check_size()

    def close(self) -> None:
        """After the last reading: what is open stays open to the end of the range, and what still
        waits is not judged.
        """
        self.backtest.add_alerts(*self._account.close())
        self.backtest.add_group(self.sensors, self._account.opened[:-1])

    def _keep_apart(
        self, sensor: Int64s, received: Int64s, series: Int64s, ts: Int64s, value: Floats
    ) -> tuple[Int64s, Int64s, Floats]:
        """Readings of one sensor and time that were judged at two batches were so one after the
        other. received: of the batch at which each was judged.
        """
        near = (sensor[1:] == sensor[:-1]) & (ts[1:] == ts[:-1]) & (received[1:] != received[:-1])
        at = np.flatnonzero(near) + 1
        if not len(at):
            return series, ts, value
        between = len(self.sensor_of) - 1
        return np.insert(series, at, between), np.insert(ts, at, ts[at]), np.insert(value, at, 0.0)

    def _check_size(self) -> None:
        waiting = 0 if self._reorder is None else self._reorder.used_bytes
        if self._rules.used_bytes + waiting > MAX_STATE_BYTES:
            raise Invalid(
                f"The windows of {len(self.sensors)} sensors would hold more than "
                f"{MAX_STATE_BYTES >> 20} MiB of readings; try shorter windows.",
                code="backtest_too_large",
            )


def compile_tally() -> None:
    """Compile (or load from NUMBA_CACHE_DIR) what the kernel does not need, by one reading."""
    spec = parse_rule("rule warm on sensors when x > 0")
    variant = Variant(spec, 0.0, as_written=True)
    backtest = Backtest(UUID(int=0), (variant,), None, Micros(0), Micros(1), "event")
    group = backtest.open_group([Watched(UUID(int=1), "s", {}, ("x",))])
    one = np.ones(1, np.int64)
    group.fold(one - 1, one, np.ones(1), one)
    group.close()


def _order(*keys: Int64s) -> Int64s | slice:
    """What sorts by these keys, the first one first; readings mostly are in order already."""
    ties = np.ones(max(len(keys[0]) - 1, 0), np.bool_)
    for key in keys:
        step = key[1:] - key[:-1]
        if (step[ties] < 0).any():
            return np.lexsort(keys[::-1])
        ties &= step == 0
    return slice(None)
