"""What cannot be parsed: where it stands, what could stand there, and what was meant perhaps."""

import re

from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput

from atalaia.model.errors import RuleInvalid
from atalaia.rules.faults import invalid_at
from atalaia.rules.syntax import SHOWN_CHARS, shorten

_AFTER_UNIT = re.compile(
    r"\d\s+(?!(?:rule|on|and|or|for|during|clear|when|severity|no|data|cooldown)\b)"
    r"([^\W\d_]\w*)\s*\Z"
)
"""The text before a fault, when its last word was taken for a unit."""

_EXPECTED = {
    "RULE": 'the word "rule"',
    "RULE_NAME": "the rule's name",
    "ON": '"on" and which sensors it watches',
    "WHEN": '"when" and a condition',
    "NO_DATA_FOR": '"no data for"',
    "SENSOR": '"sensor", "sensors", "group" or "all sensors"',
    "DAYS": "days such as weekdays, daily or mon-fri",
    "ZONE": "a time zone such as America/Sao_Paulo",
    "NO": '"no data"',
    "DATA": '"data"',
    "DURATION": "a duration such as 10s, 5m or 2h",
    "STRING": "a quoted text",
    "IDENT": "a name",
    "NUMBER": "a number",
    "COMPARE": "a comparison (< <= > >=)",
    "RPAR": '")"',
    "COMMA": '","',
    "EQUAL": '"="',
    "TILDE": '"~"',
    "$END": "the end of the text",
    "UNIT": "a unit",
}


def syntax_error(text: str, error: UnexpectedInput) -> RuleInvalid:
    if isinstance(error, UnexpectedEOF) or getattr(error, "token", None) == "":
        lines = text.split("\n")
        line, column = len(lines), len(lines[-1]) + 1
        found = "the text ends"
    else:
        line, column = error.line, error.column
        found = f'"{_snippet(text, error)}" cannot stand here'
        at = error.pos_in_stream or 0
        before = _AFTER_UNIT.search(text[max(0, at - 2 * SHOWN_CHARS) : at])
        if before is not None:  # more often a misspelt word than a unit
            found = f'"{shorten(before[1])}" cannot stand here but as a unit'
            at -= before.end() - before.start(1)
            line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    names = getattr(error, "accepts", None) or getattr(error, "allowed", None) or set()
    if not names:
        names = getattr(error, "expected", set()) or set()
    wanted = [_EXPECTED[name] for name in _EXPECTED if name in names][:4]
    advice = f"; expected {' or '.join(wanted)}" if wanted else ""
    if isinstance(error, UnexpectedCharacters) and text[error.pos_in_stream or 0 :][:1] == '"':
        advice = '; a quoted text ends with " on the same line'
    return invalid_at(text, f"{found[0].upper()}{found[1:]}{advice}.", line, column)


def _snippet(text: str, error: UnexpectedInput) -> str:
    token = getattr(error, "token", None)
    return shorten(str(token)) if token else text[error.pos_in_stream or 0 :][:1]
