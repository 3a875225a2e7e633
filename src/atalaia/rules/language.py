"""Text to rules: parsed with lark (LALR), then typed. Every error has line, column and caret.

Refuses to know sensors or readings: whether a metric exists is not its business.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import attrs
from lark import Lark, Token, Transformer, Tree, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, VisitError
from lark.tree import Meta

from atalaia.model.errors import Invalid, RuleInvalid
from atalaia.rules.schedule import Schedule, parse_schedule
from atalaia.rules.syntax import (
    MAX_METRICS,
    MINUTE_US,
    SEVERITY_ORDER,
    SHOWN_CHARS,
    Aggregate,
    Binary,
    Level,
    Node,
    Number,
    RuleSpec,
    Selector,
    Silence,
    TagTest,
    Unary,
    is_truth,
    parse_duration,
    shorten,
    size,
)

FUNCTIONS = (
    "avg", "min", "max", "sum", "count", "stddev", "first", "last", "delta", "rate",
    "quantile", "median", "mad", "ewma", "zscore", "anomaly",
)  # fmt: skip
SEASONAL = ("zscore", "anomaly")
ANOMALOUS = 6.0
"""`when anomaly(...)` alone stands for a score beyond this, in either direction."""
MIN_WINDOW_US = 1_000_000
MAX_WINDOW_US = 30 * 86_400_000_000
MIN_SEASON_US, MAX_SEASON_US = MINUTE_US, 14 * 86_400_000_000
BARE_WINDOW_US = 5 * MINUTE_US  # a bare metric is its last value, no older than this
MAX_TEXT_CHARS = 20_000
_SHOWN_CHARS = 160  # of a line around a fault
MAX_NODES = 200  # bounds the cost of one judgement, and the stack of its programs

_MAX_NAME_CHARS = 64
_DURATION = re.compile(r"(\d+(ms|s|m|h|d))+")
_AFTER_UNIT = re.compile(
    r"\d\s+(?!(?:rule|on|and|or|for|during|clear|when|severity|no|data|cooldown)\b)"
    r"([^\W\d_]\w*)\s*\Z"
)
"""The text before a fault, when its last word was taken for a unit."""
_CONTROL = re.compile(r"[^\t\r\n\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]")

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


@attrs.frozen
class _At:
    """A node with where it stands."""

    node: Node
    meta: Meta


@attrs.frozen
class _Named:
    """A name before a duration in a call."""

    name: Token
    duration: Token
    meta: Meta


class _Fault(Exception):
    """A meaning that is wrong, at a place."""

    def __init__(self, detail: str, meta: Meta | Token) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = int(getattr(meta, "line", None) or 1)
        self.column = int(getattr(meta, "column", None) or 1)


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
        return tuple(_Builder(text).transform(parse_tree(text)))
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    except VisitError as error:
        if isinstance(error.orig_exc, _Fault):
            fault = error.orig_exc
            raise invalid_at(text, fault.detail, fault.line, fault.column) from None
        if isinstance(error.orig_exc, RecursionError):
            raise invalid_at(text, "The condition is nested too deeply.", 1, 1) from None
        raise
    except RecursionError:
        raise invalid_at(text, "The condition is nested too deeply.", 1, 1) from None


def parse_tree(text: str) -> Tree[Token]:
    """What the grammar makes of a text, with places. Raises as lark does."""
    return _parser().parse(text)


@cache
def _parser() -> Lark:
    grammar = (resources.files("atalaia.rules") / "grammar.lark").read_text()
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


@v_args(meta=True)
class _Builder(Transformer[Token, Any]):
    """Bottom-up: lark's tree to RuleSpecs. Checks types on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._units: list[int] = []  # where they stand

    def start(self, meta: Meta, rules: list[RuleSpec]) -> list[RuleSpec]:
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise _Fault(f'Two rules are named "{name}".', meta)
        return rules

    def rule(self, meta: Meta, parts: list[Any]) -> RuleSpec:
        name, selector, when, hold, during, clear, severity, no_data, cooldown = parts
        when = _need_truth(when, 'after "when"')
        spec = RuleSpec(
            name=name,
            text=self._text[meta.start_pos : meta.end_pos],
            selector=selector,
            when=when.node,
            for_us=hold or 0,
            clear=None if clear is None else clear[0].node,
            clear_for_us=0 if clear is None else clear[1] or 0,
            levels=severity or (Level("warning", None),),
            schedule=during,
            on_no_data=no_data or "keep",
            cooldown_us=cooldown or 0,
            has_units=any(meta.start_pos <= at < meta.end_pos for at in self._units),
        )
        trees = [spec.when, spec.clear, *(level.when for level in spec.levels)]
        if sum(size(tree) for tree in trees if tree is not None) > MAX_NODES:
            raise _Fault(f"A rule may have {MAX_NODES} numbers, aggregates and operators.", meta)
        if spec.silence is not None:
            if hold or during or clear or no_data or len(spec.levels) > 1:
                raise _Fault(
                    "A rule of silence has a severity and a cooldown besides; it clears by itself "
                    "with the next reading.",
                    meta,
                )
            return spec
        if not spec.aggregates:
            raise _Fault(
                "The rule looks at no metric; name one, such as avg(temperature, 5m).", meta
            )
        if len(spec.metrics) > MAX_METRICS:
            raise _Fault(f"A rule may look at {MAX_METRICS} metrics.", meta)
        return spec

    def name(self, meta: Meta, parts: list[Token]) -> str:
        text = _unquote(parts[0])
        if not text.strip() or len(text) > _MAX_NAME_CHARS:
            raise _Fault(f"A rule's name has 1 to {_MAX_NAME_CHARS} characters.", meta)
        return text

    def all_sensors(self, _: Meta, __: list[Any]) -> Selector:
        return Selector()

    def by_pattern(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(name=_unquote(parts[0]))

    def by_group(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(tags=(TagTest("group", _unquote(parts[0]), exact=True),))

    def by_name(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(name=_unquote(parts[0]), exact=True)

    def by_tags(self, _: Meta, tests: list[TagTest]) -> Selector:
        return Selector(tags=tuple(tests))

    def tag_equals(self, _: Meta, parts: list[Token]) -> TagTest:
        return TagTest(str(parts[0]), _unquote(parts[1]), exact=True)

    def tag_like(self, _: Meta, parts: list[Token]) -> TagTest:
        return TagTest(str(parts[0]), _unquote(parts[1]), exact=False)

    def silence(self, meta: Meta, parts: list[Token]) -> _At:
        after = _duration(parts[1])
        if after < MIN_WINDOW_US or after % 1_000_000:
            raise _Fault("Silence is counted in whole seconds, at least one.", parts[1])
        return _At(Silence(after), meta)

    def hold(self, _: Meta, parts: list[Token]) -> int:
        return _duration(parts[0])

    def during(self, meta: Meta, parts: list[Any]) -> Schedule:
        days, clock, zone = parts
        try:
            return parse_schedule(str(days), None if clock is None else str(clock), str(zone))
        except Invalid as error:
            raise _Fault(error.detail, clock or zone) from error

    def no_data(self, _: Meta, parts: list[Token]) -> str:
        if parts[0] not in ("keep", "clear", "alert"):
            raise _Fault('After "on no data" stands keep, clear or alert.', parts[0])
        return str(parts[0])

    def cooldown(self, _: Meta, parts: list[Token]) -> int:
        return _duration(parts[0])

    def clear(self, _: Meta, parts: list[Any]) -> tuple[_At, int | None]:
        return _need_truth(parts[0], 'after "clear when"'), parts[1]

    def severity(self, _: Meta, parts: list[Any]) -> tuple[Level, ...]:
        levels = [Level(_severity(parts[0]), None)]
        for token, condition in parts[1:]:
            level = Level(_severity(token), condition.node)
            if SEVERITY_ORDER.index(level.severity) <= SEVERITY_ORDER.index(levels[-1].severity):
                raise _Fault("Each severity must be higher than the one before it.", token)
            levels.append(level)
        return tuple(levels)

    def level(self, _: Meta, parts: list[Any]) -> tuple[Token, _At]:
        token, condition = parts
        return token, _need_truth(condition, 'after a severity\'s "when"')

    def number(self, meta: Meta, parts: list[Token | None]) -> _At:
        value = float(str(parts[0]))
        if parts[1] is not None:
            self._units.append(meta.start_pos)
            text = self._text[meta.start_pos : meta.end_pos]
            if _DURATION.fullmatch(text):
                raise _Fault(
                    f'"{shorten(text)}" is a duration, and conditions compare numbers; a number '
                    "and its unit stand apart, such as 5 m.",
                    meta,
                )
        if value == float("inf"):
            raise _Fault("This number is too large.", meta)
        return _At(Number(value), meta)

    def duration(self, meta: Meta, parts: list[Token]) -> Token:
        return parts[0]

    def season(self, meta: Meta, parts: list[Token]) -> _Named:
        return _Named(parts[0], parts[1], meta)

    def bare(self, meta: Meta, parts: list[Token]) -> _At:
        return _At(Aggregate("last", _metric(parts[0]), BARE_WINDOW_US), meta)

    def call(self, meta: Meta, parts: list[Any]) -> _At:
        function, *arguments = parts
        if function == "abs":
            if len(arguments) != 1 or not isinstance(arguments[0], _At):
                raise _Fault("abs takes one number.", function)
            return _At(Unary("abs", _number(arguments[0]).node), meta)
        if function not in FUNCTIONS:
            near = get_close_matches(str(function), [*FUNCTIONS, "abs"], 1)
            advice = f' Did you mean "{near[0]}"?' if near else ""
            raise _Fault(
                f'There is no aggregate "{shorten(function)}"; there are '
                f"{', '.join(FUNCTIONS)}.{advice}",
                function,
            )
        share, season = None, None
        if len(arguments) == 3 and isinstance(arguments[2], _Named):
            season = _season(function, arguments.pop())
        if function == "quantile":
            metric, share, window = self._quantile(function, arguments)
        elif len(arguments) != 2:
            raise _Fault(
                f"{function} takes a metric and a window, such as {function}(temperature, 5m).",
                function,
            )
        else:
            metric, window = arguments
        named = isinstance(metric, _At) and isinstance(metric.node, Aggregate)
        if not named or metric.node.window_us != BARE_WINDOW_US or metric.node.function != "last":
            raise _Fault(
                f"The first argument of {function} is a metric's name (quote unusual ones).",
                metric.meta if isinstance(metric, _At) else metric,
            )
        if not isinstance(window, Token):
            raise _Fault(
                f"The second argument of {function} is a window such as 10s, 5m or 2h.", window.meta
            )
        width = _window(window)
        if season is not None and season < width:
            raise _Fault("A season is at least as long as the window.", window)
        aggregate = Aggregate(str(function), metric.node.metric, width, share, season or 0)
        if aggregate.history_us > MAX_WINDOW_US:
            raise _Fault("A season and twice the window may be 30 days together.", window)
        return _At(aggregate, meta)

    def _quantile(self, function: Token, arguments: list[Any]) -> tuple[Any, float, Any]:
        if len(arguments) != 3:
            raise _Fault(
                "quantile takes a metric, a share and a window: quantile(vibration, 0.95, 10m).",
                function,
            )
        metric, share, window = arguments
        known = isinstance(share, _At) and isinstance(share.node, Number)
        if not known or not 0 < share.node.value < 1:
            raise _Fault(
                "The second argument of quantile is a number between 0 and 1, such as 0.95.",
                share.meta if isinstance(share, _At) else share,
            )
        return metric, share.node.value, window

    def compare(self, meta: Meta, parts: list[Any]) -> _At:
        left, op, right = parts
        if op not in ("<", "<=", ">", ">="):
            raise _Fault(
                "Measured numbers are hardly ever equal: use < <= > >=, such as x >= 1 and x <= 1.",
                op,
            )
        return _At(Binary(str(op), _number(left).node, _number(right).node), meta)

    def neg(self, meta: Meta, parts: list[_At]) -> _At:
        return _At(Unary("neg", _number(parts[0]).node), meta)

    def not_(self, meta: Meta, parts: list[_At]) -> _At:
        return _At(Unary("not", _need_truth(parts[0], 'after "not"').node), meta)


def _numbers(op: str) -> Callable[[_Builder, Meta, list[_At]], _At]:
    def build(_: _Builder, meta: Meta, parts: list[_At]) -> _At:
        left, right = parts
        return _At(Binary(op, _number(left).node, _number(right).node), meta)

    return build


def _truths(op: str) -> Callable[[_Builder, Meta, list[_At]], _At]:
    def build(_: _Builder, meta: Meta, parts: list[_At]) -> _At:
        left, right = (_need_truth(part, f'beside "{op}"') for part in parts)
        return _At(Binary(op, left.node, right.node), meta)

    return build


for _name, _op in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")):
    setattr(_Builder, _name, v_args(meta=True)(_numbers(_op)))
for _name, _op in (("and_", "and"), ("or_", "or")):
    setattr(_Builder, _name, v_args(meta=True)(_truths(_op)))


def _need_truth(part: _At, where: str) -> _At:
    """The part as a condition: a bare anomaly score is one."""
    if isinstance(part.node, Aggregate) and part.node.function == "anomaly":
        return _At(Binary(">", Unary("abs", part.node), Number(ANOMALOUS)), part.meta)
    if not is_truth(part.node):
        raise _Fault(
            f"A condition is needed {where}, such as avg(temperature, 5m) > 30; this is a number.",
            part.meta,
        )
    return part


def _number(part: _At) -> _At:
    if is_truth(part.node):
        raise _Fault("A number is needed here; this is a condition (true or false).", part.meta)
    return part


def _severity(token: Token) -> str:
    if token not in SEVERITY_ORDER:
        raise _Fault(
            f'There is no severity "{shorten(token)}"; there are info, warning, critical.', token
        )
    return str(token)


def _unquote(token: Token) -> str:
    return str(token)[1:-1] if token.type == "STRING" else str(token)


def _metric(token: Token) -> str:
    name = _unquote(token)
    if not re.fullmatch(r"[A-Za-z0-9_\-:./]{1,64}", name):
        raise _Fault("A metric's name has 1 to 64 of letters, digits and _ - : . /", token)
    return name


def _duration(token: Token) -> int:
    try:
        total = parse_duration(str(token))
    except Invalid as error:
        raise _Fault(error.detail, token) from error
    if total > MAX_WINDOW_US:
        raise _Fault("A duration may be 30 days long.", token)
    return total


def _window(token: Token) -> int:
    width = _duration(token)
    if width < MIN_WINDOW_US:
        raise _Fault("A window is at least 1 second long.", token)
    return width


def _season(function: Token, named: _Named) -> int:
    if named.name != "season":
        raise _Fault('Before a duration may stand "season", as in season 1d.', named.name)
    if function not in SEASONAL:
        raise _Fault(f"Only {' and '.join(SEASONAL)} know a season.", named.name)
    season = _duration(named.duration)
    if not MIN_SEASON_US <= season <= MAX_SEASON_US:
        raise _Fault("A season is 1 minute to 14 days long, such as 1d or 7d.", named.duration)
    return season


def _syntax_error(text: str, error: UnexpectedInput) -> RuleInvalid:
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


def invalid_at(text: str, detail: str, line: int, column: int) -> RuleInvalid:
    """The error at a place of a text, with its line around it."""
    lines = text.split("\n")
    shown = lines[line - 1] if line <= len(lines) else ""
    first = max(0, min(column - 1 - _SHOWN_CHARS // 2, len(shown) - _SHOWN_CHARS))
    last = first + _SHOWN_CHARS
    before = ("…" if first else "") + shown[first : column - 1]
    after = shown[column - 1 : last] + ("…" if last < len(shown) else "")
    mark = "".join("\t" if character == "\t" else " " for character in before)
    return RuleInvalid(detail, line=line, column=column, caret=f"{before}{after}\n{mark}^")


def _nth_rule_line(text: str, nth: int) -> int:
    rule = parse_tree(text).children[nth - 1]
    return int(rule.meta.line) if isinstance(rule, Tree) else 1
