"""Conditions outside of the kernel: what they say of given values, comparison by comparison.

For people who ask why. The kernel judges; this reads a condition by the same three-valued logic
and the same arithmetic, from the values that the kernel made, so that both always agree. Unknown
numbers are NaN, as there; unknown truth is None.
"""

import math
from collections.abc import Iterator, Mapping

import attrs

from atalaia.model.alert import Comparison
from atalaia.rules.regions import COMPARISONS
from atalaia.rules.syntax import Aggregate, Binary, Node, Number, RuleSpec, Unary, aggregates

Values = Mapping[Aggregate, float]

MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_BINDS = {"or": 1, "and": 2, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6}
_NOT, _NEG, _ATOM = 3, 7, 8


@attrs.frozen
class Compared:
    """A comparison where it stands: `looks` at readings, `limit` is the other side.

    text, expression: the whole and `looks` as they are written; operator: as seen from `looks`;
    needs: what the condition wants it to be.
    """

    clause: str
    text: str
    expression: str
    looks: Node
    operator: str
    limit: Node
    needs: bool

    def weigh(self, values: Values) -> Comparison:
        """What it says of these values."""
        value, limit = number(self.looks, values), number(self.limit, values)
        return Comparison(
            clause=self.clause,
            text=self.text,
            expression=self.expression,
            value=known(value),
            operator=self.operator,
            threshold=known(limit),
            needs=self.needs,
            truth=holds(self.operator, value, limit),
        )


def compared(clause: str, node: Node, *, needs: bool = True) -> Iterator[Compared]:
    """Every comparison of a condition, left to right."""
    match node:
        case Binary(op, left, right) if op in COMPARISONS:
            if next(aggregates(left), None) is None:
                left, op, right = right, MIRRORED[op], left
            yield Compared(clause, text_of(node), text_of(left), left, op, right, needs)
        case Binary(_, left, right):
            yield from compared(clause, left, needs=needs)
            yield from compared(clause, right, needs=needs)
        case Unary(_, operand):
            yield from compared(clause, operand, needs=not needs)


def opening_comparisons(spec: RuleSpec) -> tuple[Compared, ...]:
    """Those that an opening is judged by: of the condition, and of the levels above the first."""
    found = list(compared("when", spec.when))
    for level in spec.levels:
        if level.when is not None:
            found += compared(level.severity, level.when)
    return tuple(found)


def number(node: Node, values: Values) -> float:
    """The value of an expression."""
    match node:
        case Number(value):
            return value
        case Aggregate():
            return values[node]
        case Unary("neg", operand):
            return -number(operand, values)
        case Unary("abs", operand):
            return abs(number(operand, values))
        case Binary(op, left, right):
            a, b = number(left, values), number(right, values)
            match op:
                case "+":
                    return a + b
                case "-":
                    return a - b
                case "*":
                    return a * b
                case "/":
                    return a / b if b != 0.0 else math.nan
    raise AssertionError(f"no number: {node}")


def truth(node: Node, values: Values) -> bool | None:
    """What a condition says."""
    match node:
        case Unary("not", operand):
            said = truth(operand, values)
            return None if said is None else not said
        case Binary("and", left, right):
            pair = (truth(left, values), truth(right, values))
            return False if False in pair else None if None in pair else True
        case Binary("or", left, right):
            pair = (truth(left, values), truth(right, values))
            return True if True in pair else None if None in pair else False
        case Binary(op, left, right):
            return holds(op, number(left, values), number(right, values))
    raise AssertionError(f"no condition: {node}")


def holds(operator: str, a: float, b: float) -> bool | None:
    """What a comparison says of two numbers."""
    if math.isnan(a) or math.isnan(b):
        return None
    match operator:
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
    return a >= b


def known(value: float) -> float | None:
    """As it is told: NaN is None."""
    return None if math.isnan(value) else value


def text_of(node: Node) -> str:
    """An expression or condition as one would write it."""
    return _text(node)[0]


def _text(node: Node) -> tuple[str, int]:
    """With how strongly its outermost operator binds."""
    match node:
        case Number(value):
            return f"{value:.15g}", _ATOM
        case Unary("not", operand):
            return f"not {_within(operand, _NOT)}", _NOT
        case Unary("neg", operand):
            return f"-{_within(operand, _NEG)}", _NEG
        case Unary("abs", operand):
            return f"abs({text_of(operand)})", _ATOM
        case Binary(op, left, right):
            binds = _BINDS[op]
            # a - (b - c): what stands on the right and binds as strongly needs its parentheses
            return f"{_within(left, binds)} {op} {_within(right, binds + 1)}", binds
    return str(node), _ATOM


def _within(node: Node, binds: int) -> str:
    text, own = _text(node)
    return text if own >= binds else f"({text})"
