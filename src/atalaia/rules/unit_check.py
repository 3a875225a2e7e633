"""What units say about a rule: numbers that cannot mean what they say are refused at save.

Units never change how a rule is judged, and nothing is converted: a number is compared as it
stands, so it has to stand in the unit that its metric is measured in. Works on the parsed text and
not on the rule's tree, which knows no units.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

import attrs
from lark import Token, Tree

from atalaia.rules.faults import invalid_at
from atalaia.rules.language import parse_tree
from atalaia.rules.lints import Lint
from atalaia.rules.syntax import RuleSpec, shorten
from atalaia.rules.units import MAX_UNIT_CHARS, SECOND, WRITABLE, Unit, name_unit, parse_unit

Kind = Literal["same", "difference", "rate", "none"]
"""What an aggregate's unit is, from that of its metric."""

_KINDS: Mapping[str, Kind] = {
    "count": "none", "zscore": "none", "anomaly": "none", "stddev": "difference",
    "mad": "difference", "delta": "difference", "rate": "rate",
}  # fmt: skip

_DOING = {"add": "added", "sub": "subtracted"}


@attrs.frozen
class _Value:
    """What is known of a number. said, at: how to speak of it, and where it stands.

    unit: None when it is not known, or when `plain`: then there surely is none. number: of a
    literal. metric, kind: where the unit follows from that of a metric.
    """

    said: str
    at: Tree[Token]
    unit: Unit | None = None
    plain: bool = False
    difference: bool = False
    number: float | None = None
    metric: str | None = None
    kind: Kind = "same"

    @property
    def bare(self) -> bool:
        """A number without a unit goes with everything."""
        return self.number is not None and self.unit is None


def check_units(
    text: str, rules: Sequence[RuleSpec], registered: Mapping[str, str]
) -> list[tuple[Lint, ...]]:
    """The lints about units of each rule that `parse_rules` found in the text.

    registered: the units that metrics are said to be measured in. Raises RuleInvalid for the first
    number or comparison that units rule out.
    """
    if not any(rule.has_units or registered.keys() & set(rule.metrics) for rule in rules):
        return [() for _ in rules]
    found = []
    for tree in parse_tree(text).children:
        reader = _Reader(text, registered)
        if isinstance(tree, Tree):
            reader.read(tree)
        found.append(tuple(reader.lints))
    return found


