"""What line protocol's fast road reads of a few bytes: numbers, and whether names are the same.

Compiled. Numbers are exact, or left to Python: whole numbers below 2^53 with at most 22 decimals
take one division of numbers that are exact themselves, whose result is the nearest float64.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from atalaia.model.batch import Floats

F = TypeVar("F", bound=Callable[..., object])
Bytes = npt.NDArray[np.uint8]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled: Callable[[F], F] = njit(**_OPTIONS)

READ, UNREAD = range(2)
"""Whether a field's value is known; else Python's float reads the digits."""

MOST_DIGITS = 400
"""Of a number; a float64 has 309."""

_EXACT = 1 << 53
_POWERS = 10.0 ** np.arange(23)  # exact, as every whole number below 2^53
SURE_DIGITS = 18  # fit an int64

_WORDS = np.array([[116, 114, 117, 101, 0], [102, 97, 108, 115, 101]])  # true, false

NEWLINE, RETURN, SPACE, TAB, QUOTE = 10, 13, 32, 9, 34
HASH, PLUS, COMMA, MINUS, POINT, ZERO, NINE = 35, 43, 44, 45, 46, 48, 57
EQUALS, BACKSLASH = 61, 92


@compiled
def read_number(data: Bytes, at: int, end: int, values: Floats, to: int) -> int:
    """READ with the value in its place, UNREAD, or -1 for what is no plain number."""
    start = at
    negative = at < end and data[at] == MINUS
    if at < end and (negative or data[at] == PLUS):
        at += 1
    whole, digits, exponent, point = 0, 0, 0, False
    first = at
    while at < end and (ZERO <= data[at] <= NINE or (data[at] == POINT and not point)):
        if data[at] == POINT:
            point = True
        else:
            if digits < SURE_DIGITS:
                whole = whole * 10 + int(data[at]) - ZERO
            digits += 1
            exponent -= point
        at += 1
    if end - start > MOST_DIGITS:
        return -1
    if digits == 0:
        return _truth(data, start, end, values, to)
    if at == end:
        if digits > SURE_DIGITS or whole > _EXACT or exponent < -22:
            return UNREAD
        value = whole / _POWERS[-exponent]
        values[to] = -value if negative else value
        return READ
    mark = data[at]
    if at + 1 == end and not point and (mark == 105 or (mark == 117 and first == start)):  # i u
        if digits > SURE_DIGITS:
            return -1
        values[to] = float(-whole if negative else whole)
        return READ
    if mark == 101 or mark == 69:  # e E
        at += 1
        if at < end and (data[at] == MINUS or data[at] == PLUS):
            at += 1
        first = at
        while at < end and ZERO <= data[at] <= NINE:
            at += 1
        if first < at == end:
            return UNREAD
    return -1


@compiled
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


@compiled
def hash_of(data: Bytes, start: int, size: int, seed: int) -> int:
    """FNV-1a, in 63 bits."""
    found = seed ^ 0x2545F4914F6CDD1D
    for at in range(start, start + size):
        found = ((found ^ int(data[at])) * 0x100000001B3) & 0x7FFFFFFFFFFFFFFF
    return found ^ (found >> 29)


@compiled
def equal(data: Bytes, left: int, right: int, size: int) -> bool:
    for at in range(size):  # noqa: SIM110 - numba knows no generators
        if data[left + at] != data[right + at]:
            return False
    return True
