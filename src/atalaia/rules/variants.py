"""A rule with other numbers in it, made from its tree: what a sweep tries.

Only two things can be swept, because only they have one meaning in every rule: how long the
condition must hold (of a rule of silence: how long the silence), and the number that `when`
compares with, where there is exactly one.
"""

from collections.abc import Iterator, Sequence

import attrs

from atalaia.model.errors import Invalid
from atalaia.rules.absence import GRID_US
from atalaia.rules.syntax import Binary, Node, Number, RuleSpec, Silence, Unary, duration_text

MAX_VARIANTS = 50
COMPARISONS = frozenset({"<", "<=", ">", ">="})


@attrs.frozen
class Variant:
    """A rule to try. threshold: the number that `when` compares with, None for none or several."""

    spec: RuleSpec
    threshold: float | None
    as_written: bool

    @property
    def holds(self) -> str:
        return duration_text(_hold_us(self.spec))


def make_variants(
    spec: RuleSpec, holds_us: Sequence[int], thresholds: Sequence[float]
) -> tuple[Variant, ...]:
    """The rule as it is written, then every combination of what is to be tried, without repeats.

    Nothing to try of one kind: that part stays. Raises Invalid for too many variants, and for
    thresholds of a rule that has none or several, and for silence not in whole seconds.
    """
    written = find_threshold(spec.when)
    if thresholds and written is None:
        compared = len(list(_compared(spec.when)))
        raise Invalid(
            "A sweep of the threshold needs a condition that compares with exactly one number; "
            f'after "when" this rule compares with {compared or "none"}.',
            code="bad_sweep",
        )
    variants = [Variant(spec, written, as_written=True)]
    tried: Sequence[float | None] = thresholds or [None]
    for hold_us in holds_us or [_hold_us(spec)]:
        for threshold in tried:
            changed = _with(spec, hold_us, threshold)
            if all(changed.condition_key != known.spec.condition_key for known in variants):
                found = written if threshold is None else threshold
                variants.append(Variant(changed, found, as_written=False))
            if len(variants) > MAX_VARIANTS:
                raise Invalid(
                    f"A sweep may make {MAX_VARIANTS} variants, the rule as it is written among "
                    "them; try fewer values at once.",
                    code="bad_sweep",
                )
    return tuple(variants)


def _hold_us(spec: RuleSpec) -> int:
    return spec.for_us if spec.silence is None else spec.silence.after_us


def _with(spec: RuleSpec, hold_us: int, threshold: float | None) -> RuleSpec:
    if spec.silence is None:
        when = spec.when if threshold is None else _with_threshold(spec.when, threshold)
        return attrs.evolve(spec, when=when, for_us=hold_us)
    if hold_us < GRID_US or hold_us % GRID_US:
        raise Invalid(
            f"Silence is counted in whole seconds, at least one; not {duration_text(hold_us)}.",
            code="bad_sweep",
        )
    return attrs.evolve(spec, when=Silence(hold_us))


def find_threshold(when: Node) -> float | None:
    """The number that a condition compares with; None when there is none or more than one."""
    numbers = list(_compared(when))
    return numbers[0] if len(numbers) == 1 else None


def _constant(node: Node) -> float | None:
    match node:
        case Number(value):
            return value
        case Unary("neg", Number(value)):
            return -value
    return None


def _compared(node: Node) -> Iterator[float]:
    """Every number that stands alone at a side of a comparison."""
    match node:
        case Unary(_, operand):
            yield from _compared(operand)
        case Binary(op, left, right):
            for side in (left, right):
                number = _constant(side) if op in COMPARISONS else None
                if number is not None:
                    yield number
                else:
                    yield from _compared(side)


def _with_threshold(node: Node, threshold: float) -> Node:
    """The same condition with another number at the side of its comparisons."""
    match node:
        case Unary(op, operand):
            return Unary(op, _with_threshold(operand, threshold))
        case Binary(op, left, right) if op in COMPARISONS:
            number = Number(abs(threshold))
            other: Node = Unary("neg", number) if threshold < 0 else number
            return Binary(
                op,
                left if _constant(left) is None else other,
                right if _constant(right) is None else other,
            )
        case Binary(op, left, right):
            return Binary(op, _with_threshold(left, threshold), _with_threshold(right, threshold))
    return node
