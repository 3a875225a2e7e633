"""The fast road of line protocol: one pass over the bytes, compiled.

It takes lines whose numbers it can read, and marks every other one for the careful road, which
alone names what is wrong. It makes no Python object: lines and fields are places in the body, and
equal names are found by hashing their bytes, escapes and all.

With NUMBA_DISABLE_JIT=1 the same source runs as plain Python.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from atalaia.model.batch import Floats, Int64s

F = TypeVar("F", bound=Callable[..., object])
Bytes = npt.NDArray[np.uint8]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
_compiled: Callable[[F], F] = njit(**_OPTIONS)

L_START, L_END, L_NUMBER, L_KEY_END, L_KEY, L_TICKS, L_STATE, L_TEXTS, L_WIDTH = range(9)
"""Of a line: where it begins and ends, the physical line it begins on, where its measurement and
tags end, a line with the same ones, its time, a state, and how many of its fields are texts."""

TIMED, TIMELESS, CAREFUL = range(3)

F_LINE, F_NAME, F_NAME_END, F_VALUE, F_VALUE_END, F_SAME, F_STATE, F_WIDTH = range(8)
"""Of a field: its line, where its name and its value are, a field of the same series, a state."""

READ, UNREAD = range(2)
"""Whether a field's value is known; else Python's float reads the digits."""

C_LINES, C_FIELDS, C_WIDTH = range(3)

MOST_LOOKS = 64
"""For an equal name, whoever chose the names: names can be made to hash alike."""

MOST_DIGITS = 400
"""Of a number; a float64 has 309."""

_EXACT = 1 << 53
_POWERS = 10.0 ** np.arange(23)  # exact, as every whole number below 2^53
_SURE_DIGITS = 18  # fit an int64

_WORDS = np.array([[116, 114, 117, 101, 0], [102, 97, 108, 115, 101]])  # true, false

_NEWLINE, _RETURN, _SPACE, _TAB, _QUOTE = 10, 13, 32, 9, 34
_HASH, _PLUS, _COMMA, _MINUS, _POINT, _ZERO, _NINE = 35, 43, 44, 45, 46, 48, 57
_EQUALS, _BACKSLASH = 61, 92


class Scan(NamedTuple):
    """What a body holds: rows of lines and of fields, a value per field, and counts."""

    lines: Int64s
    fields: Int64s
    values: Floats
    counts: Int64s


def scan(body: bytes, limit: int) -> Scan:
    """Stops beyond `limit` lines or fields: one more of either says so.

    Memory: 72 bytes per line and 72 per field, of at most limit + 1.
    """
    most_lines = min(body.count(b"\n"), limit) + 2
    most_fields = min(body.count(b"="), limit) + 2
    found = Scan(
        np.zeros((most_lines, L_WIDTH), np.int64),
        np.zeros((most_fields, F_WIDTH), np.int64),
        np.zeros(most_fields),
        np.zeros(C_WIDTH, np.int64),
    )
    data = np.frombuffer(body, np.uint8)
    keys = np.full(_table_size(most_lines), -1, np.int64)
    series = np.full(_table_size(most_fields), -1, np.int64)
    _scan(data, limit, *found, keys, series)
    return found


def compile_scan() -> None:
    """Compile (or load from NUMBA_CACHE_DIR)."""
    scan(b"a,b=c d=1\n", 1)


def _table_size(entries: int) -> int:
    """A power of two with room."""
    return 1 << (2 * entries).bit_length()


@_compiled
def _scan(
    data: Bytes,
    limit: int,
    lines: Int64s,
    fields: Int64s,
    values: Floats,
    counts: Int64s,
    keys: Int64s,
    series: Int64s,
) -> None:
    at, number, size = 0, 0, len(data)
    while at < size:
        while at < size and (data[at] == _SPACE or data[at] == _TAB or data[at] == 0):
            at += 1
        if at < size and data[at] == _RETURN and (at + 1 == size or data[at + 1] == _NEWLINE):
            at += 1
        if at >= size:
            return
        if data[at] == _NEWLINE:
            at, number = at + 1, number + 1
            continue
        if data[at] == _HASH:
            while at < size and data[at] != _NEWLINE:
                at += 1
            continue
        if counts[C_LINES] > limit or counts[C_FIELDS] > limit:
            return
        line = lines[counts[C_LINES]]
        line[L_START], line[L_NUMBER] = at, number
        first = counts[C_FIELDS]
        end = _simple_line(data, limit, counts[C_LINES], lines, fields, values, counts)
        if end < 0:
            counts[C_FIELDS] = first
            line[L_STATE] = CAREFUL
            end = _line_end(data, at)
        else:
            _find_same(data, counts[C_LINES], first, lines, fields, counts[C_FIELDS], keys, series)
        line[L_END] = end
        if line[L_TEXTS] or line[L_STATE] == CAREFUL:
            for place in range(at, end):
                number += data[place] == _NEWLINE
        counts[C_LINES] += 1
        at = end


@_compiled
def _simple_line(
    data: Bytes,
    limit: int,
    index: int,
    lines: Int64s,
    fields: Int64s,
    values: Floats,
    counts: Int64s,
) -> int:
    """Where the line ends; -1: it is for the careful road."""
    size = len(data)
    line = lines[index]
    at = line[L_START]
    while at < size and (data[at] != _SPACE or data[at - 1] == _BACKSLASH):
        if data[at] == _NEWLINE:
            return -1
        at += 1
    line[L_KEY_END] = at
    while at < size and data[at] == _SPACE:
        at += 1
    while True:
        if counts[C_FIELDS] > limit:
            return int(at)  # too many: nobody reads on
        name = at
        while at < size and (data[at] != _EQUALS or data[at - 1] == _BACKSLASH):
            if data[at] < _SPACE:
                return -1
            if (data[at] == _SPACE or data[at] == _COMMA) and data[at - 1] != _BACKSLASH:
                return -1
            at += 1
        if at == name or at >= size:
            return -1
        name_end = at
        at += 1
        if at < size and data[at] == _QUOTE:
            at += 1
            while at < size and data[at] != _QUOTE:
                at += 1 + (data[at] == _BACKSLASH)
            if at >= size:
                return -1
            at += 1
            line[L_TEXTS] += 1
        else:
            value = at
            while at < size and data[at] > _SPACE and data[at] != _COMMA:
                at += 1
            field = fields[counts[C_FIELDS]]
            state = _number(data, value, at, values, counts[C_FIELDS])
            if state < 0:
                return -1
            field[F_LINE], field[F_STATE] = index, state
            field[F_NAME], field[F_NAME_END] = name, name_end
            field[F_VALUE], field[F_VALUE_END] = value, at
            counts[C_FIELDS] += 1
        if at < size and data[at] == _COMMA:
            at += 1
            continue
        return _time(data, at, line)


@_compiled
def _time(data: Bytes, at: int, line: Int64s) -> int:
    """Read what follows the fields; where the line ends, -1 when it is not that simple."""
    size = len(data)
    while at < size and data[at] == _SPACE:
        at += 1
    negative = at < size and data[at] == _MINUS
    at += negative
    first, ticks = at, 0
    while at < size and _ZERO <= data[at] <= _NINE:
        ticks = ticks * 10 + int(data[at]) - _ZERO
        at += 1
    if at - first > _SURE_DIGITS + 1 or (at - first > _SURE_DIGITS and data[first] > _ZERO + 8):
        return -1
    if at == first and negative:
        return -1
    line[L_STATE] = TIMELESS if at == first else TIMED
    line[L_TICKS] = -ticks if negative else ticks
    while at < size and (data[at] == _SPACE or data[at] == _RETURN):
        at += 1
    return at if at >= size or data[at] == _NEWLINE else -1


@_compiled
def _number(data: Bytes, at: int, end: int, values: Floats, to: int) -> int:
    """READ with the value in its place, UNREAD, or -1 for what is no plain number."""
    start = at
    negative = at < end and data[at] == _MINUS
    if at < end and (negative or data[at] == _PLUS):
        at += 1
    whole, digits, exponent, point = 0, 0, 0, False
    first = at
    while at < end and (_ZERO <= data[at] <= _NINE or (data[at] == _POINT and not point)):
        if data[at] == _POINT:
            point = True
        else:
            if digits < _SURE_DIGITS:
                whole = whole * 10 + int(data[at]) - _ZERO
            digits += 1
            exponent -= point
        at += 1
    if end - start > MOST_DIGITS:
        return -1
    if digits == 0:
        return _truth(data, start, end, values, to)
    if at == end:
        if digits > _SURE_DIGITS or whole > _EXACT or exponent < -22:
            return UNREAD
        value = whole / _POWERS[-exponent]
        values[to] = -value if negative else value
        return READ
    mark = data[at]
    if at + 1 == end and not point and (mark == 105 or (mark == 117 and first == start)):  # i u
        if digits > _SURE_DIGITS:
            return -1
        values[to] = float(-whole if negative else whole)
        return READ
    if mark == 101 or mark == 69:  # e E
        at += 1
        if at < end and (data[at] == _MINUS or data[at] == _PLUS):
            at += 1
        first = at
        while at < end and _ZERO <= data[at] <= _NINE:
            at += 1
        if first < at == end:
            return UNREAD
    return -1


@_compiled
def _truth(data: Bytes, start: int, end: int, values: Floats, to: int) -> int:
    """READ for t, true, True, TRUE, and the same of false."""
    if end == start:
        return -1
    wanted = 0 if data[start] | 32 == _WORDS[0, 0] else 1
    if data[start] | 32 != _WORDS[wanted, 0] or (end - start != 1 and end - start != 4 + wanted):
        return -1
    small, large = True, data[start] < 97  # a
    for place in range(1, end - start):
        small &= data[start + place] == _WORDS[wanted, place]
        large &= data[start + place] == _WORDS[wanted, place] - 32
    if not (small or large):
        return -1
    values[to] = 1.0 - wanted
    return READ


@_compiled
def _line_end(data: Bytes, start: int) -> int:
    """A new line within a quoted value does not end it, unless nothing closes the quotes."""
    size, at, fields = len(data), start, False
    equals, commas, newline = 0, 0, -1
    while at < size and data[at] != _NEWLINE:
        byte = data[at]
        if byte == _BACKSLASH and at + 1 < size and data[at + 1] != _NEWLINE:
            at += 2
            continue
        if byte == _SPACE:
            fields = True
        elif fields and byte == _EQUALS:
            equals += 1
        elif fields and byte == _COMMA:
            commas += 1
        elif fields and byte == _QUOTE and equals > commas:
            at += 1
            newline = -1
            while at < size and data[at] != _QUOTE:
                if data[at] == _NEWLINE and newline < 0:
                    newline = at
                at += 1 + (data[at] == _BACKSLASH)
            if at >= size:
                return newline if newline >= 0 else size
        at += 1
    return min(at, size)


@_compiled
def _find_same(
    data: Bytes,
    index: int,
    first: int,
    lines: Int64s,
    fields: Int64s,
    end: int,
    keys: Int64s,
    series: Int64s,
) -> None:
    """For a line and each of its fields, the first with the same bytes; or itself, where many
    others are in the way.
    """
    line = lines[index]
    start, size = line[L_START], line[L_KEY_END] - line[L_START]
    key = _hash(data, start, size, 0)
    slot = key
    line[L_KEY] = index
    for _ in range(MOST_LOOKS):
        slot &= len(keys) - 1
        other = keys[slot]
        if other < 0:
            keys[slot] = index
            break
        there = lines[other, L_START]
        if size == lines[other, L_KEY_END] - there and _equal(data, start, there, size):
            line[L_KEY] = other
            break
        slot += 1
    for number in range(first, end):
        field = fields[number]
        start, size = field[F_NAME], field[F_NAME_END] - field[F_NAME]
        slot = _hash(data, start, size, key)
        field[F_SAME] = number
        for _ in range(MOST_LOOKS):
            slot &= len(series) - 1
            other = series[slot]
            if other < 0:
                series[slot] = number
                break
            there = fields[other, F_NAME]
            if (
                lines[fields[other, F_LINE], L_KEY] == line[L_KEY]
                and size == fields[other, F_NAME_END] - there
                and _equal(data, start, there, size)
            ):
                field[F_SAME] = other
                break
            slot += 1


@_compiled
def _hash(data: Bytes, start: int, size: int, seed: int) -> int:
    """FNV-1a, in 63 bits."""
    found = seed ^ 0x2545F4914F6CDD1D
    for at in range(start, start + size):
        found = ((found ^ int(data[at])) * 0x100000001B3) & 0x7FFFFFFFFFFFFFFF
    return found ^ (found >> 29)


@_compiled
def _equal(data: Bytes, left: int, right: int, size: int) -> bool:
    for at in range(size):  # noqa: SIM110 - numba knows no generators
        if data[left + at] != data[right + at]:
            return False
    return True
