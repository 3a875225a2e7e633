"""The loop over readings: admit them into windows, judge the rules of a sensor, note transitions.

Numba compiles it once for every rule set, because rules are data. With NUMBA_DISABLE_JIT=1 the
same source runs as plain Python.
"""

from typing import Any

import numpy as np
from numba import njit

from atalaia.rules.judging import STACK, W_DIRTY, W_LEVEL, W_OPENED, apply_function, judge_rule
from atalaia.rules.windows import (
    COUNT,
    L_FIRST,
    LOOK,
    NEVER,
    R_METRIC,
    R_REACH,
    R_SENSOR,
    SUMMARY,
    append,
    has_room,
    summarise,
)

DONE, RING_FULL, OUTPUT_FULL = range(3)

# Columns of the table of sensors.
S_SHAPE, S_CLOCK, S_STATE, S_SERIES, S_LOOK = range(5)


@njit(cache=True, nogil=True)
def warm(
    slots: Any,
    ts: Any,
    values: Any,
    start: int,
    series: Any,
    words: Any,
    numbers: Any,
    classes: Any,
) -> int:
    """Admit stored readings without judging; returns the row that found its ring full, or n."""
    for i in range(start, len(slots)):
        row = series[slots[i]]
        if row[R_REACH]:
            if not has_room(row, words, ts[i]):
                return i
            append(row, words, numbers, classes, ts[i], values[i])
    return len(slots)


@njit(cache=True, nogil=True)
def fold(
    slots: Any,
    ts: Any,
    reading: Any,
    start: int,
    sensors: Any,
    series: Any,
    series_of: Any,
    states: Any,
    words: Any,
    numbers: Any,
    shape_at: Any,
    windows: Any,
    classes: Any,
    atoms: Any,
    rules: Any,
    programs: Any,
    ops: Any,
    constants: Any,
    out: Any,
    out_values: Any,
    dirty: Any,
    counts: Any,
) -> tuple[int, int, int]:
    """Admit and judge rows from `start`, sorted by (sensor, ts); adjacent rows of one sensor and
    time are judged together. Returns (rows done, why it stopped, the series
    whose ring is full). A group is done whole or not at all.

    out[k] = (sensor, state, kind, level, time, opened); counts = [transitions, dirty states].
    """
    summary = np.empty((len(windows), SUMMARY), np.float64)
    values = np.empty(max(len(atoms), 1), np.float64)
    stack = np.empty(STACK, np.float64)
    n = len(slots)
    i = start
    while i < n:
        sensor = series[slots[i], R_SENSOR]
        moment = ts[i]
        end = i + 1
        while end < n and ts[end] == moment and series[slots[end], R_SENSOR] == sensor:
            end += 1
        shape = sensors[sensor, S_SHAPE]
        rule_from, rule_to = shape_at[shape, 4], shape_at[shape, 5]
        if max(counts[0] + rule_to - rule_from - len(out),
               counts[1] + rule_to - rule_from - len(dirty)) > 0:  # fmt: skip
            return i, OUTPUT_FULL, -1
        touched = np.int64(0)
        for k in range(i, end):  # room for all of the group, or none of it
            row = series[slots[k]]
            if row[R_REACH]:
                touched |= np.int64(1) << row[R_METRIC]
                if not has_room(row, words, moment):
                    return i, RING_FULL, slots[k]
        now = max(sensors[sensor, S_CLOCK], moment)
        sensors[sensor, S_CLOCK] = now
        if touched == 0:
            i = end
            continue
        for k in range(i, end):
            row = series[slots[k]]
            if row[R_REACH]:
                append(row, words, numbers, classes, moment, reading[k])
        i = end
        look = sensors[sensor, S_LOOK]
        window_from, window_to = shape_at[shape, 0], shape_at[shape, 1]
        if moment < now:  # behind the sensor's clock: into a pane that a middle may hold
            for w in range(window_to - window_from):
                words[look + LOOK * w + L_FIRST] = NEVER
        for w in range(window_from, window_to):
            if windows[w, 5] & touched:
                slot = series_of[sensors[sensor, S_SERIES] + windows[w, 0]]
                summary[w, COUNT] = 0
                if slot >= 0:
                    at = look + LOOK * (w - window_from)
                    summarise(series[slot], words, numbers, at, windows[w], now, summary[w])
        for a in range(shape_at[shape, 2], shape_at[shape, 3]):
            if windows[atoms[a, 0], 5] & touched:
                values[a] = apply_function(atoms[a, 1], summary[atoms[a, 0]])
        for r in range(rule_from, rule_to):
            if rules[r, 0] & touched == 0:
                continue
            at = sensors[sensor, S_STATE] + r - rule_from
            was_dirty = states[at, W_DIRTY]
            kind = judge_rule(rules, r, programs, ops, constants, values, stack, states, at, now)
            if states[at, W_DIRTY] and not was_dirty:
                dirty[counts[1]] = at
                counts[1] += 1
            if kind >= 0:
                k = counts[0]
                out[k, 0], out[k, 1], out[k, 2] = sensor, at, kind
                out[k, 3], out[k, 4] = states[at, W_LEVEL], now
                out[k, 5] = states[at, W_OPENED]
                for a in range(shape_at[shape, 2], shape_at[shape, 3]):
                    out_values[k, a - shape_at[shape, 2]] = values[a]
                counts[0] += 1
    return n, DONE, -1