@attrs.define(eq=False)
class _Reader:
    """Reads one rule."""

    text: str
    registered: Mapping[str, str]
    lints: list[Lint] = attrs.field(factory=list)
    _assumed: dict[str, tuple[Unit, bool, str]] = attrs.field(factory=dict)

    def read(self, tree: Tree[Token]) -> _Value:
        """What is known of a part of the rule; nothing of what is no number."""
        children = [child for child in tree.children if isinstance(child, Tree)]
        match tree.data:
            case "number":
                return self._number(tree)
            case "bare":
                return self._aggregate(tree, "last", str(tree.children[0]))
            case "call":
                return self._call(tree, children)
            case "neg":
                value = self.read(children[0])
                number = None if value.number is None else -value.number
                return attrs.evolve(value, number=number, said=self._said(tree), at=tree)
            case "add" | "sub" | "compare":
                return self._meet(tree, *map(self.read, children))
            case "mul" | "div":
                return self._product(tree, *map(self.read, children))
        for child in children:
            self.read(child)
        return _Value(self._said(tree), tree)

    def _number(self, tree: Tree[Token]) -> _Value:
        literal, written = tree.children
        unit = None if written is None else self._written(tree, written)
        return _Value(self._said(tree), tree, unit, number=float(str(literal)))

    def _written(self, tree: Tree[Token], written: Token | Tree[Token]) -> Unit:
        quoted = str(written).startswith('"')
        text = str(written).strip('"')
        if not 0 < len(text) <= MAX_UNIT_CHARS:
            self._refuse(tree, f"A unit has 1 to {MAX_UNIT_CHARS} characters.")
        unit = parse_unit(text)
        if unit is None and not quoted and text not in self.registered.values():
            self._refuse(
                tree, f'"{text}" is no unit known here; put it in quotes if it is one of yours.'
            )
        return unit or name_unit(text)

    def _call(self, tree: Tree[Token], arguments: Sequence[Tree[Token]]) -> _Value:
        function = str(tree.children[0])
        if function == "abs":
            return attrs.evolve(self.read(arguments[0]), said=self._said(tree), at=tree)
        if function == "quantile" and self.read(arguments[1]).unit is not None:
            self._refuse(arguments[1], "A share has no unit.")
        return self._aggregate(tree, function, str(arguments[0].children[0]))

    def _aggregate(self, tree: Tree[Token], function: str, metric: str) -> _Value:
        metric = metric.strip('"')
        kind = _KINDS.get(function, "same")
        if kind == "none":
            return _Value(self._said(tree), tree, plain=True)
        said = metric if kind == "same" else self._said(tree)
        known = self.registered.get(metric)
        unit = None
        if known is not None:
            unit = parse_unit(known) or name_unit(known)
            if kind == "rate":
                unit = unit.times(SECOND, -1)
        return _Value(said, tree, unit, difference=kind != "same", metric=metric, kind=kind)

    def _meet(self, tree: Tree[Token], left: _Value, right: _Value) -> _Value:
        """Two numbers that are compared, added or subtracted: their units must be one."""
        for one, other in ((left, right), (right, left)):
            if other.unit is None:
                continue
            literal = other.number is not None
            if one.plain:
                unit = other.unit.text
                also = f"; drop {unit}." if literal else f", {other.said} is in {unit}."
                self._refuse(
                    other.at if literal else tree,
                    f"{one.said} is a number without a unit{also}",
                )
            if one.metric is not None and one.unit is None and literal:
                self._assume(one.metric, one, other, other.unit)
        if left.unit is not None and right.unit is not None:
            self._check(tree, left, left.unit, right, right.unit)
        known = left if left.unit is not None or left.plain else right
        between = tree.data == "sub" or (left.difference and right.difference)
        return _Value(
            self._said(tree), tree, known.unit, plain=known.plain,
            difference=between and not known.plain,
        )  # fmt: skip

    def _check(
        self, tree: Tree[Token], left: _Value, one: Unit, right: _Value, other: Unit
    ) -> None:
        # What is added to a value, or compared with a difference, has no zero of its own.
        difference = tree.data != "compare" or left.difference or right.difference
        if one.same(other, difference=difference):
            return
        if (left.number is None) == (right.number is None):
            advice = " Bring both to one unit." if one.fits(other) else ""
            self._refuse(
                right.at,
                f"{left.said} is in {one.text} and {right.said} in {other.text}: they cannot be "
                f"{_DOING.get(str(tree.data), 'compared')}.{advice}",
            )
        literal, given, measured, wanted = left, one, right, other
        if left.number is None:
            literal, given, measured, wanted = right, other, left, one
        unit = wanted.text
        measured_in = f"{measured.said} is {'measured ' * (measured.kind == 'same')}in {unit}"
        if literal.number is None or not given.fits(wanted):
            self._refuse(literal.at, f"{measured_in}, which {literal.said} is not.")
        number = given.convert(literal.number, wanted, difference=difference)
        write = f"{number:.6g} {unit if WRITABLE.fullmatch(unit) else chr(34) + unit + chr(34)}"
        self._refuse(literal.at, f"{measured_in}; write {write} for {literal.said}.")

    def _assume(self, metric: str, value: _Value, literal: _Value, unit: Unit) -> None:
        """A literal says what a metric is measured in when nobody else does."""
        if value.kind == "rate":
            unit = unit.times(SECOND)
        before = self._assumed.get(metric)
        if before is None:
            self._assumed[metric] = (unit, value.difference, literal.said)
            meta = literal.at.meta
            self.lints.append(
                Lint(
                    "unit_unknown",
                    f"Nobody has said what {metric} is measured in: {literal.said} is compared "
                    f"as sent. PUT /v1/metrics/{metric} says it.",
                    meta.line,
                    meta.column,
                )
            )
        elif not before[0].same(unit, difference=before[1] or value.difference):
            self._refuse(
                literal.at,
                f"{metric} is measured in one unit: {before[2]} and {literal.said} are of two.",
            )

    def _product(self, tree: Tree[Token], left: _Value, right: _Value) -> _Value:
        sign = 1 if tree.data == "mul" else -1
        said = self._said(tree)
        if any(
            value.unit is None and not value.plain and not value.bare for value in (left, right)
        ):
            return _Value(said, tree)
        if left.bare and right.bare:
            return _Value(said, tree, number=0.0)
        if right.unit is None:  # a number of times of it is still of its kind
            return attrs.evolve(left, said=said, at=tree, number=None, plain=left.unit is None)
        if left.unit is None and sign > 0:
            return attrs.evolve(right, said=said, at=tree, number=None)
        unit = (left.unit or Unit("1", {})).times(right.unit, sign)
        if not unit.powers and unit.same(Unit("", {})):
            return _Value(said, tree, plain=True)
        return _Value(said, tree, unit, difference=True, kind="difference")

    def _said(self, tree: Tree[Token]) -> str:
        return shorten(self.text[tree.meta.start_pos : tree.meta.end_pos])

    def _refuse(self, tree: Tree[Token], detail: str) -> NoReturn:
        raise invalid_at(self.text, detail, tree.meta.line, tree.meta.column)
