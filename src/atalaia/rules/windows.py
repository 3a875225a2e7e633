"""Windows over one series: a ring of readings, panes on an absolute grid, a cached middle.

The value of a window is a pure function of the readings in it and of its right edge, so that
neither drift nor a restart can change a bit. The order of additions is fixed by the contents:

- up to FEW readings are summed as they stand (`scan`);
- more are (head + middle) + current: the readings before the first whole pane, the whole panes
  from old to new, and the pane of the right edge. A pane is 2**shift µs of the epoch, and shift
  depends on the window's width alone (`pane_shift`).

A pane's record is kept while readings are appended. The middle of a window is combined anew only
when one of its edges enters another pane.

Everything lives in one array of 8-byte words, seen as int64 (`words`) and as float64 (`numbers`):
rings of (ts, value), records of panes, looks (what is kept per sensor and window).
"""

import math
from typing import Any

from numba import njit

NEVER = -(1 << 62)
"""Before every possible time, and far enough from the end of int64 to subtract windows from."""

FEW = 32
"""Series whose windows never held more have no panes."""

READING = 2
"""Words of a reading in its ring: ts, value."""

PANES, PANE = 16, 6
"""Records per class of panes (a ring by id), words per record."""
P_ID, P_COUNT, P_SUM, P_SPREAD, P_MIN, P_MAX = range(PANE)

LOOK = 8
"""Words per look: where the window and its first whole pane begin, the middle and its edges."""
L_TAIL, L_BODY, L_FIRST, L_LAST, L_SUM, L_SPREAD, L_MIN, L_MAX = range(LOOK)

# Columns of the table of series.
R_SENSOR, R_METRIC, R_OFFSET, R_CAPACITY, R_HEAD, R_TAIL, R_REACH, R_PANES, R_CLASS, R_CLASSES = (
    range(10)
)
SERIES = 10

# Columns of a window's summary.
COUNT, SUM, MIN, MAX, SPREAD, FIRST, LAST, FIRST_TS, LAST_TS = range(9)
SUMMARY = 9


