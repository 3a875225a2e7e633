"""The loop over readings: admit into rings, judge the rules of a sensor, note the transitions.

Numba compiles it once for every rule set, because rules are data. The value of a window is a
pure function of the readings in it: each window is summed anew, oldest first, so that neither
drift nor a restart can change a bit. Unknown is NaN throughout; truth is 1, 0 or unknown (Kleene).

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
def summarise(ring_ts: Any, ring_value: Any, row: Any, after: int, spread: int, out: Any) -> None:
    """Sum up the readings with ts > after, oldest first."""
    offset, mask = row[R_OFFSET], row[R_CAPACITY] - 1
    head = row[R_HEAD]
    low, high = row[R_TAIL], head
    while low < high:  # the first reading inside
        middle = (low + high) >> 1
        if ring_ts[offset + (middle & mask)] > after:
            high = middle
        else:
            low = middle + 1
    count = head - low
    out[COUNT] = count
    if count == 0:
        return
    total = 0.0
    smallest = math.inf
    largest = -math.inf
    for position in range(low, head):
        value = ring_value[offset + (position & mask)]
        total += value
        smallest = min(smallest, value)
        largest = max(largest, value)
    out[SUM], out[MIN], out[MAX] = total, smallest, largest
    if spread:
        mean = total / count
        squares = 0.0
        for position in range(low, head):
            off = ring_value[offset + (position & mask)] - mean
            squares += off * off
        out[SPREAD] = squares
    first, last = offset + (low & mask), offset + ((head - 1) & mask)
    out[FIRST], out[LAST] = ring_value[first], ring_value[last]
    out[FIRST_TS], out[LAST_TS] = ring_ts[first], ring_ts[last]


@njit(cache=True, nogil=True)
def apply_function(function: int, window: Any) -> float:
    """One aggregate of a summary; the numbers follow program.FUNCTIONS."""
    count = window[COUNT]
    if function == 0:
        return count  # type: ignore[no-any-return]
    if count == 0:
        return nan
    if function == 1:
        return window[SUM]  # type: ignore[no-any-return]
    if function == 2:
        return window[SUM] / count  # type: ignore[no-any-return]
    if function == 3:
        return window[MIN]  # type: ignore[no-any-return]
    if function == 4:
        return window[MAX]  # type: ignore[no-any-return]
    if function == 5:
        return math.sqrt(window[SPREAD] / (count - 1)) if count > 1 else nan
    if function == 6:
        return window[FIRST]  # type: ignore[no-any-return]
    if function == 7:
        return window[LAST]  # type: ignore[no-any-return]
    change = window[LAST] - window[FIRST]
    if function == 8:
        return change  # type: ignore[no-any-return]
    if count < 2:
        return nan
    return change / ((window[LAST_TS] - window[FIRST_TS]) / 1e6)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def run_program(ops: Any, constants: Any, values: Any, stack: Any) -> float:
    """Evaluate one postfix program over the atoms' values."""
    top = 0
    for i in range(len(ops)):
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
    rule: Any, programs: Any, ops: Any, constants: Any, values: Any, stack: Any, current: int
) -> int:
    """The severity that holds now; an unknown level stays where it was."""
    level = rule[6]
    for p in range(rule[4] + 2, rule[4] + rule[5]):
        start, length, severity = programs[p]
        truth = run_program(ops[start : start + length], constants, values, stack)
        if truth == 1.0 or (math.isnan(truth) and current >= severity):
            level = severity
    return level  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def judge_rule(
    rule: Any,
    programs: Any,
    ops: Any,
    constants: Any,
    values: Any,
    stack: Any,
    state: Any,
    now: int,
) -> int:
    """Move one rule's state at one sensor; returns the kind of transition or -1."""
    first = rule[4]
    silent = state[W_LAST] != NEVER and now - state[W_LAST] > rule[3]
    state[W_LAST] = now
    start, length, _ = programs[first]
    truth = run_program(ops[start : start + length], constants, values, stack)
    if state[W_PHASE] <= PENDING:
        if truth != 1.0:
            if state[W_PHASE] == PENDING:
                state[W_PHASE], state[W_DIRTY] = IDLE, 1
            return -1
        if state[W_PHASE] == IDLE or silent:
            state[W_PHASE], state[W_SINCE] = PENDING, now
        state[W_DIRTY] = 1
        if now - state[W_SINCE] < rule[1] or state[W_OPENED] == now:
            return -1
        state[W_PHASE], state[W_OPENED] = OPEN, now
        state[W_LEVEL] = find_level(rule, programs, ops, constants, values, stack, -1)
        return OPENED
    start, length, _ = programs[first + 1]
    if length:
        gone = run_program(ops[start : start + length], constants, values, stack)
    else:
        gone = 1.0 - truth
    if gone == 1.0:
        if state[W_PHASE] == OPEN or silent:
            state[W_PHASE], state[W_SINCE] = CLEARING, now
        state[W_DIRTY] = 1
        if now - state[W_SINCE] >= rule[2]:
            state[W_PHASE] = IDLE
            return CLEARED
    elif state[W_PHASE] == CLEARING:
        state[W_PHASE], state[W_DIRTY] = OPEN, 1
    level = find_level(rule, programs, ops, constants, values, stack, state[W_LEVEL])
    if level == state[W_LEVEL]:
        return -1
    kind = RAISED if level > state[W_LEVEL] else LOWERED
    state[W_LEVEL], state[W_DIRTY] = level, 1
    return kind


