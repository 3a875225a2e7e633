"""The chains in which readings wait, one per sensor, in the order of (ts, slot of the series).

Compiled: `take` sorts the rows of batches in, tells which are new, and hands on those that need
not wait any more. Chains are of blocks of one memory (memory.py); what a chain gives back serves
the others. reorder.py owns the arrays and makes room.
"""

from typing import Any

import numpy as np

from atalaia.rules.jit import compiled, inlined
from atalaia.rules.memory import BLOCK, blocks_left, give_block, take_block

NEVER = np.iinfo(np.int64).min
ENDLESS = np.iinfo(np.int64).max
DONE, MEMORY_FULL, OUTPUT_FULL = range(3)

# Columns of a sensor. The clock: its newest reading's time. First and last block of its chain.
S_LATENESS, S_CLOCK, S_HEAD, S_TAIL = range(4)
SENSOR = 4

# A block holds rows in the order of (ts, slot), as all blocks of a sensor do together: two links,
# where its rows begin and end (16 * begin + end), and three columns. Chains of single rows were
# thought of: they need half as much memory again, and a look at memory per row when one is out
# of order among many, instead of one per block.
B_NEXT, B_PREV, B_SPAN, B_TS = range(4)
ROWS = (BLOCK - B_TS) // 3
B_SLOT = B_TS + ROWS
B_VALUE = B_SLOT + ROWS


@inlined
def _begins_after(words: Any, block: int, ts: int, slot: int) -> bool:
    at = block + B_TS + (words[block + B_SPAN] >> 4)
    first = words[at]
    return first > ts or (first == ts and words[at + ROWS] > slot)  # type: ignore[no-any-return]


@inlined
def _find(words: Any, tail: int, finger: int, ts: int, slot: int) -> int:
    """The last block that begins at or before a row; -1 when none does. From the end of the
    chain, or onwards from the block of a row before it.
    """
    block = finger
    if block < 0:
        block = tail
        while block >= 0 and _begins_after(words, block, ts, slot):
            block = words[block + B_PREV]
        return block
    after = words[block + B_NEXT]
    while after >= 0 and not _begins_after(words, after, ts, slot):
        block = after
        after = words[block + B_NEXT]
    return block


@inlined
def _move_row(words: Any, numbers: Any, source: int, target: int) -> None:
    words[target + B_TS] = words[source + B_TS]
    words[target + B_SLOT] = words[source + B_SLOT]
    numbers[target + B_VALUE] = numbers[source + B_VALUE]


@inlined
def _insert(
    sensors: Any,
    sensor: int,
    words: Any,
    numbers: Any,
    control: Any,
    finger: int,
    ts: int,
    slot: int,
    value: float,
) -> int:
    """Put a row in its place; its block, or -1 when the chain has its series and time already.

    The caller has made sure of one free block.
    """
    block = _find(words, sensors[sensor, S_TAIL], finger, ts, slot)
    if block < 0:
        block = sensors[sensor, S_HEAD]
        if block < 0:
            block = take_block(words, control)
            words[block + B_PREV], words[block + B_SPAN] = -1, 0
            sensors[sensor, S_HEAD] = sensors[sensor, S_TAIL] = block
        begin, end = words[block + B_SPAN] >> 4, words[block + B_SPAN] & 15
        place = begin
    else:
        begin, end = words[block + B_SPAN] >> 4, words[block + B_SPAN] & 15
        place = end
        while place > begin:
            at = block + place - 1
            if words[at + B_TS] < ts or (words[at + B_TS] == ts and words[at + B_SLOT] <= slot):
                break
            place -= 1
        if words[block + place - 1 + B_TS] == ts and words[block + place - 1 + B_SLOT] == slot:
            return -1
    if end - begin == ROWS:
        other = take_block(words, control)
        after = words[block + B_NEXT]
        words[other + B_NEXT], words[other + B_PREV] = after, block
        words[block + B_NEXT] = other
        if after >= 0:
            words[after + B_PREV] = other
        else:
            sensors[sensor, S_TAIL] = other
        kept = ROWS if place == ROWS else ROWS // 2  # what comes in order fills its blocks
        for n in range(kept, ROWS):
            _move_row(words, numbers, block + n, other + n - kept)
        words[block + B_SPAN], words[other + B_SPAN] = kept, ROWS - kept
        if place > kept or kept == ROWS:
            block, place = other, place - kept
        begin, end = 0, words[block + B_SPAN]
    if end == ROWS:
        for n in range(begin, place):
            _move_row(words, numbers, block + n, block + n - 1)
        begin, place = begin - 1, place - 1
    else:
        for n in range(end, place, -1):
            _move_row(words, numbers, block + n - 1, block + n)
        end += 1
    words[block + B_SPAN] = 16 * begin + end
    words[block + place + B_TS], words[block + place + B_SLOT] = ts, slot
    numbers[block + place + B_VALUE] = value
    return block


@inlined
def _waits(sensors: Any, sensor: int, words: Any, before: int) -> bool:
    """Whether a row from before a time is left."""
    head = sensors[sensor, S_HEAD]
    return head >= 0 and words[head + B_TS + (words[head + B_SPAN] >> 4)] < before  # type: ignore[no-any-return]


