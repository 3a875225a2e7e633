"""The loop over readings: admit them into windows, judge the rules of a sensor, note transitions.

Numba compiles it once for every rule set, because rules are data. A group of readings (one sensor,
one time) is done whole or not at all: what it may need is made sure of before it is begun, and
the loop returns to its caller, who makes room, when it is not there.
"""

from typing import Any

import numpy as np

from atalaia.rules.jit import compiled
from atalaia.rules.judging import (
    CLEARED,
    DIRTY,
    LEVEL,
    LEVEL_SHIFT,
    OPENED,
    OPENED_AT,
    PAYLOAD_SHIFT,
    POOL_COUNT,
    apply_function,
    judge_rule,
)
from atalaia.rules.memory import blocks_left
from atalaia.rules.scanning import scan_window
from atalaia.rules.windows import (
    COUNT,
    GROUP,
    LOOK,
    R_HEAD,
    R_METRIC,
    R_REACH,
    R_SENSOR,
    R_TAIL,
    W_FUNCTION,
    W_MASK,
    W_METRIC,
    W_SHIFT,
    append,
    forget,
    summarise,
    wants_panes,
)

DONE, MEMORY_FULL, PANES_WANTED, OUTPUT_FULL, RECORDS_FULL, SCRATCH_FULL, OPENING = range(7)

# Columns of the table of sensors; MOST: readings in the largest of its rings so far.
S_SHAPE, S_CLOCK, S_STATE, S_SERIES, S_LOOK, S_MOST = range(6)
SENSOR = 6

# Columns of a transition.
T_SENSOR, T_STATE, T_KIND, T_LEVEL, T_AT, T_OPENED = range(6)
TRANSITION = 6

SLACK = 8 * GROUP
"""Readings whose suffixes fit into one block."""


@compiled
def warm(
    slots: Any,
    ts: Any,
    values: Any,
    start: int,
    sensors: Any,
    series: Any,
    words: Any,
    numbers: Any,
    control: Any,
    classes: Any,
) -> tuple[int, int, int]:
    """Admit stored readings without judging. Returns as `fold`."""
    for i in range(start, len(slots)):
        slot = slots[i]
        if series[slot, R_REACH]:
            if blocks_left(control) < 1:
                return i, MEMORY_FULL, len(slots) // 16 + 1
            if wants_panes(series, slot):
                return i, PANES_WANTED, slot
            append(series, slot, words, numbers, control, classes, ts[i], values[i])
            sensor = series[slot, R_SENSOR]
            kept = series[slot, R_HEAD] - series[slot, R_TAIL]
            sensors[sensor, S_MOST] = max(sensors[sensor, S_MOST], kept)
    return len(slots), DONE, 0


@compiled
def _closed(edges: Any, edges_at: Any, schedule: int, now: int) -> bool:
    """Whether a time lies outside of a schedule: an even number of edges before it."""
    low, high = edges_at[schedule, 0], edges_at[schedule, 1]
    first = low
    while low < high:
        middle = (low + high) // 2
        if edges[middle] <= now:
            low = middle + 1
        else:
            high = middle
    return (low - first) & 1 == 0  # type: ignore[no-any-return]


