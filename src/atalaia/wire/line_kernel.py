"""The fast road of line protocol: one pass over the bytes, compiled.

It takes lines whose numbers it can read, and marks every other one for the careful road, which
alone names what is wrong. It makes no Python object: lines and fields are places in the body, and
equal names are found by hashing their bytes, escapes and all.

With NUMBA_DISABLE_JIT=1 the same source runs as plain Python.
"""

from typing import NamedTuple

import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.wire.line_bytes import (
    BACKSLASH,
    COMMA,
    EQUALS,
    HASH,
    MINUS,
    NEWLINE,
    NINE,
    QUOTE,
    RETURN,
    SPACE,
    SURE_DIGITS,
    TAB,
    ZERO,
    Bytes,
    compiled,
    equal,
    hash_of,
    read_number,
)

L_START, L_END, L_NUMBER, L_KEY_END, L_KEY, L_TICKS, L_STATE, L_TEXTS, L_WIDTH = range(9)
"""Of a line: where it begins and ends, the physical line it begins on, where its measurement and
tags end, a line with the same ones, its time, a state, and how many of its fields are texts."""

TIMED, TIMELESS, CAREFUL = range(3)

F_LINE, F_NAME, F_NAME_END, F_VALUE, F_VALUE_END, F_SAME, F_STATE, F_WIDTH = range(8)
"""Of a field: its line, where its name and its value are, a field of the same series, a state."""

C_LINES, C_FIELDS, C_WIDTH = range(3)

MOST_LOOKS = 64
"""For an equal name, whoever chose the names: names can be made to hash alike."""


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


@compiled
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
        while at < size and (data[at] == SPACE or data[at] == TAB or data[at] == 0):
            at += 1
        if at < size and data[at] == RETURN and (at + 1 == size or data[at + 1] == NEWLINE):
            at += 1
        if at >= size:
            return
        if data[at] == NEWLINE:
            at, number = at + 1, number + 1
            continue
        if data[at] == HASH:
            while at < size and data[at] != NEWLINE:
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
                number += data[place] == NEWLINE
        counts[C_LINES] += 1
        at = end


@compiled
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
    while at < size and (data[at] != SPACE or data[at - 1] == BACKSLASH):
        if data[at] == NEWLINE:
            return -1
        at += 1
    line[L_KEY_END] = at
    while at < size and data[at] == SPACE:
        at += 1
    while True:
        if counts[C_FIELDS] > limit:
            return int(at)  # too many: nobody reads on
        name = at
        while at < size and (data[at] != EQUALS or data[at - 1] == BACKSLASH):
            if data[at] < SPACE:
                return -1
            if (data[at] == SPACE or data[at] == COMMA) and data[at - 1] != BACKSLASH:
                return -1
            at += 1
        if at == name or at >= size:
            return -1
        name_end = at
        at += 1
        if at < size and data[at] == QUOTE:
            at += 1
            while at < size and data[at] != QUOTE:
                at += 1 + (data[at] == BACKSLASH)
            if at >= size:
                return -1
            at += 1
            line[L_TEXTS] += 1
        else:
            value = at
            while at < size and data[at] > SPACE and data[at] != COMMA:
                at += 1
            field = fields[counts[C_FIELDS]]
            state = read_number(data, value, at, values, counts[C_FIELDS])
            if state < 0:
                return -1
            field[F_LINE], field[F_STATE] = index, state
            field[F_NAME], field[F_NAME_END] = name, name_end
            field[F_VALUE], field[F_VALUE_END] = value, at
            counts[C_FIELDS] += 1
        if at < size and data[at] == COMMA:
            at += 1
            continue
        return _time(data, at, line)


@compiled
def _time(data: Bytes, at: int, line: Int64s) -> int:
    """Read what follows the fields; where the line ends, -1 when it is not that simple."""
    size = len(data)
    while at < size and data[at] == SPACE:
        at += 1
    negative = at < size and data[at] == MINUS
    at += negative
    first, ticks = at, 0
    while at < size and ZERO <= data[at] <= NINE:
        ticks = ticks * 10 + int(data[at]) - ZERO
        at += 1
    if at - first > SURE_DIGITS + 1 or (at - first > SURE_DIGITS and data[first] > ZERO + 8):
        return -1
    if at == first and negative:
        return -1
    line[L_STATE] = TIMELESS if at == first else TIMED
    line[L_TICKS] = -ticks if negative else ticks
    while at < size and (data[at] == SPACE or data[at] == RETURN):
        at += 1
    return at if at >= size or data[at] == NEWLINE else -1


@compiled
def _line_end(data: Bytes, start: int) -> int:
    """A new line within a quoted value does not end it, unless nothing closes the quotes."""
    size, at, fields = len(data), start, False
    equals, commas, newline = 0, 0, -1
    while at < size and data[at] != NEWLINE:
        byte = data[at]
        if byte == BACKSLASH and at + 1 < size and data[at + 1] != NEWLINE:
            at += 2
            continue
        if byte == SPACE:
            fields = True
        elif fields and byte == EQUALS:
            equals += 1
        elif fields and byte == COMMA:
            commas += 1
        elif fields and byte == QUOTE and equals > commas:
            at += 1
            newline = -1
            while at < size and data[at] != QUOTE:
                if data[at] == NEWLINE and newline < 0:
                    newline = at
                at += 1 + (data[at] == BACKSLASH)
            if at >= size:
                return newline if newline >= 0 else size
        at += 1
    return min(at, size)


@compiled
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
    key = hash_of(data, start, size, 0)
    slot = key
    line[L_KEY] = index
    for _ in range(MOST_LOOKS):
        slot &= len(keys) - 1
        other = keys[slot]
        if other < 0:
            keys[slot] = index
            break
        there = lines[other, L_START]
        if size == lines[other, L_KEY_END] - there and equal(data, start, there, size):
            line[L_KEY] = other
            break
        slot += 1
    for number in range(first, end):
        field = fields[number]
        start, size = field[F_NAME], field[F_NAME_END] - field[F_NAME]
        slot = hash_of(data, start, size, key)
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
                and equal(data, start, there, size)
            ):
                field[F_SAME] = other
                break
            slot += 1
