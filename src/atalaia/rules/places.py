"""Where the clauses of a rule stand in its text, for whoever wants to point at them.

Kept apart from the rule's meaning (syntax.py). What the grammar does not show has no place.
"""

from collections.abc import Iterator, Sequence

import attrs
from lark import Token, Tree

from atalaia.rules.language import parse_tree

Place = tuple[int, int]
"""Line and column, from 1."""


@attrs.frozen
class ClausePlace:
    """A condition, each of its comparisons from left to right, and its `for`."""

    at: Place
    comparisons: Sequence[Place]
    hold: Place | None = None


@attrs.frozen
class RulePlaces:
    """at: the word `rule`. levels: the further ones, the first has no condition."""

    at: Place
    selector: Place
    when: ClausePlace
    clear: ClausePlace | None
    levels: Sequence[ClausePlace]


def find_places(text: str) -> tuple[RulePlaces, ...]:
    """The places of each rule in a text that `parse_rules` understands."""
    return tuple(_rule(tree) for tree in _trees(parse_tree(text)))


def _rule(rule: Tree[Token]) -> RulePlaces:
    _, selector, when, *clauses = _trees(rule)
    named = {str(clause.data): clause for clause in clauses}
    clear, severity = named.get("clear"), named.get("severity")
    levels = [] if severity is None else _trees(severity)
    return RulePlaces(
        at=_place(rule),
        selector=_place(selector),
        when=_clause(when, named.get("hold")),
        clear=None if clear is None else _clause(*_trees(clear)[:2]),
        levels=tuple(_clause(_trees(level)[0]) for level in levels),
    )


def _clause(condition: Tree[Token], hold: Tree[Token] | None = None) -> ClausePlace:
    found = tuple(_place(tree) for tree in _walk(condition) if tree.data == "compare")
    return ClausePlace(_place(condition), found, None if hold is None else _place(hold))


def _walk(tree: Tree[Token]) -> Iterator[Tree[Token]]:
    yield tree
    for child in _trees(tree):
        yield from _walk(child)


def _trees(parent: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in parent.children if isinstance(child, Tree)]


def _place(tree: Tree[Token]) -> Place:
    return tree.meta.line, tree.meta.column
