"""What the steps of many variants of a rule add up to. Compiled: a restless rule takes a step at
every reading, and a year has 31 million of them.

Everything is per sensor and variant, in the order of evaluation. Of the steps at one time those
of older alerts come first, so that an alert that ends where another begins does not overlap it.
"""

from typing import Any

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import DAY_US, MINUTE_US, Micros
from atalaia.rules.jit import compiled, inlined
from atalaia.rules.judging import CLEARED, OPENED, RAISED
from atalaia.rules.kernel import T_AT, T_KIND, T_LEVEL, T_OPENED, T_SENSOR, T_STATE
from atalaia.rules.windows import NEVER

FLAP_US = 10 * MINUTE_US
"""An alert that opens again at its sensor within this time after it cleared is a flap: whoever
was told that it is over is called again."""

# Columns of what is kept per sensor and variant. MET: whether the open alert has overlapped one
# of the live rule; LIVE_MET: whether the live rule's open alert has overlapped one of these.
H_OPENED, H_PEAK, H_CLEARED, H_MET, H_LIVE_MET, H_COUNT = range(6)
HELD = 6

# Columns of what is counted per variant; one column per severity of the peaks follows.
C_OPENED, C_FLAPS, C_OPEN, C_FIRING, C_KEPT, C_GONE, C_NEW, C_PEAKS = range(8)
COUNTS = C_PEAKS + 3

# Columns of an alert.
A_VARIANT, A_SENSOR, A_OPENED, A_CLEARED, A_PEAK = range(5)
ALERT = 5


@inlined
def _end(
    held: Any,
    held_values: Any,
    counts: Any,
    live: int,
    sensor: int,
    variant: int,
    cleared: int,
    until: int,
    alerts: Any,
    alert_values: Any,
    n: int,
) -> int:
    """Account for an alert that has cleared, or for one that is still open (NEVER)."""
    opened = held[sensor, variant, H_OPENED]
    counts[variant, C_FIRING] += (until if cleared == NEVER else cleared) - opened
    counts[variant, C_PEAKS + held[sensor, variant, H_PEAK]] += 1
    if cleared == NEVER:
        counts[variant, C_OPEN] += 1
    if live >= 0 and variant != live:
        if not held[sensor, variant, H_MET]:
            counts[variant, C_NEW] += 1
    elif live >= 0:
        for other in range(len(counts)):
            if other != live:
                met = held[sensor, other, H_LIVE_MET]
                counts[other, C_KEPT if met else C_GONE] += 1
                held[sensor, other, H_LIVE_MET] = 0
    alerts[n, A_VARIANT], alerts[n, A_SENSOR] = variant, sensor
    alerts[n, A_OPENED], alerts[n, A_CLEARED] = opened, cleared
    alerts[n, A_PEAK] = held[sensor, variant, H_PEAK]
    alert_values[n] = held_values[sensor, variant]
    held[sensor, variant, H_OPENED] = NEVER
    held[sensor, variant, H_CLEARED] = cleared
    return n + 1


@inlined
def _begin(held: Any, live: int, sensor: int, variant: int, at: int, level: int) -> None:
    held[sensor, variant, H_OPENED], held[sensor, variant, H_PEAK] = at, level
    held[sensor, variant, H_MET] = 0
    held[sensor, variant, H_COUNT] += 1
    if live < 0:
        return
    if variant != live:
        if held[sensor, live, H_OPENED] != NEVER:
            held[sensor, variant, H_MET] = held[sensor, variant, H_LIVE_MET] = 1
        return
    for other in range(held.shape[1]):
        meets = other != live and held[sensor, other, H_OPENED] != NEVER
        held[sensor, other, H_LIVE_MET] = meets
        if meets:
            held[sensor, other, H_MET] = 1


