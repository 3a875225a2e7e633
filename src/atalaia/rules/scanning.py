"""Windows whose value needs every reading: quantiles, deviations from the median, weights.

Up to EXACT readings they are taken at every reading. Beyond, on a grid: the value is that of the
window which ended with the last grid line, a step being less than a hundredth of the window
(`scan_shift`); so a reading costs a bounded share of a scan, and the value still is a pure
function of the readings and of the time. A score compares the newest reading with the others:
there the grid line before the newest reading counts.

With a season it is not the values that are compared but their residuals: what each differs by from
the value a season before. A reading's residual never changes, because everything before it is in
the ring when it comes; so it is worked out once, by a pointer that moves through the ring a season
behind, and kept in a chain of blocks beside the ring.
"""

import math
from typing import Any

from atalaia.rules.jit import compiled
from atalaia.rules.memory import FILL, give_block, take_block
from atalaia.rules.windows import (
    COUNT,
    L_BLOCK,
    L_BODY,
    L_CHAIN,
    L_FIRST,
    L_MAX,
    L_MIN,
    L_POS,
    L_SPARE,
    L_SPREAD,
    L_SUM,
    L_TOP,
    R_HEAD,
    R_HEAD_BLOCK,
    R_TAIL,
    R_TAIL_BLOCK,
    SUM,
    W_FUNCTION,
    W_PARAMETER,
    W_SEASON,
    W_SHIFT,
    W_WIDTH,
    advance,
    find_block,
    free_chain,
)

QUANTILE, MAD, EWMA, ZSCORE, ANOMALY = range(1, 6)

# What the look of a seasonal window holds besides: the residuals' last block (L_CHAIN is the
# first), which reading is the first one's, up to which reading they are known; the last reading
# that is a season older than the newest, and its block.
L_LAST_BLOCK, L_FROM, L_KNOWN, L_PARTNER, L_PARTNER_BLOCK = L_TOP, L_SPARE, L_BODY, L_MIN, L_MAX

RESIDUALS = 2 * FILL
"""In a block: that of reading number n at place n % RESIDUALS."""

EXACT = 256
FEWEST = 8
"""Readings that a score needs to know what is usual."""

EWMA_SHARE = 4.0
"""Weights fall by e in a quarter of the window."""

MAD_SCALE, MEAN_SCALE = 1.4826, 1.2533
"""What makes them a standard deviation for normal readings (Iglewicz and Hoaglin 1993)."""


