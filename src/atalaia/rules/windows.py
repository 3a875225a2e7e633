"""Windows over one series: a ring of readings, panes on an absolute grid, cached parts.

The value of a window is a pure function of the readings in it and of its right edge, so that
neither drift nor a restart can change a bit. The order of additions is fixed by the contents:

- up to FEW readings are summed as they stand, in four lanes (`_scan`);
- more are ((rest + suffix) + middle) + current. A pane is 2**shift µs of the epoch, and shift
  depends on the window's width alone (`pane_shift`). The window's left edge cuts a pane: `suffix`
  is its last readings, summed from its end in groups of GROUP, `rest` the fewer than GROUP before
  them; `middle` is the whole panes, from old to new; `current` the pane of the right edge.

The suffixes of a pane are summed once, when the left edge enters it; the middle when either edge
enters another pane; the record of the current pane grows with every reading. So a reading costs
the same whether a window is a minute or a month wide.

Readings stand in chains of blocks (memory.py): reading number n of a series at place n % FILL.
"""

import math
from typing import Any

from atalaia.rules.jit import compiled, inlined
from atalaia.rules.memory import FILL, give_block, take_block

NEVER = -(1 << 62)
"""Before every possible time, and far enough from the end of int64 to subtract windows from."""

FEW = 32
"""Series whose windows never held more have no panes."""

GROUP = 8
"""Readings from one suffix to the next."""

PANES, PANE = 8, 6
"""Records per class of panes (a ring by id), words per record."""
P_ID, P_COUNT, P_SUM, P_SPREAD, P_MIN, P_MAX = range(PANE)

LOOK = 12
"""Words per look: what is kept per sensor and window.

The oldest reading in the window and its block; the panes of both edges; the first reading behind
the pane of the left edge; the chain of suffixes, and how many groups its first one holds; the
middle.
"""
(
    L_POS, L_BLOCK, L_FIRST, L_LAST, L_BODY, L_CHAIN, L_TOP, L_SUM, L_SPREAD, L_MIN, L_MAX,
    L_SPARE,
) = range(LOOK)  # fmt: skip

# Columns of the table of series. HEAD and TAIL count readings since the series began.
(
    R_SENSOR, R_METRIC, R_HEAD, R_TAIL, R_HEAD_BLOCK, R_TAIL_BLOCK, R_REACH, R_PANES, R_CLASS,
    R_CLASSES,
) = range(10)  # fmt: skip
SERIES = 10

# Columns of the table of windows.
# FUNCTION is 0 for sums, else which scan (scanning.py), with its parameter in millionths and its
# season in µs.
W_METRIC, W_WIDTH, W_NEEDS, W_SHIFT, W_CLASS, W_MASK, W_FUNCTION, W_PARAMETER, W_SEASON = range(9)
WINDOW = 9
NEEDS_SPREAD, NEEDS_EXTREMES, NEEDS_ENDS = 1, 2, 4

# Columns of a window's summary.
COUNT, SUM, MIN, MAX, SPREAD, FIRST, LAST, FIRST_TS, LAST_TS = range(9)
SUMMARY = 9


