"""Backtests of rules of silence: from when readings arrived to the alerts that would have opened.

Live rules are looked at on every line of a grid; here nothing happens between two arrivals at a
sensor, so that each pause tells by itself whether a deadline fell into it, and
a year is a few operations on arrays. Knows no storage and no clock, and nothing of times at which
we did not listen: they are silence here.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros
from atalaia.rules import tally as t
from atalaia.rules.absence import on_grid
from atalaia.rules.judging import CLEARED, OPENED
from atalaia.rules.kernel import T_AT, T_SENSOR, TRANSITION
from atalaia.rules.syntax import SEVERITY_ORDER
from atalaia.rules.variants import Variant
from atalaia.rules.windows import NEVER

LONG_AGO = Micros(0)


@attrs.frozen
class Watched:
    """A sensor that some variant watches, with those of its metrics that matter.

    lateness_us: for how long its readings wait for others; 0 in order of time.
    """

    sensor_id: UUID
    name: str
    tags: Mapping[str, str]
    metrics: tuple[str, ...]
    lateness_us: int = 0
    registered_at: Micros = LONG_AGO


class Asked(Protocol):
    """What a group needs of its backtest."""

    variants: tuple[Variant, ...]
    since: Micros
    until: Micros
    readings: int

    def open_account(self, sensors: int) -> t.Account: ...
    def add_alerts(self, alerts: Int64s, values: Floats) -> None: ...
    def add_group(self, sensors: Sequence[Watched], opened: Int64s) -> None: ...


@attrs.define(eq=False)
class SilentGroup:
    """Some sensors and when each was last heard of. Series are numbered sensor by sensor."""

    backtest: Asked
    sensors: tuple[Watched, ...]
    sensor_of: Int64s = attrs.field(init=False)
    """The sensor of each series."""
    lateness_of: Int64s = attrs.field(init=False)
    """The lateness of each series."""
    _newest: Int64s = attrs.field(init=False)
    _heard: Int64s = attrs.field(init=False)
    _account: t.Account = attrs.field(init=False)
    _watching: list[tuple[int, int, int, Int64s]] = attrs.field(init=False)
    """Per variant: its number, how long a sensor may be silent, its level, which it watches."""

    def __attrs_post_init__(self) -> None:
        sizes = [len(sensor.metrics) for sensor in self.sensors]
        self.sensor_of = np.repeat(np.arange(len(self.sensors)), sizes)
        lateness = np.array([sensor.lateness_us for sensor in self.sensors], np.int64)
        self.lateness_of = lateness[self.sensor_of]
        self._newest = np.full(len(self.sensor_of), NEVER, np.int64)
        self._heard = np.array([sensor.registered_at for sensor in self.sensors], np.int64)
        self._account = self.backtest.open_account(len(self.sensors))
        self._watching = []
        for number, variant in enumerate(self.backtest.variants):
            silence = variant.spec.silence
            if silence is None:
                raise AssertionError("all variants wait for silence")
            matches = variant.spec.selector.matches
            watched = [matches(sensor.name, sensor.tags) for sensor in self.sensors]
            level = SEVERITY_ORDER.index(variant.spec.levels[0].severity)
            self._watching.append((number, silence.after_us, level, np.array(watched, np.bool_)))

    def hear_before(self, received: Int64s) -> None:
        """Per series: its newest arrival before the range; negative for none."""
        newest = np.full(len(self.sensors), -1, np.int64)
        np.maximum.at(newest, self.sensor_of, received)
        self._heard = np.where(newest < 0, self._heard, newest)

    def fold(self, series: Int64s, ts: Int64s, value: Floats, received: Int64s) -> None:
        """Hear of readings that were not late, in any order among themselves; at each sensor they
        follow those of the last call by `received`.
        """
        del value
        inside = received <= self.backtest.until
        series, ts, received = series[inside], ts[inside], received[inside]
        news = self._news(series, ts, received)
        self.backtest.readings += len(news)
        sensor, received = self.sensor_of[series[news]], received[news]
        order = np.lexsort((received, sensor))
        sensor, received = sensor[order], received[order]
        heard = np.empty_like(received)
        heard[1:] = received[:-1]
        first = np.flatnonzero(np.append(True, sensor[1:] != sensor[:-1])[: len(sensor)])
        heard[first] = self._heard[sensor[first]]
        self._heard[sensor] = received  # of several at one sensor the last one stays
        self._judge(sensor, heard, received)

    def _news(self, series: Int64s, ts: Int64s, received: Int64s) -> Int64s:
        """Those that were newer than their series' newest: within a lateness others come too."""
        order = np.lexsort((ts, received, series))
        found = []
        for mine in np.split(order, np.flatnonzero(np.diff(series[order])) + 1):
            if len(mine):
                at = series[mine[0]]
                newest = np.maximum.accumulate(np.append(self._newest[at], ts[mine]))
                found.append(mine[ts[mine] > newest[:-1]])
                self._newest[at] = newest[-1]
        return np.concatenate(found) if found else order

    def close(self) -> None:
        """After the last reading: who is silent now stays so to the end of the range."""
        sensors = np.arange(len(self.sensors))
        self._judge(sensors, self._heard, np.full(len(sensors), NEVER, np.int64))
        self.backtest.add_alerts(*self._account.close())
        self.backtest.add_group(self.sensors, self._account.opened)

    def _judge(self, sensor: Int64s, heard: Int64s, then: Int64s) -> None:
        """Pauses at sensors, from an arrival to the next one; NEVER for none in the range."""
        both = self.backtest
        first_line = on_grid(int(both.since))
        ends = np.where(then == NEVER, both.until + 1, then)
        found, values = [], []
        for number, after_us, level, watched in self._watching:
            opened = np.maximum(on_grid(heard + after_us), first_line)
            # What arrives at the very deadline was there before the clock was looked at.
            silent = np.flatnonzero(watched[sensor] & (opened < ends))
            for kind, at in ((OPENED, opened), (CLEARED, then)):
                some = silent if kind == OPENED else silent[then[silent] != NEVER]
                steps = np.empty((len(some), TRANSITION), np.int64)
                steps.T[:] = (
                    sensor[some], np.full(len(some), number), np.full(len(some), kind),
                    np.full(len(some), level), at[some], opened[some],
                )  # fmt: skip
                found.append(steps)
                values.append((opened[some] - heard[some]) / 1e6)
        steps = np.concatenate(found)
        order = np.lexsort((steps[:, T_AT], steps[:, T_SENSOR]))
        variants = np.arange(len(both.variants))
        steps, silent_s = steps[order], np.concatenate(values)[order]
        both.add_alerts(
            *self._account.add(steps, silent_s[:, None], variants, np.zeros_like(variants))
        )