@compiled
def add_steps(
    steps: Any,
    values: Any,
    variant_of: Any,
    value_at: Any,
    live: int,
    flap_us: int,
    day_us: int,
    first_day: int,
    held: Any,
    held_values: Any,
    counts: Any,
    by_day: Any,
    alerts: Any,
    alert_values: Any,
) -> int:
    """Take the steps of one fold in; returns how many alerts cleared and stand in `alerts`.

    variant_of, value_at: per state. live: the live rule's variant, or -1. alerts has room for
    as many as there are steps.
    """
    found = 0
    start = 0
    while start < len(steps):
        sensor, at = steps[start, T_SENSOR], steps[start, T_AT]
        end = start + 1
        while end < len(steps) and steps[end, T_SENSOR] == sensor and steps[end, T_AT] == at:
            end += 1
        for turn in range(2):  # first the alerts of before, then those that open now
            for k in range(start, end):
                if (steps[k, T_OPENED] == at) != (turn == 1):
                    continue
                kind, level = steps[k, T_KIND], steps[k, T_LEVEL]
                variant = variant_of[steps[k, T_STATE]]
                if kind == OPENED:
                    cleared = held[sensor, variant, H_CLEARED]
                    counts[variant, C_OPENED] += 1
                    if cleared != NEVER and at - cleared <= flap_us:
                        counts[variant, C_FLAPS] += 1
                    by_day[variant, at // day_us - first_day] += 1
                    held_values[sensor, variant] = values[k, value_at[steps[k, T_STATE]]]
                    _begin(held, live, sensor, variant, at, level)
                elif kind == RAISED:
                    held[sensor, variant, H_PEAK] = max(held[sensor, variant, H_PEAK], level)
                elif kind == CLEARED:
                    found = _end(
                        held, held_values, counts, live, sensor, variant,
                        at, at, alerts, alert_values, found,
                    )  # fmt: skip
        start = end
    return found


@compiled
def finish(
    live: int,
    until: int,
    held: Any,
    held_values: Any,
    counts: Any,
    alerts: Any,
    alert_values: Any,
) -> int:
    """Account for what is open at the end; returns how many alerts stand in `alerts`."""
    found = 0
    for sensor in range(len(held)):
        for variant in range(held.shape[1]):
            if held[sensor, variant, H_OPENED] != NEVER:
                found = _end(
                    held, held_values, counts, live, sensor, variant,
                    NEVER, until, alerts, alert_values, found,
                )  # fmt: skip
    return found


@attrs.define(eq=False)
class Account:
    """What the steps of a group of sensors add up to. counts, by_day: those of all groups."""

    sensors: int
    live_at: int
    since: Micros
    until: Micros
    counts: Int64s
    by_day: Int64s
    _held: Int64s = attrs.field(init=False)
    _values: Floats = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._held = np.zeros((self.sensors, len(self.counts), HELD), np.int64)
        self._held[:, :, [H_OPENED, H_CLEARED]] = NEVER
        self._values = np.full(self._held.shape[:2], np.nan)

    @property
    def opened(self) -> Int64s:
        """Alerts per sensor and variant."""
        return self._held[:, :, H_COUNT]

    def add(
        self, steps: Int64s, values: Floats, variant_of: Int64s, value_at: Int64s
    ) -> tuple[Int64s, Floats]:
        """Take steps in, as `add_steps`; returns the alerts that cleared and their values."""
        alerts, found_values = _room(len(steps))
        found = add_steps(
            steps, values, variant_of, value_at, self.live_at, FLAP_US, DAY_US,
            self.since // DAY_US, self._held, self._values, self.counts, self.by_day,
            alerts, found_values,
        )  # fmt: skip
        return alerts[:found], found_values[:found]

    def close(self) -> tuple[Int64s, Floats]:
        """After the last step: what is open stays open to the end of the range."""
        alerts, found_values = _room(self._values.size)
        found = finish(
            self.live_at, self.until, self._held, self._values, self.counts, alerts, found_values
        )
        return alerts[:found], found_values[:found]


def _room(alerts: int) -> tuple[Int64s, Floats]:
    return np.empty((alerts, ALERT), np.int64), np.empty(alerts, np.float64)