@compiled
def fold(
    slots: Any,
    ts: Any,
    reading: Any,
    start: int,
    sensors: Any,
    series: Any,
    series_of: Any,
    states: Any,
    records: Any,
    pool: Any,
    words: Any,
    numbers: Any,
    control: Any,
    shape_at: Any,
    windows: Any,
    classes: Any,
    atoms: Any,
    rules: Any,
    programs: Any,
    ops: Any,
    constants: Any,
    edges: Any,
    edges_at: Any,
    out: Any,
    out_values: Any,
    dirty: Any,
    counts: Any,
    summary: Any,
    values: Any,
    stack: Any,
    scratch: Any,
) -> tuple[int, int, int]:
    """Admit and judge rows from `start`, sorted by (sensor, ts); adjacent rows of one sensor and
    time are judged together. Returns (rows done, why it stopped, of what: blocks, series).

    counts = [transitions in out, changed states in dirty, whether to stop behind a group that
    opened an alert: what it was judged by is in memory then]. summary, values, stack, scratch: room
    to work in, for SUMMARY numbers a window, one an atom, STACK, and a ring's readings.
    """
    n = len(slots)
    i = start
    while i < n:
        sensor = series[slots[i], R_SENSOR]
        moment = ts[i]
        end = i + 1
        while end < n and ts[end] == moment and series[slots[end], R_SENSOR] == sensor:
            end += 1
        shape = sensors[sensor, S_SHAPE]
        window_from, window_to = shape_at[shape, 0], shape_at[shape, 1]
        rule_from, rule_to = shape_at[shape, 4], shape_at[shape, 5]
        most = rule_to - rule_from
        if counts[0] + most > len(out) or counts[1] + most > len(dirty):
            return i, OUTPUT_FULL, most
        if pool[POOL_COUNT] < most:
            return i, RECORDS_FULL, most
        seasons = shape_at[shape, 7]  # a block holds half as many residuals, and one end more
        looks = window_to - window_from + seasons
        blocks = end - i + seasons + looks * (1 + sensors[sensor, S_MOST] // SLACK)
        if blocks_left(control) < blocks:
            return i, MEMORY_FULL, blocks
        if sensors[sensor, S_MOST] + end - i > len(scratch):
            return i, SCRATCH_FULL, 2 * (sensors[sensor, S_MOST] + end - i)
        touched = np.int64(0)
        for k in range(i, end):
            slot = slots[k]
            if series[slot, R_REACH]:
                touched |= np.int64(1) << series[slot, R_METRIC]
                if wants_panes(series, slot):
                    return i, PANES_WANTED, slot
        now = max(sensors[sensor, S_CLOCK], moment)
        sensors[sensor, S_CLOCK] = now
        if touched == 0:
            i = end
            continue
        look = sensors[sensor, S_LOOK]
        for k in range(i, end):
            slot = slots[k]
            if series[slot, R_REACH]:
                append(series, slot, words, numbers, control, classes, moment, reading[k])
                kept = series[slot, R_HEAD] - series[slot, R_TAIL]
                if kept > sensors[sensor, S_MOST]:
                    sensors[sensor, S_MOST] = kept
                if moment < now:
                    for w in range(window_from, window_to):
                        if windows[w, W_METRIC] == series[slot, R_METRIC]:
                            pane = moment >> windows[w, W_SHIFT]
                            forget(words, look + LOOK * (w - window_from), pane)
        i = end
        for w in range(window_from, window_to):
            if windows[w, W_MASK] & touched:
                slot = series_of[sensors[sensor, S_SERIES] + windows[w, W_METRIC]]
                summary[w, COUNT] = 0
                at = look + LOOK * (w - window_from)
                if slot < 0:
                    continue
                if windows[w, W_FUNCTION]:
                    scan_window(
                        series, slot, words, numbers, control, at, windows, w, now, scratch,
                        summary,
                    )  # fmt: skip
                else:
                    summarise(
                        series, slot, words, numbers, control, at, windows, w, now, scratch,
                        summary,
                    )  # fmt: skip
        atom_from, atom_to = shape_at[shape, 2], shape_at[shape, 3]
        for a in range(atom_from, atom_to):
            if windows[atoms[a, 0], W_MASK] & touched:
                values[a] = apply_function(atoms[a, 1], summary, atoms[a, 0])
        opening = False
        for r in range(rule_from, rule_to):
            if rules[r, 0] & touched == 0:
                continue
            at = sensors[sensor, S_STATE] + r - rule_from
            clean = states[at] & DIRTY == 0
            schedule = rules[r, 8]
            closed = schedule >= 0 and _closed(edges, edges_at, schedule, now)
            kind = judge_rule(
                rules, r, programs, ops, constants, values, stack, states, at, records, pool, now,
                closed,
            )  # fmt: skip
            word = states[at]
            if clean and word & DIRTY:
                dirty[counts[1]] = at
                counts[1] += 1
            if kind >= 0:
                k = counts[0]
                payload = word >> PAYLOAD_SHIFT
                out[k, T_SENSOR], out[k, T_STATE], out[k, T_KIND] = sensor, at, kind
                out[k, T_LEVEL], out[k, T_AT] = (word >> LEVEL_SHIFT) & LEVEL, now
                out[k, T_OPENED] = payload if kind == CLEARED else records[payload, OPENED_AT]
                for a in range(atom_from, atom_to):
                    out_values[k, a - atom_from] = values[a]
                counts[0] += 1
                opening |= kind == OPENED
        if opening and counts[2]:
            return i, OPENING, 0
    return n, DONE, 0
