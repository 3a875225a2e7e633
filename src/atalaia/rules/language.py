"""Text to rules: parsed with lark (LALR), then typed. Every error has line, column and caret.

Refuses to know sensors or readings: whether a metric exists is not its business. What rules mean
is built in clauses.py and expressions.py; what cannot be parsed is explained in mistakes.py.
"""

import re
from functools import cache, lru_cache
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput, VisitError

from atalaia.model.errors import Invalid
from atalaia.rules.clauses import RuleBuilder
from atalaia.rules.faults import Fault, invalid_at
from atalaia.rules.mistakes import syntax_error
from atalaia.rules.syntax import RuleSpec, Selector

MAX_TEXT_CHARS = 20_000
_CONTROL = re.compile(r"[^\t\r\n\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]")


def parse_rule(text: str) -> RuleSpec:
    """The one rule in the text. Raises RuleInvalid. Cached by text."""
    return _parse_rule_cached(text)


@lru_cache(maxsize=4096)
def _parse_rule_cached(text: str) -> RuleSpec:
    rules = parse_rules(text)
    if len(rules) > 1:
        second = _nth_rule_line(text, 2)
        raise invalid_at(
            text, "A rule's text holds one rule; send the second by itself.", second, 1
        )
    return rules[0]


def parse_rules(text: str) -> tuple[RuleSpec, ...]:
    """Every rule in the text, at least one. Raises RuleInvalid with the text's line numbers."""
    if len(text) > MAX_TEXT_CHARS:
        raise invalid_at(text, f"A text may have {MAX_TEXT_CHARS} characters.", 1, 1)
    for line, shown in enumerate(text.split("\n"), start=1):
        hidden = _CONTROL.search(shown)
        if hidden is not None:
            raise invalid_at(
                text, "Control characters may not stand here.", line, hidden.start() + 1
            )
    try:
        return tuple(RuleBuilder(text).transform(parse_tree(text)))
    except UnexpectedInput as error:
        raise syntax_error(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, Fault):
            fault = error.orig_exc
            raise invalid_at(text, fault.detail, fault.line, fault.column) from None
        if isinstance(error.orig_exc, RecursionError):
            raise invalid_at(text, "The condition is nested too deeply.", 1, 1) from None
        raise
    except RecursionError:
        raise invalid_at(text, "The condition is nested too deeply.", 1, 1) from None


def parse_selector(text: str) -> Selector:
    """Which sensors are meant, in the words that stand after `on` in a rule. Raises Invalid."""
    try:
        if len(text) > MAX_TEXT_CHARS or _CONTROL.search(text):
            raise Invalid
        found: Selector = RuleBuilder(text).transform(_parser().parse(text, start="selector"))
    except (UnexpectedInput, VisitError, Invalid, RecursionError) as error:
        raise Invalid(
            'A selector reads: all sensors; sensors "pump-*"; sensor "pump-1"; group "hall"; '
            'sensors where type = "boiler" and line ~ "a*".',
            code="bad_selector",
        ) from error
    return found


def parse_tree(text: str) -> Tree[Token]:
    """What the grammar makes of a text, with places. Raises as lark does."""
    return _parser().parse(text, start="start")


@cache
def _parser() -> Lark:
    grammar = (resources.files("atalaia.rules") / "grammar.lark").read_text()
    return Lark(
        grammar,
        parser="lalr",
        start=["start", "selector"],
        propagate_positions=True,
        maybe_placeholders=True,
    )


def _nth_rule_line(text: str, nth: int) -> int:
    rule = parse_tree(text).children[nth - 1]
    return int(rule.meta.line) if isinstance(rule, Tree) else 1