@njit(cache=True, nogil=True)
def append(series: Any, slot: int, ring_ts: Any, ring_value: Any, ts: int, value: float) -> bool:
    """Admit one reading, retiring those beyond the longest window; False when there is no room."""
    row = series[slot]
    offset, capacity = row[R_OFFSET], row[R_CAPACITY]
    oldest = ts - row[R_REACH]
    while row[R_TAIL] < row[R_HEAD] and (
        ring_ts[offset + (row[R_TAIL] & (capacity - 1))] <= oldest
    ):
        row[R_TAIL] += 1
    if row[R_HEAD] - row[R_TAIL] >= capacity:
        return False
    at = offset + (row[R_HEAD] & (capacity - 1))
    ring_ts[at], ring_value[at] = ts, value
    row[R_HEAD] += 1
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
        shape = shape_at[sensors[sensor, S_SHAPE]]
        rule_from, rule_to = shape[4], shape[5]
        if counts[0] + rule_to - rule_from > len(out):
            return i, OUTPUT_FULL, -1
        if counts[1] + rule_to - rule_from > len(dirty):
            return i, OUTPUT_FULL, -1
        for k in range(i, end):  # room for all of the group, or none of it
            row = series[slots[k]]
            if row[R_REACH] and row[R_HEAD] - row[R_TAIL] >= row[R_CAPACITY]:
                at = row[R_OFFSET] + (row[R_TAIL] & (row[R_CAPACITY] - 1))
                if row[R_CAPACITY] == 0 or ring_ts[at] > moment - row[R_REACH]:
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
        _look(sensors[sensor], shape, now, series, series_of, ring_ts, ring_value,
              windows, atoms, summary, values)  # fmt: skip
        for r in range(rule_from, rule_to):
            rule = rules[r]
            if rule[0] & touched == 0:
                continue
            at = sensors[sensor, S_STATE] + r - rule_from
            was_dirty = states[at, W_DIRTY]
            kind = judge_rule(rule, programs, ops, constants, values, stack, states[at], now)
            if states[at, W_DIRTY] and not was_dirty:
                dirty[counts[1]] = at
                counts[1] += 1
            if kind >= 0:
                k = counts[0]
                out[k, 0], out[k, 1], out[k, 2] = sensor, at, kind
                out[k, 3], out[k, 4] = states[at, W_LEVEL], now
                out[k, 5] = states[at, W_OPENED]
                for a in range(shape[3] - shape[2]):
                    out_values[k, a] = values[shape[2] + a]
                counts[0] += 1
    return n, DONE, -1


@njit(cache=True, nogil=True)
def _look(
    sensor: Any,
    shape: Any,
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
    for w in range(shape[0], shape[1]):
        slot = series_of[sensor[S_SERIES] + windows[w, 0]]
        summary[w, COUNT] = 0
        if slot >= 0:
            after = now - windows[w, 1]
            summarise(ring_ts, ring_value, series[slot], after, windows[w, 2], summary[w])
    for a in range(shape[2], shape[3]):
        values[a] = apply_function(atoms[a, 1], summary[atoms[a, 0]])
