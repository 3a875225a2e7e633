"""What a rule says of its windows: aggregates, programs, and the state of a rule at a sensor.

Unknown is NaN throughout; truth is 1, 0 or unknown (Kleene). The state of a rule at a sensor is
one word; what more an alert on its way needs stands in a record, which only those have whose
condition holds (states.py).
"""

import math
from typing import Any

from atalaia.rules.jit import compiled, inlined
from atalaia.rules.program import (
    ABS,
    ADD,
    AND,
    ATOM,
    COMPARE,
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
    SPREAD,
    SUM,
)

IDLE, PENDING, OPEN, CLEARING = range(4)
OPENED, RAISED, LOWERED, CLEARED = range(4)

# A state's word: phase, whether it changed since the last commit, level, and the payload: when
# it was last opened for IDLE, the number of its record for the others.
PHASE, DIRTY, LEVEL_SHIFT, LEVEL, PAYLOAD_SHIFT = 3, 4, 3, 3, 5
NEVER_OPENED = -(1 << 57)

# Columns of a record; a free one holds the number of the next in SINCE, one of an open alert when
# the alert before it was opened.
SINCE, OPENED_AT, LAST_AT = range(3)
RECORD = 3

# What the pool of records knows: the first free one, and how many are free.
POOL_FREE, POOL_COUNT = range(2)

KEEP_ON_NO_DATA, CLEAR_ON_NO_DATA, ALERT_ON_NO_DATA = range(3)

STACK = 256
"""Values on the stack of a program; the language allows fewer operators in a rule."""

nan = math.nan


@inlined
def pack(phase: int, level: int, payload: int) -> int:
    """A state's word, marked as changed."""
    return phase | DIRTY | (level << LEVEL_SHIFT) | (payload << PAYLOAD_SHIFT)


@inlined
def take_record(records: Any, pool: Any) -> int:
    """The number of a record; its caller has made sure that there is one."""
    record = pool[POOL_FREE]
    pool[POOL_FREE] = records[record, SINCE]
    pool[POOL_COUNT] -= 1
    return record  # type: ignore[no-any-return]


@inlined
def give_record(records: Any, pool: Any, record: int) -> None:
    records[record, SINCE] = pool[POOL_FREE]
    pool[POOL_FREE] = record
    pool[POOL_COUNT] += 1


@inlined
def apply_function(function: int, summary: Any, w: int) -> float:
    """One aggregate of a window's summary; the numbers follow program.FUNCTIONS."""
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
        # Squares pass the range of double long before the values do; what is left is no number.
        known = count > 1 and summary[w, SPREAD] < math.inf
        return math.sqrt(summary[w, SPREAD] / (count - 1)) if known else nan
    if function == 6:
        return summary[w, FIRST]  # type: ignore[no-any-return]
    if function == 7:
        return summary[w, LAST]  # type: ignore[no-any-return]
    if function == 10:
        return summary[w, SUM]  # type: ignore[no-any-return]
    change = summary[w, LAST] - summary[w, FIRST]
    if function == 8:
        return change  # type: ignore[no-any-return]
    if count < 2:
        return nan
    return change / ((summary[w, LAST_TS] - summary[w, FIRST_TS]) / 1e6)  # type: ignore[no-any-return]


@inlined
def _compare(code: int, a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return nan
    holds = False
    if code == LT:
        holds = a < b
    elif code == LE:
        holds = a <= b
    elif code == GT:
        holds = a > b
    elif code == GE:
        holds = a >= b
    return 1.0 if holds else 0.0


@compiled
def run_program(
    ops: Any, start: int, length: int, constants: Any, values: Any, stack: Any
) -> float:
    """Evaluate one postfix program over the atoms' values."""
    top = 0
    for i in range(start, start + length):
        code = ops[i, 0]
        if code >= COMPARE:
            stack[top] = _compare(code - COMPARE, values[ops[i, 1]], constants[ops[i, 2]])
            top += 1
            continue
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
        else:
            result = _compare(code, a, b)
        stack[top - 1] = result
    return stack[0]  # type: ignore[no-any-return]


@compiled
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


@inlined
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
    records: Any,
    pool: Any,
    now: int,
    closed: bool,
) -> int:
    """Move one rule's state at one sensor; returns the kind of transition or -1.

    closed: the rule's schedule does not let it open now.

    Takes a record at most.
    """
    start, length = programs[rules[r, 4], 0], programs[rules[r, 4], 1]
    if length == 1 and ops[start, 0] >= COMPARE:  # most rules; a call would cost more than it
        truth = _compare(ops[start, 0] - COMPARE, values[ops[start, 1]], constants[ops[start, 2]])
    else:
        truth = run_program(ops, start, length, constants, values, stack)
    if rules[r, 7] == ALERT_ON_NO_DATA and math.isnan(truth):
        truth = 1.0
    word = states[at]
    if word & PHASE == IDLE and (truth != 1.0 or closed):
        return -1
    return _move(
        rules, r, programs, ops, constants, values, stack, states, at, records, pool, now, truth,
        closed,
    )  # fmt: skip


@compiled
def _move(
    rules: Any,
    r: int,
    programs: Any,
    ops: Any,
    constants: Any,
    values: Any,
    stack: Any,
    states: Any,
    at: int,
    records: Any,
    pool: Any,
    now: int,
    truth: float,
    closed: bool,
) -> int:
    first = rules[r, 4]
    word = states[at]
    phase, level, record = word & PHASE, (word >> LEVEL_SHIFT) & LEVEL, word >> PAYLOAD_SHIFT
    silent = False
    if phase == IDLE:
        opened = record
        record = take_record(records, pool)
        records[record, SINCE], records[record, OPENED_AT] = now, opened
    else:
        silent = now - records[record, LAST_AT] > rules[r, 3]
    records[record, LAST_AT] = now
    opened = records[record, OPENED_AT]
    if phase <= PENDING:
        if truth != 1.0 or closed:
            give_record(records, pool, record)
            states[at] = pack(IDLE, level, opened)
            return -1
        if silent:
            records[record, SINCE] = now
        if now - records[record, SINCE] < rules[r, 1] or opened == now:
            states[at] = pack(PENDING, level, record)
            return -1
        records[record, OPENED_AT], records[record, SINCE] = now, opened
        level = find_level(rules, r, programs, ops, constants, values, stack, -1)
        states[at] = pack(OPEN, level, record)
        return OPENED
    gone = 1.0 - truth
    if programs[first + 1, 1]:
        start, length = programs[first + 1, 0], programs[first + 1, 1]
        gone = run_program(ops, start, length, constants, values, stack)
    if rules[r, 7] == CLEAR_ON_NO_DATA and math.isnan(truth):
        gone = 1.0
    if gone == 1.0:
        if phase == OPEN or silent:
            records[record, SINCE] = now
        phase = CLEARING
        if now - records[record, SINCE] >= rules[r, 2]:
            give_record(records, pool, record)
            states[at] = pack(IDLE, level, opened)
            return CLEARED
        states[at] = pack(CLEARING, level, record)
    elif phase == CLEARING:
        states[at] = pack(OPEN, level, record)
        phase = OPEN
    now_level = find_level(rules, r, programs, ops, constants, values, stack, level)
    if now_level == level:
        return -1
    states[at] = pack(phase, now_level, record)
    return RAISED if now_level > level else LOWERED
