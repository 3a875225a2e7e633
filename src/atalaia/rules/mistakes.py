"""What cannot be parsed: where it stands, what could stand there, and what was meant perhaps.

What is expected comes from the parser; what was meant is guessed from what people write who know
other languages. A guess needs the place, the words there, and what the parser would have taken.
"""

import re
from collections.abc import Callable, Set

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
    "RULE_NAME": "the rule's name",
    "WHEN": '"when" and a condition',
    "NO_DATA_FOR": '"no data for"',
    "SENSOR": '"sensor", "sensors", "group" or "all sensors"',
    "DAYS": "days such as weekdays, daily or mon-fri",
    "CLOCK": "hours such as 08:00-18:00",
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
    "AND": '"and"',
    "OR": '"or"',
    "ON": '"on" and which sensors it watches',
    "RULE": 'the word "rule"',
    "$END": "the end of the text",
    "UNIT": "a unit",
}
_WORDS = (
    "rule", "on", "all", "sensors", "sensor", "group", "where", "when", "no", "data", "for",
    "during", "clear", "severity", "cooldown", "and", "or", "not", "daily", "weekdays",
    "weekends", "mon", "tue", "wed", "thu", "fri", "sat", "sun",
)  # fmt: skip
_PARTS = ("for", "during", "clear", "severity", "on", "cooldown")
_WORD = re.compile(r"[A-Za-z]+")
_LAST_WORD = re.compile(r"(?<![A-Za-z0-9_\"])([A-Za-z]+)\s*\Z")
_HOURS = re.compile(r"(\d\d?)(:\d\d)?\s*-\s*(\d\d?)(:\d\d)?(?![\d:A-Za-z])")
_SPAN = re.compile(r"(\d+)\s*([A-Za-z]*)")
_UNITS = re.compile(
    r"(?:(ms|milli\w*)|(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hrs?|hours?)|(d|days?))"
)
_WATCHED = re.compile(r"\b(sensors?|group)\s+\Z")
_TAG = re.compile(r"([A-Za-z_]\w*)\s*([=~])\s*\Z")
_NAME = re.compile(r"[^\s\"'<>=(),]+")
_NO = re.compile(r"\bno\s+\Z")
_SILENT = re.compile(r"\bno\s+data\s+for\s+\w+\s*\Z")

NEVER_EQUAL = "Measured numbers are hardly ever equal: use < <= > >=, such as x >= 1 and x <= 1."

Guess = tuple[int, str] | None
"""Where, as an offset of the text, and what to say."""


def syntax_error(text: str, error: UnexpectedInput) -> RuleInvalid:
    """What is wrong with a text that lark does not take."""
    ends = isinstance(error, UnexpectedEOF) or getattr(error, "token", None) == ""
    at = len(text) if ends else error.pos_in_stream or 0
    names = getattr(error, "accepts", None) or getattr(error, "allowed", None) or set()
    if not names:
        names = getattr(error, "expected", set()) or set()
    if not ends:
        for guess in _GUESSES:
            meant = guess(text, at, names)
            if meant is not None:
                return _invalid(text, meant[1], meant[0])
    if ends:
        found = "The text ends"
    else:
        found = f'"{_snippet(text, error)}" cannot stand here'
        before = _AFTER_UNIT.search(text[max(0, at - 2 * SHOWN_CHARS) : at])
        if before is not None:  # more often a misspelt word than a unit
            found = f'"{shorten(before[1])}" cannot stand here but as a unit'
            at -= before.end() - before.start(1)
    advice = _advice(names)
    if isinstance(error, UnexpectedCharacters) and text[at : at + 1] == '"':
        advice = '; a quoted text ends with " on the same line'
    return _invalid(text, f"{found}{advice}.", at)


def _advice(names: Set[str]) -> str:
    described = dict(_EXPECTED)
    if "$END" in names:  # then both begin something else than they do at the beginning
        described |= {"ON": '"on no data"', "RULE": "another rule"}
    wanted = [described[name] for name in described if name in names][:4]
    return f"; expected {' or '.join(wanted)}" if wanted else ""


def _invalid(text: str, detail: str, at: int) -> RuleInvalid:
    begin = text.rfind("\n", 0, at) + 1
    return invalid_at(text, detail, text.count("\n", 0, at) + 1, at - begin + 1)


def _before(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str] | None:
    """The pattern, which ends with \\Z, just before a place; not far back, to be quick."""
    return pattern.search(text, max(0, at - 2 * SHOWN_CHARS), at)


def _capitals(text: str, at: int, _: Set[str]) -> Guess:
    """`t > 1 AND u > 2`; and `NOT t > 1`, where NOT was taken for a metric."""
    there, before = _WORD.match(text, at), _before(_LAST_WORD, text, at)
    for begin, word in (
        (at, there and there[0]),
        (0 if before is None else before.start(1), before and before[1]),
    ):
        if word and word != word.lower() and word.lower() in _WORDS:
            return begin, f'Write "{word.lower()}": the words of the language are in small letters.'
    if there and there[0].upper() == "UTC" != there[0]:
        return at, 'Write "UTC" in capitals.'
    return None


