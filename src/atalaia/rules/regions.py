"""What a condition allows: intervals of its numbers, case by case.

A condition becomes a list of cases, of which one must hold; a case bounds some expressions by
intervals. What comes out as impossible is: an expression that is bounded in one case only loosely
may make a condition look possible that is not, never the other way round. Expressions are told
apart by how they are written, so that 2 * x and x + x are strangers.
"""

import math
from collections.abc import Iterator, Mapping

import attrs

from atalaia.rules.syntax import Aggregate, Binary, Node, Number, Unary

MOST_CASES = 64
"""Conditions that fall into more are not reasoned about, so that a hostile text costs little."""

COMPARISONS = frozenset({"<", "<=", ">", ">="})
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DUAL = {"and": "or", "or": "and"}
_NEVER_NEGATIVE = frozenset({"count", "stddev", "mad"})


@attrs.frozen
class Interval:
    """The numbers from low to high; low_in, high_in: whether the ends belong to it."""

    low: float = -math.inf
    high: float = math.inf
    low_in: bool = True
    high_in: bool = True

    @property
    def empty(self) -> bool:
        return self.low > self.high or (
            self.low == self.high and not (self.low_in and self.high_in)
        )

    def __and__(self, other: "Interval") -> "Interval":
        low, high = max(self.low, other.low), min(self.high, other.high)
        return Interval(
            low,
            high,
            all(side.low_in for side in (self, other) if side.low == low),
            all(side.high_in for side in (self, other) if side.high == high),
        )


ANYTHING = Interval()
Case = Mapping[Node, Interval]


TOO_MANY: list[Case] = [{Number(math.nan): ANYTHING}]
"""One case of which nothing is known: it is possible, and what bounds it is no aggregate."""


def value_range(node: Node) -> Interval:
    """Every value that a number can have, and maybe more."""
    match node:
        case Number(value):
            return Interval(value, value)
        case Aggregate(function=function):
            return Interval(0.0) if function in _NEVER_NEGATIVE else ANYTHING
        case Unary("neg", operand):
            inner = value_range(operand)
            return Interval(-inner.high, -inner.low)
        case Unary("abs", operand):
            inner = value_range(operand)
            ends = (abs(inner.low), abs(inner.high))
            crosses = inner.low <= 0 <= inner.high
            return Interval(0.0 if crosses else min(ends), max(ends))
        case Binary(op, left, right):
            return _combine(op, value_range(left), value_range(right))
    return ANYTHING


def _combine(op: str, a: Interval, b: Interval) -> Interval:
    if op == "-":
        op, b = "+", Interval(-b.high, -b.low)
    if op == "/" and b.low <= 0 <= b.high:
        return ANYTHING
    if op == "+":
        ends = [a.low + b.low, a.high + b.high]
    else:
        pairs = [(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
        ends = [x * y if op == "*" else x / y for x, y in pairs]
    return ANYTHING if any(map(math.isnan, ends)) else Interval(min(ends), max(ends))


def comparisons(node: Node) -> Iterator[Binary]:
    """Every comparison of a condition, left to right."""
    match node:
        case Binary(op) if op in COMPARISONS:
            yield node
        case Binary(_, left, right):
            yield from comparisons(left)
            yield from comparisons(right)
        case Unary(_, operand):
            yield from comparisons(operand)


def cases(node: Node, *, holds: bool = True) -> list[Case]:
    """The cases in which a condition holds (or is false); none when it never does.

    Negation goes through to the comparisons: what is unknown stays so.
    """
    match node:
        case Unary("not", operand):
            return cases(operand, holds=not holds)
        case Binary(op, left, right) if op in _DUAL:
            first, second = cases(left, holds=holds), cases(right, holds=holds)
            if (op if holds else _DUAL[op]) == "and":
                return join(first, second)
            return _bounded([*first, *second])
        case Binary(op, left, right) if op in COMPARISONS:
            return _compare(op if holds else _OPPOSITE[op], left, right)
    return [{node: ANYTHING}]  # nothing is known of it


def join(first: list[Case], second: list[Case]) -> list[Case]:
    """The cases in which both conditions hold."""
    joined = (_merge(a, b) for a in first for b in second)
    return _bounded([case for case in joined if case is not None])


def _bounded(found: list[Case]) -> list[Case]:
    return found if len(found) <= MOST_CASES else TOO_MANY


def _merge(a: Case, b: Case) -> Case | None:
    merged = dict(a)
    for node, interval in b.items():
        merged[node] = merged.get(node, ANYTHING) & interval
        if merged[node].empty:
            return None
    return merged


def _compare(op: str, left: Node, right: Node) -> list[Case]:
    against, own = value_range(right), value_range(left)
    if own.low == own.high and against.low != against.high:
        return _compare(_MIRRORED[op], right, left)
    if against.low != against.high:  # two expressions: one minus the other, in a fixed order
        if repr(left) > repr(right):
            return _compare(_MIRRORED[op], right, left)
        left, own = Binary("-", left, right), _combine("-", own, against)
        against = Interval(0.0, 0.0)
        if left.left == left.right:
            own = against
    while isinstance(left, Unary) and left.op == "neg":
        op, left = _MIRRORED[op], left.operand
        own, against = value_range(left), Interval(-against.high, -against.low)
    limit = against.low
    wanted = {
        "<": Interval(high=limit, high_in=False),
        "<=": Interval(high=limit),
        ">": Interval(low=limit, low_in=False),
        ">=": Interval(low=limit),
    }[op] & own
    if wanted.empty:
        return []
    return [{}] if own.low == own.high else [{left: wanted}]
