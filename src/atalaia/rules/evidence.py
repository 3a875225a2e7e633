"""What an alert was opened on, copied out of the kernel's memory at the very judgement.

The copy is a pure function of the readings that the condition looked at, and of nothing else: not
of batches, restarts, or how memory is laid out. The kernel stops behind each group that opens
something (kernel.OPENING), so that the windows still hold what was judged.
"""

import math
from typing import Any

import attrs
import numpy as np

from atalaia.model.alert import POINT, Opening, Samples, Weighed
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.rules.conditions import Compared, known, opening_comparisons
from atalaia.rules.jit import compiled
from atalaia.rules.memory import FILL, Memory
from atalaia.rules.program import ActiveRule, Shape
from atalaia.rules.syntax import Aggregate, aggregates
from atalaia.rules.windows import (
    L_BLOCK,
    L_POS,
    LOOK,
    R_HEAD,
    R_HEAD_BLOCK,
    R_TAIL,
    W_METRIC,
)

MOST_POINTS = 120
"""Of one metric. More readings are thinned to the first, last, least and greatest of each of so
many equal parts of the window that they fit."""

MOST_SPREAD = 4
"""Metrics that have that many each; more share what these would have had."""

KEPT = 4  # of each part

FEW_READ, AGAIN = 4_096, 64
"""More readings than FEW_READ are walked through only when the alert before was opened a 64th of
the window ago at least; else the newest stands for all. So a rule that flaps over a long window
costs a bounded share of a walk per reading."""


@attrs.frozen
class _Look:
    """The longest window over one metric of a condition: its look and series, by their place."""

    metric: str
    window_us: int
    look: int
    series: int


@attrs.frozen
class _Question:
    """What is asked at the openings of one rule at the sensors of one shape."""

    atoms: Int32s
    when: tuple[tuple[str, Aggregate], ...]
    comparisons: tuple[Compared, ...]
    looks: tuple[_Look, ...]
    parts: int


@attrs.define(eq=False)
class Witness:
    """Tells what openings were judged by; room to work in is made once."""

    _questions: dict[tuple[int, int], _Question] = attrs.field(factory=dict)
    _ts: Int64s = attrs.field(factory=lambda: np.empty(MOST_POINTS, np.int64))
    _value: Floats = attrs.field(factory=lambda: np.empty(MOST_POINTS, np.float64))

    def tell(
        self, rule: ActiveRule, shape: Shape, shape_at: int, atoms: Floats, at: int, before: int,
        looks: int, series_of: Int64s, series: Int64s, memory: Memory,
    ) -> Opening:  # fmt: skip
        """Of one alert that the last group opened.

        shape_at: which shape; atoms: what the sensor's aggregates were; before: when the alert
        before it was opened; looks: where the sensor's looks stand; series_of: the series of its
        metrics, in the order of the shape.
        """
        asked = self._questions.get((shape_at, rule.rule_no))
        if asked is None:
            asked = self._questions[shape_at, rule.rule_no] = _ask(rule, shape)
        values = dict(zip(rule.spec.aggregates, atoms[asked.atoms].tolist(), strict=True))
        return Opening(
            text=rule.spec.text,
            weighed=tuple(
                Weighed(text, one.metric, one.window_us, known(values[one]))
                for text, one in asked.when
            ),
            comparisons=tuple(one.weigh(values) for one in asked.comparisons),
            samples=tuple(
                self._sample(
                    look,
                    int(series_of[look.series]),
                    looks,
                    at,
                    before,
                    asked.parts,
                    series,
                    memory,
                )
                for look in asked.looks
            ),
        )

    def _sample(
        self, found: _Look, slot: int, looks: int, at: int, before: int, parts: int,
        series: Int64s, memory: Memory,
    ) -> Samples:  # fmt: skip
        kept = count = 0
        if slot >= 0:
            kept, count = take_samples(
                series, slot, memory.words, memory.numbers, looks + LOOK * found.look,
                at - found.window_us, found.window_us, parts,
                (at - before) * AGAIN < found.window_us, self._ts, self._value,
            )  # fmt: skip
        points = np.empty(kept, POINT)
        points["ts"], points["value"] = self._ts[:kept], self._value[:kept]
        return Samples(found.metric, found.window_us, int(count), points.tobytes())


def _ask(rule: ActiveRule, shape: Shape) -> _Question:
    atoms = shape.rule_atoms[shape.rules.index(rule)]
    place = dict(zip(rule.spec.aggregates, atoms.tolist(), strict=True))
    when = tuple(dict.fromkeys(aggregates(rule.spec.when)))
    longest: dict[str, _Look] = {}
    for one in when:
        before = longest.get(one.metric)
        if before is None or before.window_us < one.window_us:
            window = int(shape.atoms[place[one], 0])
            metric = int(shape.windows[window, W_METRIC])
            longest[one.metric] = _Look(one.metric, one.window_us, window, metric)
    return _Question(
        atoms=atoms,
        when=tuple((str(one), one) for one in when),
        comparisons=opening_comparisons(rule.spec),
        looks=tuple(longest.values()),
        parts=MOST_POINTS // KEPT * min(MOST_SPREAD, len(longest)) // len(longest),
    )


@compiled
def take_samples(
    series: Any,
    slot: int,
    words: Any,
    numbers: Any,
    look: int,
    since: int,
    width: int,
    parts: int,
    again: bool,
    ts: Any,
    value: Any,
) -> tuple[int, int]:
    """Copy the readings with since < ts <= since + width; returns (how many, of how many).

    Those beyond 4 * parts are thinned; when `again`, more than FEW_READ are to the newest. Starts
    where the window's look stands, which has been moved to its first reading or, for a scanned
    window, to one before it.
    """
    head = series[slot, R_HEAD]
    if head == series[slot, R_TAIL]:
        return 0, 0
    newest = series[slot, R_HEAD_BLOCK] + 1 + ((head - 1) & (FILL - 1))
    if words[newest] <= since:
        return 0, 0  # a scanned window is then found empty before its look is moved
    position, block = words[look + L_POS], words[look + L_BLOCK]
    while position < head and words[block + 1 + (position & (FILL - 1))] <= since:
        position += 1
        if position & (FILL - 1) == 0:
            block = words[block]
    count = head - position
    if count <= 4 * parts:
        for k in range(count):
            at = block + 1 + (position & (FILL - 1))
            ts[k], value[k] = words[at], numbers[at + FILL]
            position += 1
            if position & (FILL - 1) == 0:
                block = words[block]
        return count, count
    if again and count > FEW_READ:
        ts[0], value[0] = words[newest], numbers[newest + FILL]
        return 1, count
    kept = 0
    for part in range(parts):
        # The k-th part ends with since + width * (k + 1) / parts.
        end = since + width * (part + 1) // parts
        inside = 0
        first = last = low = high = 0
        least, greatest = math.inf, -math.inf
        while position < head:
            at = block + 1 + (position & (FILL - 1))
            if words[at] > end:
                break
            if inside == 0:
                first = low = high = at
            if numbers[at + FILL] < least:
                low, least = at, numbers[at + FILL]
            if numbers[at + FILL] > greatest:
                high, greatest = at, numbers[at + FILL]
            last = at
            inside += 1
            position += 1
            if position & (FILL - 1) == 0:
                block = words[block]
        if inside == 0:
            continue
        early, late = low, high
        if words[early] > words[late]:
            early, late = late, early
        before = -1
        for step in range(4):
            at = first if step == 0 else early if step == 1 else late if step == 2 else last
            if at != before:
                ts[kept], value[kept] = words[at], numbers[at + FILL]
                kept += 1
            before = at
    return kept, count
