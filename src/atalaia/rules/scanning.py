"""Windows whose value needs every reading: quantiles, deviations from the median, weights.

Up to EXACT readings they are taken at every reading. Beyond, on a grid: the value is that of the
window which ended with the last grid line, a step being less than a hundredth of the window
(`scan_shift`); so a reading costs a bounded share of a scan, and the value still is a pure
function of the readings and of the time. A score compares the newest reading with the others:
there the grid line before the newest reading counts.
"""

import math
from typing import Any

from atalaia.rules.jit import compiled
from atalaia.rules.memory import FILL
from atalaia.rules.windows import (
    COUNT,
    L_BLOCK,
    L_FIRST,
    L_POS,
    L_SPREAD,
    L_SUM,
    R_HEAD,
    R_HEAD_BLOCK,
    SUM,
    W_FUNCTION,
    W_PARAMETER,
    W_SHIFT,
    W_WIDTH,
    advance,
)

QUANTILE, MAD, EWMA, ZSCORE, ANOMALY = range(1, 6)

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
    look: int,
    windows: Any,
    w: int,
    now: int,
    values: Any,
    summary: Any,
) -> None:
    """The value of a scanned window at `now` into summary[w, SUM]; COUNT is 0 when unknown.

    values: room for every reading in the ring.
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
    since, until = now - width, now
    exact = count <= EXACT
    if not exact:
        since, until = line - width, line
        if words[look + L_FIRST] == line >> shift:
            _finish(function, numbers[newest + FILL], numbers[look + L_SUM],
                    numbers[look + L_SPREAD], w, summary)  # fmt: skip
            return
    elif score:
        until = newest_ts - 1
    centre, scale = math.nan, 0.0
    if function == EWMA:
        centre = _weigh(words, numbers, block, position, head, since, until, width)
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
    _finish(function, numbers[newest + FILL], centre, scale, w, summary)


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
