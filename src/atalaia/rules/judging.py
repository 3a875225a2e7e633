"""What a rule says of its windows: aggregates, programs, and the state of a rule at a sensor.

Unknown is NaN throughout; truth is 1, 0 or unknown (Kleene).
"""

import math
from typing import Any

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
from atalaia.rules.windows import (
    COUNT,
    FIRST,
    FIRST_TS,
    LAST,
    LAST_TS,
    MAX,
    MIN,
    NEVER,
    SPREAD,
    SUM,
)

IDLE, PENDING, OPEN, CLEARING = range(4)
OPENED, RAISED, LOWERED, CLEARED = range(4)

# Columns of the table of rule states.
W_PHASE, W_LEVEL, W_SINCE, W_OPENED, W_LAST, W_DIRTY = range(6)

STACK = 256
"""Values on the stack of a program; the language allows fewer operators in a rule."""

nan = math.nan


@njit(cache=True, nogil=True)
def apply_function(function: int, summary: Any) -> float:
    """One aggregate of a window's summary; the numbers follow program.FUNCTIONS."""
    count = summary[COUNT]
    if function == 0:
        return count  # type: ignore[no-any-return]
    if count == 0:
        return nan
    if function == 1:
        return summary[SUM]  # type: ignore[no-any-return]
    if function == 2:
        return summary[SUM] / count  # type: ignore[no-any-return]
    if function == 3:
        return summary[MIN]  # type: ignore[no-any-return]
    if function == 4:
        return summary[MAX]  # type: ignore[no-any-return]
    if function == 5:
        return math.sqrt(summary[SPREAD] / (count - 1)) if count > 1 else nan
    if function == 6:
        return summary[FIRST]  # type: ignore[no-any-return]
    if function == 7:
        return summary[LAST]  # type: ignore[no-any-return]
    change = summary[LAST] - summary[FIRST]
    if function == 8:
        return change  # type: ignore[no-any-return]
    if count < 2:
        return nan
    return change / ((summary[LAST_TS] - summary[FIRST_TS]) / 1e6)  # type: ignore[no-any-return]


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
