"""The loop over readings: admit into rings, judge the rules of a sensor, note the transitions.

Numba compiles it once for every rule set, because rules are data. The value of a window is a
pure function of the readings in it: each window is summed anew in a fixed association, so that
neither drift nor a restart can change a bit. Unknown is NaN throughout; truth is 1, 0 or unknown
(Kleene).

With NUMBA_DISABLE_JIT=1 the same source runs as plain Python.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from atalaia.rules.program import (
    ABS,
    ADD,
    AND,
    ATOM,
    CONST,
    DIV,
    GE,
    GT,
    LE,
    LT,
    MUL,
    NEG,
    OR,
    SUB,
)

IDLE, PENDING, OPEN, CLEARING = 0, 1, 2, 3
OPENED, RAISED, LOWERED, CLEARED = 0, 1, 2, 3

DONE, RING_FULL, OUTPUT_FULL = 0, 1, 2

NEVER = -(1 << 62)
"""Before every possible time, and far enough from the end of int64 to subtract windows from."""

# Columns of the tables that describe a sensor, a series and a rule's state at one sensor.
S_SHAPE, S_CLOCK, S_STATE, S_SERIES = 0, 1, 2, 3
R_SENSOR, R_METRIC, R_OFFSET, R_CAPACITY, R_HEAD, R_TAIL, R_REACH = 0, 1, 2, 3, 4, 5, 6
W_PHASE, W_LEVEL, W_SINCE, W_OPENED, W_LAST, W_DIRTY = 0, 1, 2, 3, 4, 5

# Columns of a window's summary.
COUNT, SUM, MIN, MAX, SPREAD, FIRST, LAST, FIRST_TS, LAST_TS = 0, 1, 2, 3, 4, 5, 6, 7, 8
SUMMARY = 9
STACK = 256
"""Values on the stack of a program; the language allows fewer operators in a rule."""

nan = math.nan


@njit(cache=True, nogil=True)
def summarise(
    ring_ts: Any,
    ring_value: Any,
    series: Any,
    slot: int,
    after: int,
    spread: int,
    summary: Any,
    w: int,
) -> None:
    """Sum up the readings with ts > after, oldest first."""
    offset, mask = series[slot, R_OFFSET], series[slot, R_CAPACITY] - 1
    head = series[slot, R_HEAD]
    low, high = series[slot, R_TAIL], head
    while low < high:  # the first reading inside
        middle = (low + high) >> 1
        if ring_ts[offset + (middle & mask)] > after:
            high = middle
        else:
            low = middle + 1
    count = head - low
    summary[w, COUNT] = count
    if count == 0:
        return
    # Four lanes by place from the oldest: a fixed association, and no chain of additions that
    # each wait for the one before (2.5 times faster over 300 readings).
    s0 = s1 = s2 = s3 = 0.0
    low0 = low1 = math.inf
    high0 = high1 = -math.inf
    whole = head - (count & 3)
    for position in range(low, whole, 4):
        a = ring_value[offset + (position & mask)]
        b = ring_value[offset + ((position + 1) & mask)]
        c = ring_value[offset + ((position + 2) & mask)]
        d = ring_value[offset + ((position + 3) & mask)]
        s0, s1, s2, s3 = s0 + a, s1 + b, s2 + c, s3 + d
        low0 = a if a < low0 else low0
        low1 = b if b < low1 else low1
        low0 = c if c < low0 else low0
        low1 = d if d < low1 else low1
        high0 = a if a > high0 else high0
        high1 = b if b > high1 else high1
        high0 = c if c > high0 else high0
        high1 = d if d > high1 else high1
    for position in range(whole, head):
        a = ring_value[offset + (position & mask)]
        s0 += a
        low0, high0 = min(low0, a), max(high0, a)
    total = (s0 + s1) + (s2 + s3)
    summary[w, SUM], summary[w, MIN], summary[w, MAX] = total, min(low0, low1), max(high0, high1)
    if spread:
        mean = total / count
        s0 = s1 = s2 = s3 = 0.0
        for position in range(low, whole, 4):
            a = ring_value[offset + (position & mask)] - mean
            b = ring_value[offset + ((position + 1) & mask)] - mean
            c = ring_value[offset + ((position + 2) & mask)] - mean
            d = ring_value[offset + ((position + 3) & mask)] - mean
            s0, s1, s2, s3 = s0 + a * a, s1 + b * b, s2 + c * c, s3 + d * d
        for position in range(whole, head):
            a = ring_value[offset + (position & mask)] - mean
            s0 += a * a
        summary[w, SPREAD] = (s0 + s1) + (s2 + s3)
    first, last = offset + (low & mask), offset + ((head - 1) & mask)
    summary[w, FIRST], summary[w, LAST] = ring_value[first], ring_value[last]
    summary[w, FIRST_TS], summary[w, LAST_TS] = ring_ts[first], ring_ts[last]


@njit(cache=True, nogil=True)
def apply_function(function: int, summary: Any, w: int) -> float:
    """One aggregate of a summary; the numbers follow program.FUNCTIONS."""
    count = summary[w, COUNT]
    if function == 0:
        return count  # type: ignore[no-any-return]
    if count == 0:
        return nan
    if function == 1:
        return summary[w, SUM]  # type: ignore[no-any-return]
    if function == 2:
        return summary[w, SUM] / count  # type: ignore[no-any-return]
    if function == 3:
        return summary[w, MIN]  # type: ignore[no-any-return]
    if function == 4:
        return summary[w, MAX]  # type: ignore[no-any-return]
    if function == 5:
        return math.sqrt(summary[w, SPREAD] / (count - 1)) if count > 1 else nan
    if function == 6:
        return summary[w, FIRST]  # type: ignore[no-any-return]
    if function == 7:
        return summary[w, LAST]  # type: ignore[no-any-return]
    change = summary[w, LAST] - summary[w, FIRST]
    if function == 8:
        return change  # type: ignore[no-any-return]
    if count < 2:
        return nan
    return change / ((summary[w, LAST_TS] - summary[w, FIRST_TS]) / 1e6)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def run_program(
    ops: Any, start: int, length: int, constants: Any, values: Any, stack: Any
) -> float:
    """Evaluate one postfix program over the atoms' values."""
    top = 0
    for i in range(start, start + length):
        code = ops[i, 0]
        if code == CONST:
            stack[top] = constants[ops[i, 1]]
            top += 1
            continue
        if code == ATOM:
            stack[top] = values[ops[i, 1]]
            top += 1
            continue
        b = stack[top - 1]
        if code == NEG:
            stack[top - 1] = -b
            continue
        if code == ABS:
            stack[top - 1] = abs(b)
            continue
        if code > OR:  # NOT
            stack[top - 1] = 1.0 - b
            continue
        top -= 1
        a = stack[top - 1]
        result = nan
        if code == AND:
            if a == 0.0 or b == 0.0:
                result = 0.0
            elif a == 1.0 and b == 1.0:
                result = 1.0
        elif code == OR:
            if a == 1.0 or b == 1.0:
                result = 1.0
            elif a == 0.0 and b == 0.0:
                result = 0.0
        elif code == ADD:
            result = a + b
        elif code == SUB:
            result = a - b
        elif code == MUL:
            result = a * b
        elif code == DIV:
            result = a / b if b != 0.0 else nan
        elif not (math.isnan(a) or math.isnan(b)):
            if code == LT:
                result = 1.0 if a < b else 0.0
            elif code == LE:
                result = 1.0 if a <= b else 0.0
            elif code == GT:
                result = 1.0 if a > b else 0.0
            elif code == GE:
                result = 1.0 if a >= b else 0.0
        stack[top - 1] = result
    return stack[0]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def find_level(
    rules: Any,
    r: int,
    programs: Any,
    ops: Any,
    constants: Any,
    values: Any,
    stack: Any,
    current: int,
) -> int:
    """The severity that holds now; an unknown level stays where it was."""
    level = rules[r, 6]
    for p in range(rules[r, 4] + 2, rules[r, 4] + rules[r, 5]):
        start, length, severity = programs[p, 0], programs[p, 1], programs[p, 2]
        truth = run_program(ops, start, length, constants, values, stack)
        if truth == 1.0 or (math.isnan(truth) and current >= severity):
            level = severity
    return level  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def judge_rule(
    rules: Any,
    r: int,
    programs: Any,
    ops: Any,
    constants: Any,
    values: Any,
    stack: Any,
    states: Any,
    at: int,
    now: int,
) -> int:
    """Move one rule's state at one sensor; returns the kind of transition or -1."""
    first = rules[r, 4]
    silent = states[at, W_LAST] != NEVER and now - states[at, W_LAST] > rules[r, 3]
    states[at, W_LAST] = now
    start, length = programs[first, 0], programs[first, 1]
    truth = run_program(ops, start, length, constants, values, stack)
    if states[at, W_PHASE] <= PENDING:
        if truth != 1.0:
            if states[at, W_PHASE] == PENDING:
                states[at, W_PHASE], states[at, W_DIRTY] = IDLE, 1
            return -1
        if states[at, W_PHASE] == IDLE or silent:
            states[at, W_PHASE], states[at, W_SINCE] = PENDING, now
        states[at, W_DIRTY] = 1
        if now - states[at, W_SINCE] < rules[r, 1] or states[at, W_OPENED] == now:
            return -1
        states[at, W_PHASE], states[at, W_OPENED] = OPEN, now
        states[at, W_LEVEL] = find_level(rules, r, programs, ops, constants, values, stack, -1)
        return OPENED
    start, length = programs[first + 1, 0], programs[first + 1, 1]
    gone = 1.0 - truth
    if length:
        gone = run_program(ops, start, length, constants, values, stack)
    if gone == 1.0:
        if states[at, W_PHASE] == OPEN or silent:
            states[at, W_PHASE], states[at, W_SINCE] = CLEARING, now
        states[at, W_DIRTY] = 1
        if now - states[at, W_SINCE] >= rules[r, 2]:
            states[at, W_PHASE] = IDLE
            return CLEARED
    elif states[at, W_PHASE] == CLEARING:
        states[at, W_PHASE], states[at, W_DIRTY] = OPEN, 1
    level = find_level(rules, r, programs, ops, constants, values, stack, states[at, W_LEVEL])
    if level == states[at, W_LEVEL]:
        return -1
    kind = RAISED if level > states[at, W_LEVEL] else LOWERED
    states[at, W_LEVEL], states[at, W_DIRTY] = level, 1
    return kind