def pane_shift(width_us: int) -> int:
    """log2 of the pane's width: the largest with at least 8 panes in a window, so at most 16."""
    return max(0, (width_us // 8).bit_length() - 1)


@njit(cache=True, nogil=True)
def scan(
    words: Any, numbers: Any, offset: int, mask: int, low: int, high: int, spread: int
) -> tuple[float, float, float, float]:
    """Sum, spread (squared deviations), least and greatest of the positions low to high.

    Four lanes by place from the oldest: a fixed association, and no chain of additions that each
    wait for the one before.
    """
    s0 = s1 = s2 = s3 = 0.0
    low0 = low1 = math.inf
    high0 = high1 = -math.inf
    whole = high - ((high - low) & 3)
    for position in range(low, whole, 4):
        a = numbers[offset + 2 * (position & mask) + 1]
        b = numbers[offset + 2 * ((position + 1) & mask) + 1]
        c = numbers[offset + 2 * ((position + 2) & mask) + 1]
        d = numbers[offset + 2 * ((position + 3) & mask) + 1]
        s0, s1, s2, s3 = s0 + a, s1 + b, s2 + c, s3 + d
        low0 = a if a < low0 else low0
        low1 = b if b < low1 else low1
        low0 = c if c < low0 else low0
        low1 = d if d < low1 else low1
        high0 = a if a > high0 else high0
        high1 = b if b > high1 else high1
        high0 = c if c > high0 else high0
        high1 = d if d > high1 else high1
    for position in range(whole, high):
        a = numbers[offset + 2 * (position & mask) + 1]
        s0 += a
        low0 = a if a < low0 else low0
        high0 = a if a > high0 else high0
    total = (s0 + s1) + (s2 + s3)
    least, greatest = min(low0, low1), max(high0, high1)
    if not spread or high == low:
        return total, 0.0, least, greatest
    mean = total / (high - low)
    s0 = s1 = s2 = s3 = 0.0
    for position in range(low, whole, 4):
        a = numbers[offset + 2 * (position & mask) + 1] - mean
        b = numbers[offset + 2 * ((position + 1) & mask) + 1] - mean
        c = numbers[offset + 2 * ((position + 2) & mask) + 1] - mean
        d = numbers[offset + 2 * ((position + 3) & mask) + 1] - mean
        s0, s1, s2, s3 = s0 + a * a, s1 + b * b, s2 + c * c, s3 + d * d
    for position in range(whole, high):
        a = numbers[offset + 2 * (position & mask) + 1] - mean
        s0 += a * a
    return total, (s0 + s1) + (s2 + s3), least, greatest


@njit(cache=True, nogil=True)
def join_spread(n1: int, sum1: float, spread1: float, n2: int, sum2: float, spread2: float) -> Any:
    """The spread of two sets of readings together (Chan, Golub and LeVeque 1979)."""
    if n1 == 0:
        return spread2
    if n2 == 0:
        return spread1
    step = sum2 / n2 - sum1 / n1
    return spread1 + spread2 + step * step * (n1 * n2 / (n1 + n2))


@njit(cache=True, nogil=True)
def add_to_panes(row: Any, words: Any, numbers: Any, classes: Any, ts: int, value: float) -> None:
    """Bring a series' newest reading into the record of its pane, in every class."""
    for c in range(row[R_CLASSES]):
        shift, spread = classes[row[R_CLASS] + c, 0], classes[row[R_CLASS] + c, 1]
        pane = ts >> shift
        at = row[R_PANES] + PANE * (PANES * c + (pane & (PANES - 1)))
        if words[at + P_ID] != pane:
            words[at + P_ID], words[at + P_COUNT] = pane, 1
            numbers[at + P_SUM], numbers[at + P_SPREAD] = value, 0.0
            numbers[at + P_MIN] = numbers[at + P_MAX] = value
            continue
        n = words[at + P_COUNT]
        if spread:
            numbers[at + P_SPREAD] = join_spread(
                n, numbers[at + P_SUM], numbers[at + P_SPREAD], 1, value, 0.0
            )
        words[at + P_COUNT] = n + 1
        numbers[at + P_SUM] += value
        numbers[at + P_MIN] = min(numbers[at + P_MIN], value)
        numbers[at + P_MAX] = max(numbers[at + P_MAX], value)


@njit(cache=True, nogil=True)
def has_room(row: Any, words: Any, ts: int) -> bool:
    """Whether `append` finds a place for a reading of time ts."""
    if row[R_HEAD] - row[R_TAIL] < row[R_CAPACITY]:
        return True
    if row[R_CAPACITY] == 0:
        return False
    oldest = row[R_OFFSET] + READING * (row[R_TAIL] & (row[R_CAPACITY] - 1))
    return words[oldest] <= ts - row[R_REACH]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def append(row: Any, words: Any, numbers: Any, classes: Any, ts: int, value: float) -> None:
    """Admit the newest reading of a series, which has room; let go those no window reaches."""
    offset, mask = row[R_OFFSET], row[R_CAPACITY] - 1
    oldest = ts - row[R_REACH]
    while row[R_TAIL] < row[R_HEAD] and (words[offset + READING * (row[R_TAIL] & mask)] <= oldest):
        row[R_TAIL] += 1
    at = offset + READING * (row[R_HEAD] & mask)
    words[at], numbers[at + 1] = ts, value
    row[R_HEAD] += 1
    if row[R_PANES] >= 0:
        add_to_panes(row, words, numbers, classes, ts, value)


@njit(cache=True, nogil=True)
def fill_panes(row: Any, words: Any, numbers: Any, classes: Any) -> None:
    """Make the records of a series that has outgrown FEW from its ring.

    The oldest pane may lack readings that were let go; no window takes it whole.
    """
    for k in range(row[R_CLASSES] * PANES):
        words[row[R_PANES] + PANE * k + P_ID] = NEVER
    mask = row[R_CAPACITY] - 1
    for position in range(row[R_TAIL], row[R_HEAD]):
        at = row[R_OFFSET] + READING * (position & mask)
        add_to_panes(row, words, numbers, classes, words[at], numbers[at + 1])


@njit(cache=True, nogil=True)
def _join_middle(
    row: Any, words: Any, numbers: Any, look: int, panes: int, shift: int, first: int, last: int
) -> None:
    """Combine the whole panes between the edges `first` and `last`, old to new."""
    mask = row[R_CAPACITY] - 1
    body = max(words[look + L_BODY], words[look + L_TAIL])
    while body < row[R_HEAD] and (words[row[R_OFFSET] + READING * (body & mask)] >> shift <= first):
        body += 1
    n = 0
    total = spread = 0.0
    least, greatest = math.inf, -math.inf
    for pane in range(first + 1, last):
        at = panes + PANE * (pane & (PANES - 1))
        if words[at + P_ID] != pane:
            continue
        count, part = words[at + P_COUNT], numbers[at + P_SUM]
        spread = join_spread(n, total, spread, count, part, numbers[at + P_SPREAD])
        n += count
        total += part
        least = min(least, numbers[at + P_MIN])
        greatest = max(greatest, numbers[at + P_MAX])
    words[look + L_BODY], words[look + L_FIRST], words[look + L_LAST] = body, first, last
    numbers[look + L_SUM], numbers[look + L_SPREAD] = total, spread
    numbers[look + L_MIN], numbers[look + L_MAX] = least, greatest


@njit(cache=True, nogil=True)
def summarise(
    row: Any, words: Any, numbers: Any, look: int, window: Any, now: int, summary: Any
) -> None:
    """Sum up the readings of (now - width, now]. window = (metric, width, spread, shift, class)."""
    offset, mask = row[R_OFFSET], row[R_CAPACITY] - 1
    head = row[R_HEAD]
    after, spread, shift = now - window[1], window[2], window[3]
    tail = max(words[look + L_TAIL], row[R_TAIL])
    while tail < head and words[offset + READING * (tail & mask)] <= after:
        tail += 1
    words[look + L_TAIL] = tail
    count = head - tail
    summary[COUNT] = count
    if count == 0:
        return
    if count <= FEW:
        summary[SUM], summary[SPREAD], summary[MIN], summary[MAX] = scan(
            words, numbers, offset, mask, tail, head, spread
        )
    else:
        panes = row[R_PANES] + PANE * PANES * window[4]
        first, last = after >> shift, now >> shift
        if words[look + L_FIRST] != first or words[look + L_LAST] != last:
            _join_middle(row, words, numbers, look, panes, shift, first, last)
        body = words[look + L_BODY]
        total, squares, least, greatest = scan(words, numbers, offset, mask, tail, body, spread)
        least = min(least, numbers[look + L_MIN])
        greatest = max(greatest, numbers[look + L_MAX])
        current = panes + PANE * (last & (PANES - 1))
        inside = words[current + P_COUNT] if words[current + P_ID] == last else 0
        n1, n2 = body - tail, count - (body - tail) - inside
        if spread:
            squares = join_spread(
                n1, total, squares, n2, numbers[look + L_SUM], numbers[look + L_SPREAD]
            )
        total += numbers[look + L_SUM]
        if inside:
            if spread:
                squares = join_spread(
                    n1 + n2, total, squares,
                    inside, numbers[current + P_SUM], numbers[current + P_SPREAD],
                )  # fmt: skip
            total += numbers[current + P_SUM]
            least = min(least, numbers[current + P_MIN])
            greatest = max(greatest, numbers[current + P_MAX])
        summary[SUM], summary[SPREAD], summary[MIN], summary[MAX] = total, squares, least, greatest
    oldest, newest = offset + READING * (tail & mask), offset + READING * ((head - 1) & mask)
    summary[FIRST_TS], summary[FIRST] = words[oldest], numbers[oldest + 1]
    summary[LAST_TS], summary[LAST] = words[newest], numbers[newest + 1]