def pane_shift(width_us: int) -> int:
    """log2 of the pane's width: the largest with at least 4 panes in a window, so fewer than 8."""
    return max(0, (width_us // 4).bit_length() - 1)


@inlined
def join_spread(n1: int, sum1: float, spread1: float, n2: int, sum2: float, spread2: float) -> Any:
    """The squared deviations of two sets of readings together (Chan, Golub and LeVeque 1979)."""
    if n1 == 0:
        return spread2
    if n2 == 0:
        return spread1
    step = sum2 / n2 - sum1 / n1
    return spread1 + spread2 + step * step * (n1 * n2 / (n1 + n2))


@inlined
def _add_to_panes(
    series: Any, slot: int, words: Any, numbers: Any, classes: Any, ts: int, value: float
) -> None:
    """Bring a series' newest reading into the record of its pane, in every class."""
    first = series[slot, R_CLASS]
    for c in range(series[slot, R_CLASSES]):
        pane = ts >> classes[first + c, 0]
        at = series[slot, R_PANES] + PANE * (PANES * c + (pane & (PANES - 1)))
        if words[at + P_ID] != pane:
            words[at + P_ID] = pane
            words[at + P_COUNT] = 1
            numbers[at + P_SUM] = value
            numbers[at + P_SPREAD] = 0.0
            numbers[at + P_MIN] = value
            numbers[at + P_MAX] = value
            continue
        n = words[at + P_COUNT]
        if classes[first + c, 1]:
            numbers[at + P_SPREAD] = join_spread(
                n, numbers[at + P_SUM], numbers[at + P_SPREAD], 1, value, 0.0
            )
        words[at + P_COUNT] = n + 1
        numbers[at + P_SUM] += value
        if value < numbers[at + P_MIN]:
            numbers[at + P_MIN] = value
        if value > numbers[at + P_MAX]:
            numbers[at + P_MAX] = value


@inlined
def wants_panes(series: Any, slot: int) -> bool:
    """Whether a series may outgrow FEW with its next reading and has no records yet."""
    few = series[slot, R_HEAD] - series[slot, R_TAIL] < FEW
    return not few and series[slot, R_PANES] < 0


@inlined
def append(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    control: Any,
    classes: Any,
    ts: int,
    value: float,
) -> None:
    """Admit the newest reading of a series; let go those that no window reaches.

    Takes a block at most.
    """
    head, tail = series[slot, R_HEAD], series[slot, R_TAIL]
    block = series[slot, R_TAIL_BLOCK]
    oldest = ts - series[slot, R_REACH]
    while tail < head and words[block + 1 + (tail & (FILL - 1))] <= oldest:
        tail += 1
        if tail & (FILL - 1) == 0:
            after = words[block]
            give_block(words, control, block)
            block = after  # none when the ring is empty now
    series[slot, R_TAIL] = tail
    series[slot, R_TAIL_BLOCK] = block
    place = head & (FILL - 1)
    if place == 0:
        fresh = take_block(words, control)
        if block < 0:
            series[slot, R_TAIL_BLOCK] = fresh
        else:
            words[series[slot, R_HEAD_BLOCK]] = fresh
        series[slot, R_HEAD_BLOCK] = fresh
    at = series[slot, R_HEAD_BLOCK] + 1 + place
    words[at] = ts
    numbers[at + FILL] = value
    series[slot, R_HEAD] = head + 1
    if series[slot, R_PANES] >= 0:
        _add_to_panes(series, slot, words, numbers, classes, ts, value)


@compiled
def fill_panes(series: Any, slot: int, words: Any, numbers: Any, classes: Any) -> None:
    """Make the records of a series that has outgrown FEW from its ring.

    The oldest pane may lack readings that were let go; no window takes it whole.
    """
    for k in range(series[slot, R_CLASSES] * PANES):
        words[series[slot, R_PANES] + PANE * k + P_ID] = NEVER
    block = series[slot, R_TAIL_BLOCK]
    for position in range(series[slot, R_TAIL], series[slot, R_HEAD]):
        at = block + 1 + (position & (FILL - 1))
        _add_to_panes(series, slot, words, numbers, classes, words[at], numbers[at + FILL])
        if (position + 1) & (FILL - 1) == 0:
            block = words[block]


@compiled
def find_block(series: Any, slot: int, words: Any, position: int) -> int:
    """The block of a reading that is in the ring."""
    block = series[slot, R_TAIL_BLOCK]
    for _ in range((position // FILL) - (series[slot, R_TAIL] // FILL)):
        block = words[block]
    return block  # type: ignore[no-any-return]


@inlined
def advance(series: Any, slot: int, words: Any, look: int, after: int) -> int:
    """Move a look past the readings up to `after`; returns how many are in the window."""
    head, tail = series[slot, R_HEAD], series[slot, R_TAIL]
    position, block = words[look + L_POS], words[look + L_BLOCK]
    if position < tail:
        position, block = tail, -1
    if position < head:
        if block < 0:
            block = find_block(series, slot, words, position)
        while words[block + 1 + (position & (FILL - 1))] <= after:
            position += 1
            if position & (FILL - 1) == 0:
                block = words[block]  # none yet behind the newest reading
            if position == head:
                break
    words[look + L_POS] = position
    words[look + L_BLOCK] = block
    return head - position  # type: ignore[no-any-return]


@inlined
def _scan(
    words: Any, numbers: Any, block: int, position: int, count: int, needs: int, scratch: Any
) -> tuple[float, float, float, float]:
    """(sum, spread, least, greatest) of up to FEW readings, in four lanes by place."""
    for k in range(count):
        scratch[k] = numbers[block + 1 + FILL + ((position + k) & (FILL - 1))]
        if (position + k + 1) & (FILL - 1) == 0:
            block = words[block]
    whole = count - (count & 3)
    s0 = s1 = s2 = s3 = 0.0
    least, greatest = math.inf, -math.inf
    for k in range(0, whole, 4):
        s0 += scratch[k]
        s1 += scratch[k + 1]
        s2 += scratch[k + 2]
        s3 += scratch[k + 3]
    for k in range(whole, count):
        s0 += scratch[k]
    total = (s0 + s1) + (s2 + s3)
    if needs & NEEDS_EXTREMES:
        for k in range(count):
            least = scratch[k] if scratch[k] < least else least
            greatest = scratch[k] if scratch[k] > greatest else greatest
    spread = 0.0
    if needs & NEEDS_SPREAD:
        mean = total / count
        s0 = s1 = s2 = s3 = 0.0
        for k in range(0, whole, 4):
            s0 += (scratch[k] - mean) * (scratch[k] - mean)
            s1 += (scratch[k + 1] - mean) * (scratch[k + 1] - mean)
            s2 += (scratch[k + 2] - mean) * (scratch[k + 2] - mean)
            s3 += (scratch[k + 3] - mean) * (scratch[k + 3] - mean)
        for k in range(whole, count):
            s0 += (scratch[k] - mean) * (scratch[k] - mean)
        spread = (s0 + s1) + (s2 + s3)
    return total, spread, least, greatest


@compiled
def free_chain(words: Any, control: Any, look: int) -> None:
    block = words[look + L_CHAIN]
    while block >= 0:
        after = words[block]
        give_block(words, control, block)
        block = after
    words[look + L_CHAIN] = -1


@compiled
def _sum_suffixes(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    control: Any,
    look: int,
    needs: int,
    end_ts: int,
) -> None:
    """Sum the suffixes of the pane that ends before end_ts, of which the window holds the end.

    A suffix is four numbers: sum, spread, least, greatest. The chain holds them from the longest
    to the shortest; its blocks are linked backwards while they are filled.
    """
    free_chain(words, control, look)
    head = series[slot, R_HEAD]
    block, position = words[look + L_BLOCK], words[look + L_POS]
    body, at = position, block
    while body < head and words[at + 1 + (body & (FILL - 1))] < end_ts:
        body += 1
        if body & (FILL - 1) == 0:
            at = words[at]
    words[look + L_BODY] = body
    groups = (body - position) // GROUP
    words[look + L_TOP] = groups
    for _ in range((body - position) - groups * GROUP):
        position += 1
        if position & (FILL - 1) == 0:
            block = words[block]
    chain = -1
    for k in range(groups):
        if k % (FILL // 2) == 0:
            fresh = take_block(words, control)
            words[fresh] = chain
            chain = fresh
        total = 0.0
        least, greatest = math.inf, -math.inf
        start, start_block = position, block
        for _ in range(GROUP):
            value = numbers[block + 1 + FILL + (position & (FILL - 1))]
            total += value
            least = value if value < least else least
            greatest = value if value > greatest else greatest
            position += 1
            if position & (FILL - 1) == 0:
                block = words[block]
        spread = 0.0
        if needs & NEEDS_SPREAD:
            mean = total / GROUP
            position, block = start, start_block
            for _ in range(GROUP):
                away = numbers[block + 1 + FILL + (position & (FILL - 1))] - mean
                spread += away * away
                position += 1
                if position & (FILL - 1) == 0:
                    block = words[block]
        entry = chain + 1 + 4 * (k % (FILL // 2))
        numbers[entry], numbers[entry + 1] = total, spread
        numbers[entry + 2], numbers[entry + 3] = least, greatest
    total = spread = 0.0
    least, greatest = math.inf, -math.inf
    behind = -1
    for k in range(groups - 1, -1, -1):
        entry = chain + 1 + 4 * (k % (FILL // 2))
        spread = join_spread(
            GROUP, numbers[entry], numbers[entry + 1], (groups - 1 - k) * GROUP, total, spread
        )
        total += numbers[entry]
        least = min(least, numbers[entry + 2])
        greatest = max(greatest, numbers[entry + 3])
        numbers[entry], numbers[entry + 1] = total, spread
        numbers[entry + 2], numbers[entry + 3] = least, greatest
        if k % (FILL // 2) == 0:
            before = words[chain]
            words[chain] = behind
            behind = chain
            chain = before
    words[look + L_CHAIN] = behind


@compiled
def _join_middle(words: Any, numbers: Any, look: int, panes: int, first: int, last: int) -> None:
    """Combine the whole panes between the edges `first` and `last`, old to new."""
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
    words[look + L_LAST] = last
    numbers[look + L_SUM], numbers[look + L_SPREAD] = total, spread
    numbers[look + L_MIN], numbers[look + L_MAX] = least, greatest


@inlined
def forget(words: Any, look: int, pane: int) -> None:
    """A reading came into a pane behind the sensor's clock: drop the part that it belongs to."""
    if pane <= words[look + L_FIRST]:
        words[look + L_FIRST] = NEVER
    elif pane < words[look + L_LAST]:
        words[look + L_LAST] = NEVER


@inlined
def _join_parts(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    control: Any,
    look: int,
    windows: Any,
    w: int,
    now: int,
    count: int,
    summary: Any,
) -> None:
    """Sum up more than FEW readings of the window that ends now."""
    needs, shift = windows[w, W_NEEDS], windows[w, W_SHIFT]
    panes = series[slot, R_PANES] + PANE * PANES * windows[w, W_CLASS]
    first, last = (now - windows[w, W_WIDTH]) >> shift, now >> shift
    if words[look + L_FIRST] != first:
        _sum_suffixes(series, slot, words, numbers, control, look, needs, (first + 1) << shift)
        words[look + L_FIRST] = first
        words[look + L_LAST] = NEVER
    if words[look + L_LAST] != last:
        _join_middle(words, numbers, look, panes, first, last)
    position, block = words[look + L_POS], words[look + L_BLOCK]
    edge = words[look + L_BODY] - position
    groups, rest = edge // GROUP, edge % GROUP
    total = spread = 0.0
    least, greatest = math.inf, -math.inf
    value_block, at = block, position
    for _ in range(rest):
        value = numbers[value_block + 1 + FILL + (at & (FILL - 1))]
        total += value
        least = value if value < least else least
        greatest = value if value > greatest else greatest
        at += 1
        if at & (FILL - 1) == 0:
            value_block = words[value_block]
    if needs & NEEDS_SPREAD and rest > 0:
        mean = total / rest
        value_block, at = block, position
        for _ in range(rest):
            away = numbers[value_block + 1 + FILL + (at & (FILL - 1))] - mean
            spread += away * away
            at += 1
            if at & (FILL - 1) == 0:
                value_block = words[value_block]
    if groups > 0:
        chain, top = words[look + L_CHAIN], words[look + L_TOP]
        while top - groups >= FILL // 2:
            behind = words[chain]
            give_block(words, control, chain)
            chain, top = behind, top - FILL // 2
            words[look + L_CHAIN], words[look + L_TOP] = chain, top
        entry = chain + 1 + 4 * (top - groups)
        if needs & NEEDS_SPREAD:
            spread = join_spread(
                rest, total, spread, GROUP * groups, numbers[entry], numbers[entry + 1]
            )
        total += numbers[entry]
        least = min(least, numbers[entry + 2])
        greatest = max(greatest, numbers[entry + 3])
    current = panes + PANE * (last & (PANES - 1))
    inside = words[current + P_COUNT] if words[current + P_ID] == last else 0
    if needs & NEEDS_SPREAD:
        n = count - edge - inside
        spread = join_spread(
            edge, total, spread, n, numbers[look + L_SUM], numbers[look + L_SPREAD]
        )
    total += numbers[look + L_SUM]
    least = min(least, numbers[look + L_MIN])
    greatest = max(greatest, numbers[look + L_MAX])
    if inside:
        if needs & NEEDS_SPREAD:
            spread = join_spread(
                count - inside, total, spread,
                inside, numbers[current + P_SUM], numbers[current + P_SPREAD],
            )  # fmt: skip
        total += numbers[current + P_SUM]
        least = min(least, numbers[current + P_MIN])
        greatest = max(greatest, numbers[current + P_MAX])
    summary[w, SUM], summary[w, SPREAD] = total, spread
    summary[w, MIN], summary[w, MAX] = least, greatest


@inlined
def summarise(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    control: Any,
    look: int,
    windows: Any,
    w: int,
    now: int,
    scratch: Any,
    summary: Any,
) -> None:
    """Sum up the readings of (now - width, now] into summary[w]; what nobody needs may lack.

    Takes at most a block and one more per 8 * GROUP readings in the ring.
    """
    count = advance(series, slot, words, look, now - windows[w, W_WIDTH])
    summary[w, COUNT] = count
    if count == 0:
        return
    needs = windows[w, W_NEEDS]
    position, block = words[look + L_POS], words[look + L_BLOCK]
    if count <= FEW:
        summary[w, SUM], summary[w, SPREAD], summary[w, MIN], summary[w, MAX] = _scan(
            words, numbers, block, position, count, needs, scratch
        )
    else:
        _join_parts(series, slot, words, numbers, control, look, windows, w, now, count, summary)
    if needs & NEEDS_ENDS:
        oldest = block + 1 + (position & (FILL - 1))
        newest = series[slot, R_HEAD_BLOCK] + 1 + ((series[slot, R_HEAD] - 1) & (FILL - 1))
        summary[w, FIRST_TS], summary[w, FIRST] = words[oldest], numbers[oldest + FILL]
        summary[w, LAST_TS], summary[w, LAST] = words[newest], numbers[newest + FILL]