@njit(cache=True, nogil=True)
def append(series: Any, slot: int, ring_ts: Any, ring_value: Any, ts: int, value: float) -> bool:
    """Admit one reading, retiring those beyond the longest window; False when there is no room."""
    offset, capacity = series[slot, R_OFFSET], series[slot, R_CAPACITY]
    oldest = ts - series[slot, R_REACH]
    while series[slot, R_TAIL] < series[slot, R_HEAD] and (
        ring_ts[offset + (series[slot, R_TAIL] & (capacity - 1))] <= oldest
    ):
        series[slot, R_TAIL] += 1
    if series[slot, R_HEAD] - series[slot, R_TAIL] >= capacity:
        return False
    at = offset + (series[slot, R_HEAD] & (capacity - 1))
    ring_ts[at], ring_value[at] = ts, value
    series[slot, R_HEAD] += 1
    return True


@njit(cache=True, nogil=True)
def warm(
    slots: Any, ts: Any, values: Any, start: int, series: Any, ring_ts: Any, ring_value: Any
) -> int:
    """Admit stored readings without judging; returns the row that found its ring full, or n."""
    for i in range(start, len(slots)):
        slot = slots[i]
        if series[slot, R_REACH] and not append(
            series, slot, ring_ts, ring_value, ts[i], values[i]
        ):
            return i
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
    ring_ts: Any,
    ring_value: Any,
    shape_at: Any,
    windows: Any,
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
        if counts[0] + rule_to - rule_from > len(out):
            return i, OUTPUT_FULL, -1
        if counts[1] + rule_to - rule_from > len(dirty):
            return i, OUTPUT_FULL, -1
        for k in range(i, end):  # room for all of the group, or none of it
            slot = slots[k]
            if (
                series[slot, R_REACH]
                and series[slot, R_HEAD] - series[slot, R_TAIL] >= series[slot, R_CAPACITY]
            ):
                at = series[slot, R_OFFSET] + (
                    series[slot, R_TAIL] & (series[slot, R_CAPACITY] - 1)
                )
                if series[slot, R_CAPACITY] == 0 or ring_ts[at] > moment - series[slot, R_REACH]:
                    return i, RING_FULL, slots[k]
        touched = np.int64(0)
        for k in range(i, end):
            slot = slots[k]
            if series[slot, R_REACH]:
                append(series, slot, ring_ts, ring_value, moment, reading[k])
                touched |= np.int64(1) << series[slot, R_METRIC]
        now = max(sensors[sensor, S_CLOCK], moment)
        sensors[sensor, S_CLOCK] = now
        i = end
        if touched == 0:
            continue
        _look(sensors, sensor, shape_at, shape, now, series, series_of, ring_ts, ring_value,
              windows, atoms, summary, values)  # fmt: skip
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
                for a in range(shape_at[shape, 3] - shape_at[shape, 2]):
                    out_values[k, a] = values[shape_at[shape, 2] + a]
                counts[0] += 1
    return n, DONE, -1


@njit(cache=True, nogil=True)
def _look(
    sensors: Any,
    sensor: int,
    shape_at: Any,
    shape: int,
    now: int,
    series: Any,
    series_of: Any,
    ring_ts: Any,
    ring_value: Any,
    windows: Any,
    atoms: Any,
    summary: Any,
    values: Any,
) -> None:
    """Every window and atom of the sensor's shape as of `now`."""
    for w in range(shape_at[shape, 0], shape_at[shape, 1]):
        slot = series_of[sensors[sensor, S_SERIES] + windows[w, 0]]
        summary[w, COUNT] = 0
        if slot >= 0:
            after = now - windows[w, 1]
            summarise(ring_ts, ring_value, series, slot, after, windows[w, 2], summary, w)
    for a in range(shape_at[shape, 2], shape_at[shape, 3]):
        values[a] = apply_function(atoms[a, 1], summary, atoms[a, 0])