def _equal(text: str, at: int, names: Set[str]) -> Guess:
    """`t = 3`, `t => 3`, and tags compared with `==`."""
    if "STRING" in names and text[at - 1 : at + 1] == "==":
        return at - 1, 'Tags are compared with one "=", or with "~" and a pattern.'
    if "TILDE" in names and text[at : at + 2] in ("!=", "<>"):
        return at, 'Tags are compared with "=", or with "~" and a pattern; there is no other way.'
    if "COMPARE" not in names or text[at : at + 1] != "=":
        return None
    if text[at : at + 2] in ("=>", "=<"):
        return at, f'Write "{text[at + 1]}=".'
    return at, NEVER_EQUAL


def _signs(text: str, at: int, _: Set[str]) -> Guess:
    """`&&`, `||`, `!`."""
    for sign, word in (("&", "and"), ("|", "or"), ("!", "not")):
        if text[at : at + 1] == sign:
            return at, f'Write "{word}".'
    return None


def _schedule(text: str, at: int, names: Set[str]) -> Guess:
    """`during mon-fri 8-18 UTC`, hours without days, days with spaces."""
    hours = _HOURS.match(text, at)
    if "DAYS" in names and hours is not None:
        return at, f"Days come before the hours, such as daily {_hours(hours)}."
    if "CLOCK" not in names:
        return None
    if hours is not None:
        return at, f"Write the hours as {_hours(hours)}."
    if text[at : at + 1].isdigit():
        return at, "Hours are written as 08:00-18:00."
    if re.compile(r"-|to\b|and\b|,").match(text, at):
        return at, "Days are written without spaces, such as mon-fri or mon,wed."
    return None


def _hours(found: re.Match[str]) -> str:
    begin, end = (f"{int(found[n]):02}{found[n + 1] or ':00'}" for n in (1, 3))
    return f"{begin}-{end}"


def _quotes(text: str, at: int, names: Set[str]) -> Guess:
    """`on sensor boiler-1`, `on boiler-1`, `where type = boiler`."""
    begin = at + (text[at : at + 1] in "'\"")
    name = _NAME.match(text, begin)
    if name is None or name[0] == "when":
        return None
    quoted, watched = f'"{shorten(name[0])}"', _before(_WATCHED, text, at)
    if "SENSOR" in names and (begin > at or re.search(r"[^A-Za-z]", name[0])):
        kind = "sensors" if re.search(r"[*?]", name[0]) else "sensor"
        return at, f"Write on {kind} {quoted}."
    if "STRING" not in names or text[at : at + 1] == '"':
        return None
    if watched is not None:
        return at, f"Names stand in quotes: {watched[1]} {quoted}."
    tag = _before(_TAG, text, at)
    return None if tag is None else (at, f"Values stand in quotes: {tag[1]} {tag[2]} {quoted}.")


def _silence(text: str, at: int, _: Set[str]) -> Guess:
    """`no data 10m`, and silence beside another condition."""
    no = _before(_NO, text, at)
    if no is not None and re.compile(r"data\b").match(text, at):
        if re.compile(r"data\s+for\b").match(text, at):
            return no.start(), "Silence stands alone: when no data for 10m, and nothing beside it."
        return no.start(), 'Write "no data for" and a duration, such as no data for 10m.'
    if _before(_SILENT, text, at) and re.compile(r"(and|or)\b|[<>=)]").match(text, at):
        return at, "Silence stands alone; put the other condition into a rule of its own."
    return None


def _span(text: str, at: int, names: Set[str]) -> Guess:
    """`for 5 m`, `for 5`, `for 5min`."""
    span = _SPAN.match(text, at)
    if "DURATION" not in names or "IDENT" in names or span is None:
        return None
    unit = _UNITS.fullmatch(span[2].lower())
    if unit is None or unit.lastindex is None:
        return at, f"A duration has a unit, such as {shorten(span[1])}s or {shorten(span[1])}m."
    return at, f"Write {shorten(span[1])}{('ms', 's', 'm', 'h', 'd')[unit.lastindex - 1]}."


def _order(text: str, at: int, names: Set[str]) -> Guess:
    """A part after one that it stands before, or for the second time."""
    word = _WORD.match(text, at)
    if "$END" not in names or word is None or word[0] not in _PARTS:
        return None
    return at, (
        f'"{word[0]}" cannot stand here: each part stands once, in the order when, for, during, '
        "clear when, severity, on no data, cooldown."
    )


_GUESSES: tuple[Callable[[str, int, Set[str]], Guess], ...] = (
    _silence, _equal, _capitals, _signs, _schedule, _quotes, _span, _order,
)  # fmt: skip


def _snippet(text: str, error: UnexpectedInput) -> str:
    token = getattr(error, "token", None)
    return shorten(str(token)) if token else text[error.pos_in_stream or 0 :][:1]