def scan_shift(width_us: int) -> int:
    """log2 of the grid's step: the largest of which more than 128 fit into a window."""
    return max(0, (width_us // 128).bit_length() - 1)


@compiled
def _select(values: Any, start: int, end: int, k: int) -> float:
    """The k-th smallest of values[start:end], which it reorders (Hoare's quickselect)."""
    low, high = start, end - 1
    wanted = start + k
    while low < high:
        middle = (low + high) // 2
        a, b, c = values[low], values[middle], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]  # type: ignore[no-any-return]


@compiled
def _quantile(values: Any, count: int, share: float) -> float:
    """Linear between the two nearest ranks, as numpy does by default."""
    rank = share * (count - 1)
    below = math.floor(rank)
    low = _select(values, 0, count, below)
    if rank == below:
        return low
    high = math.inf
    for n in range(below + 1, count):
        high = min(high, values[n])
    return low + (high - low) * (rank - below)


@compiled
def _mad(values: Any, count: int, middle: float) -> float:
    """The median absolute deviation from the median."""
    for n in range(count):
        values[n] = abs(values[n] - middle)
    return _quantile(values, count, 0.5)


@compiled
def _gather(
    words: Any, numbers: Any, block: int, position: int, head: int, since: int, until: int,
    values: Any,
) -> int:  # fmt: skip
    """Copy the values with since < ts <= until, from `position` on; returns how many."""
    count = 0
    while position < head:
        at = block + 1 + (position & (FILL - 1))
        if words[at] > until:
            break
        if words[at] > since:
            values[count] = numbers[at + FILL]
            count += 1
        position += 1
        if position & (FILL - 1) == 0:
            block = words[block]
    return count


@compiled
def _gather_residuals(
    words: Any, numbers: Any, look: int, head: int, since: int, until: int, values: Any
) -> int:
    """As `_gather`, of the residuals; readings without a partner are left out."""
    count = 0
    position, block = words[look + L_POS], words[look + L_BLOCK]
    chain = words[look + L_CHAIN]
    while position < head:
        at = block + 1 + (position & (FILL - 1))
        if words[at] > until:
            break
        residual = numbers[chain + 1 + (position & (RESIDUALS - 1))]
        if words[at] > since and not math.isnan(residual):
            values[count] = residual
            count += 1
        position += 1
        if position & (FILL - 1) == 0:
            block = words[block]
        if position & (RESIDUALS - 1) == 0:
            chain = words[chain]
    return count


@compiled
def _extend_residuals(
    series: Any, slot: int, words: Any, numbers: Any, control: Any, look: int, width: int,
    season: int,
) -> float:  # fmt: skip
    """Work out the residuals of what is new in the window, let go of those before it.

    Returns that of the newest reading; NaN without a partner. Takes at most a block per RESIDUALS
    readings of the window, and two.
    """
    head, position = series[slot, R_HEAD], words[look + L_POS]
    known = words[look + L_KNOWN]
    if known < position:  # nothing is kept of this window
        free_chain(words, control, look)
        known = position
        words[look + L_FROM] = position - (position & (RESIDUALS - 1))
    while words[look + L_CHAIN] >= 0 and words[look + L_FROM] + RESIDUALS <= position:
        first = words[look + L_CHAIN]
        words[look + L_CHAIN] = words[first]
        words[look + L_FROM] += RESIDUALS
        give_block(words, control, first)
    block = series[slot, R_HEAD_BLOCK]
    if known < head - 1:
        block = find_block(series, slot, words, known)
    partner, partner_block = words[look + L_PARTNER], words[look + L_PARTNER_BLOCK]
    if partner < series[slot, R_TAIL]:
        partner, partner_block = series[slot, R_TAIL], series[slot, R_TAIL_BLOCK]
    last = words[look + L_LAST_BLOCK]
    residual = math.nan
    while known < head:
        at = block + 1 + (known & (FILL - 1))
        before = words[at] - season
        while partner + 1 < head:
            after = partner + 1
            after_block = words[partner_block] if after & (FILL - 1) == 0 else partner_block
            if words[after_block + 1 + (after & (FILL - 1))] > before:
                break
            partner, partner_block = after, after_block
        found = partner_block + 1 + (partner & (FILL - 1))
        residual = math.nan
        if before - width < words[found] <= before:
            residual = numbers[at + FILL] - numbers[found + FILL]
            if math.isinf(residual):
                residual = math.nan
        if words[look + L_CHAIN] < 0:
            last = take_block(words, control)
            words[look + L_CHAIN] = last
            words[look + L_FROM] = known - (known & (RESIDUALS - 1))
        elif known & (RESIDUALS - 1) == 0:
            words[last] = take_block(words, control)
            last = words[last]
        numbers[last + 1 + (known & (RESIDUALS - 1))] = residual
        known += 1
        if known & (FILL - 1) == 0:
            block = words[block]
    words[look + L_KNOWN], words[look + L_LAST_BLOCK] = known, last
    words[look + L_PARTNER], words[look + L_PARTNER_BLOCK] = partner, partner_block
    return numbers[last + 1 + ((head - 1) & (RESIDUALS - 1))]  # type: ignore[no-any-return]


@compiled
def _weigh(
    words: Any, numbers: Any, block: int, position: int, head: int, since: int, until: int,
    width: int,
) -> float:  # fmt: skip
    total = weights = 0.0
    while position < head:
        at = block + 1 + (position & (FILL - 1))
        if words[at] > until:
            break
        if words[at] > since:
            weight = math.exp(EWMA_SHARE * (words[at] - until) / width)
            total += weight * numbers[at + FILL]
            weights += weight
        position += 1
        if position & (FILL - 1) == 0:
            block = words[block]
    return total / weights if weights > 0.0 else math.nan


@compiled
def _usual(function: int, values: Any, count: int) -> tuple[float, float]:
    """(centre, scale) of the other readings; NaN for what they do not tell."""
    if count < FEWEST:
        return math.nan, math.nan
    if function == ZSCORE:
        total = spread = 0.0
        for n in range(count):
            total += values[n]
        mean = total / count
        for n in range(count):
            spread += (values[n] - mean) * (values[n] - mean)
        return mean, math.sqrt(spread / (count - 1))
    middle = _quantile(values, count, 0.5)
    scale = MAD_SCALE * _mad(values, count, middle)
    if scale == 0.0:  # more than half are equal: the mean of the deviations tells more
        total = 0.0
        for n in range(count):
            total += values[n]
        scale = MEAN_SCALE * total / count
    return middle, scale


@compiled
def scan_window(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    control: Any,
    look: int,
    windows: Any,
    w: int,
    now: int,
    values: Any,
    summary: Any,
) -> None:
    """The value of a scanned window at `now` into summary[w, SUM]; COUNT is 0 when unknown.

    values: room for every reading in the ring. Takes blocks as `_extend_residuals`.
    """
    summary[w, COUNT] = 0
    head = series[slot, R_HEAD]
    if head == 0:
        return
    width, shift, function = windows[w, W_WIDTH], windows[w, W_SHIFT], windows[w, W_FUNCTION]
    newest = series[slot, R_HEAD_BLOCK] + 1 + ((head - 1) & (FILL - 1))
    newest_ts = words[newest]
    if newest_ts <= now - width:
        return
    score = function >= ZSCORE
    base = newest_ts - 1 if score else now
    line = (base >> shift) << shift
    count = advance(series, slot, words, look, line - width)
    position, block = words[look + L_POS], words[look + L_BLOCK]
    season, value = windows[w, W_SEASON], numbers[newest + FILL]
    if season:
        value = _extend_residuals(
            series, slot, words, numbers, control, look, width, season
        )  # fmt: skip
    since, until = now - width, now
    exact = count <= EXACT
    if not exact:
        since, until = line - width, line
        if words[look + L_FIRST] == line >> shift:
            centre, scale = numbers[look + L_SUM], numbers[look + L_SPREAD]
            _finish(function, value, centre, scale, w, summary)
            return
    elif score:
        until = newest_ts - 1
    centre, scale = math.nan, 0.0
    if function == EWMA:
        centre = _weigh(words, numbers, block, position, head, since, until, width)
    else:
        if season:
            found = _gather_residuals(words, numbers, look, head, since, until, values)
        else:
            found = _gather(words, numbers, block, position, head, since, until, values)
        if score:
            centre, scale = _usual(function, values, found)
        elif found > 0:
            centre = _quantile(values, found, windows[w, W_PARAMETER] / 1e6)
            if function == MAD:
                centre = _mad(values, found, centre)
    if not exact:
        words[look + L_FIRST] = line >> shift
        numbers[look + L_SUM], numbers[look + L_SPREAD] = centre, scale
    _finish(function, value, centre, scale, w, summary)


@compiled
def _finish(
    function: int, newest: float, centre: float, scale: float, w: int, summary: Any
) -> None:
    value = centre
    if function >= ZSCORE:
        value = math.nan
        if 0.0 < scale < math.inf:
            value = (newest - centre) / scale
        elif newest == centre:
            value = 0.0
    if not math.isnan(value):
        summary[w, COUNT], summary[w, SUM] = 1, value