@inlined
def _release(
    sensors: Any,
    sensor: int,
    words: Any,
    numbers: Any,
    control: Any,
    before: int,
    run: int,
    judged: Any,
    out_run: Any,
    out_slot: Any,
    out_ts: Any,
    out_value: Any,
    n: int,
) -> int:
    """Hand on the rows from before a time while there is room; how many are handed on by now."""
    while n < len(out_ts) and _waits(sensors, sensor, words, before):
        head = sensors[sensor, S_HEAD]
        begin, end = words[head + B_SPAN] >> 4, words[head + B_SPAN] & 15
        slot, ts = words[head + begin + B_SLOT], words[head + begin + B_TS]
        out_run[n], out_slot[n], out_ts[n] = run, slot, ts
        out_value[n] = numbers[head + begin + B_VALUE]
        judged[slot] = ts
        n += 1
        if begin + 1 < end:
            words[head + B_SPAN] = 16 * (begin + 1) + end
            continue
        after = words[head + B_NEXT]
        sensors[sensor, S_HEAD] = after
        if after >= 0:
            words[after + B_PREV] = -1
        else:
            sensors[sensor, S_TAIL] = -1
        give_block(words, control, head)
    return n


@compiled
def take(
    sensor: Any,
    run: Any,
    slot: Any,
    ts: Any,
    value: Any,
    start: int,
    full: int,
    sensors: Any,
    newest: Any,
    judged: Any,
    words: Any,
    numbers: Any,
    control: Any,
    fresh: Any,
    out_run: Any,
    out_slot: Any,
    out_ts: Any,
    out_value: Any,
    n: int,
) -> tuple[int, int, int, int]:
    """Sort runs of rows (one sensor, one batch; in the order of (ts, slot)) into what waits, and
    hand on what need not wait any more after each of them.

    fresh: written per row, whether it is new and not late. Returns (rows done, why it stopped,
    the sensor that it was handing on then, rows handed on); full: that sensor when called again.
    """
    if full >= 0:
        before = sensors[full, S_CLOCK] - sensors[full, S_LATENESS]
        n = _release(
            sensors, full, words, numbers, control, before, run[start - 1], judged,
            out_run, out_slot, out_ts, out_value, n,
        )  # fmt: skip
        if _waits(sensors, full, words, before):
            return start, OUTPUT_FULL, full, n
    i = start
    while i < len(ts):
        who = sensor[i]
        end = i + 1
        while end < len(ts) and sensor[end] == who and run[end] == run[i]:
            end += 1
        clock, lateness = sensors[who, S_CLOCK], sensors[who, S_LATENESS]
        limit = clock if clock == NEVER else clock - lateness
        finger = -1
        for k in range(i, end):
            s, t = slot[k], ts[k]
            fresh[k] = t > newest[s]
            if lateness == 0:
                if fresh[k]:
                    if n == len(out_ts):
                        return k, OUTPUT_FULL, -1, n
                    out_run[n], out_slot[n], out_ts[n], out_value[n] = run[k], s, t, value[k]
                    newest[s] = judged[s] = t
                    n += 1
            elif fresh[k] or (t >= limit and t > judged[s]):
                if blocks_left(control) < 1:
                    return k, MEMORY_FULL, -1, n
                block = _insert(sensors, who, words, numbers, control, finger, t, s, value[k])
                fresh[k] = block >= 0
                if block >= 0:
                    finger = block
                    newest[s] = max(newest[s], t)
        # Whatever is newer than the clock is newer than its series' newest, and so was taken.
        clock = max(clock, ts[end - 1])
        sensors[who, S_CLOCK] = clock
        i = end
        if lateness:
            n = _release(
                sensors, who, words, numbers, control, clock - lateness, run[end - 1], judged,
                out_run, out_slot, out_ts, out_value, n,
            )  # fmt: skip
            if _waits(sensors, who, words, clock - lateness):
                return i, OUTPUT_FULL, who, n
    return i, DONE, -1, n


@compiled
def put_back(
    sensor: Any,
    slot: Any,
    ts: Any,
    value: Any,
    start: int,
    sensors: Any,
    words: Any,
    numbers: Any,
    control: Any,
) -> int:
    """Let stored rows wait, sorted by (sensor, ts, slot); how many are done before memory ends."""
    finger = -1
    for k in range(start, len(ts)):
        if blocks_left(control) < 1:
            return k
        if k == start or sensor[k] != sensor[k - 1]:
            finger = -1
        block = _insert(
            sensors, sensor[k], words, numbers, control, finger, ts[k], slot[k], value[k]
        )
        finger = block if block >= 0 else finger
    return len(ts)


@compiled
def drain(
    which: Any,
    start: int,
    sensors: Any,
    words: Any,
    numbers: Any,
    control: Any,
    judged: Any,
    out_run: Any,
    out_slot: Any,
    out_ts: Any,
    out_value: Any,
    n: int,
) -> tuple[int, int]:
    """Hand on everything that waits at these sensors: (sensors done, rows handed on)."""
    for k in range(start, len(which)):
        n = _release(
            sensors, which[k], words, numbers, control, ENDLESS, which[k], judged,
            out_run, out_slot, out_ts, out_value, n,
        )  # fmt: skip
        if _waits(sensors, which[k], words, ENDLESS):
            return k, n
    return len(which), n
