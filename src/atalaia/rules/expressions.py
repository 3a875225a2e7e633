"""Conditions and numbers: from lark's tree to nodes, typed on the way, bottom-up."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import attrs
from lark import Token, Transformer, v_args
from lark.tree import Meta

from atalaia.model.errors import Invalid
from atalaia.rules.faults import Fault
from atalaia.rules.mistakes import NEVER_EQUAL
from atalaia.rules.syntax import (
    MAX_WINDOW_US,
    MINUTE_US,
    Aggregate,
    Binary,
    Node,
    Number,
    Unary,
    is_truth,
    parse_duration,
    shorten,
)

FUNCTIONS = (
    "avg", "min", "max", "sum", "count", "stddev", "first", "last", "delta", "rate",
    "quantile", "median", "mad", "ewma", "zscore", "anomaly",
)  # fmt: skip
SEASONAL = ("zscore", "anomaly")
ANOMALOUS = 6.0
"""`when anomaly(...)` alone stands for a score beyond this, in either direction."""
MIN_WINDOW_US = 1_000_000
MIN_SEASON_US, MAX_SEASON_US = MINUTE_US, 14 * 86_400_000_000
BARE_WINDOW_US = 5 * MINUTE_US  # a bare metric is its last value, no older than this
_DURATION = re.compile(r"(\d+(ms|s|m|h|d))+")


@attrs.frozen
class At:
    """A node with where it stands."""

    node: Node
    meta: Meta


@attrs.frozen
class _Named:
    """A name before a duration in a call."""

    name: Token
    duration: Token
    meta: Meta


@v_args(meta=True)
class ExpressionBuilder(Transformer[Token, Any]):
    """Expressions alone. text: what was parsed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self._units: list[int] = []  # where they stand

    def number(self, meta: Meta, parts: list[Token | None]) -> At:
        value = float(str(parts[0]))
        if parts[1] is not None:
            self._units.append(meta.start_pos)
            text = self._text[meta.start_pos : meta.end_pos]
            if _DURATION.fullmatch(text):
                raise Fault(
                    f'"{shorten(text)}" is a duration, and conditions compare numbers; a number '
                    "and its unit stand apart, such as 5 m.",
                    meta,
                )
        if value == float("inf"):
            raise Fault("This number is too large.", meta)
        return At(Number(value), meta)

    def duration(self, meta: Meta, parts: list[Token]) -> Token:
        return parts[0]

    def season(self, meta: Meta, parts: list[Token]) -> _Named:
        return _Named(parts[0], parts[1], meta)

    def bare(self, meta: Meta, parts: list[Token]) -> At:
        return At(Aggregate("last", _metric(parts[0]), BARE_WINDOW_US), meta)

    def call(self, meta: Meta, parts: list[Any]) -> At:
        function, *arguments = parts
        if function == "abs":
            if len(arguments) != 1 or not isinstance(arguments[0], At):
                raise Fault("abs takes one number.", function)
            return At(Unary("abs", _number(arguments[0]).node), meta)
        if function not in FUNCTIONS:
            near = get_close_matches(str(function), [*FUNCTIONS, "abs"], 1)
            advice = f' Did you mean "{near[0]}"?' if near else ""
            raise Fault(
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
            raise Fault(
                f"{function} takes a metric and a window, such as {function}(temperature, 5m).",
                function,
            )
        else:
            metric, window = arguments
        named = isinstance(metric, At) and isinstance(metric.node, Aggregate)
        if not named or metric.node.window_us != BARE_WINDOW_US or metric.node.function != "last":
            raise Fault(
                f"The first argument of {function} is a metric's name (quote unusual ones).",
                metric.meta if isinstance(metric, At) else metric,
            )
        if not isinstance(window, Token):
            raise Fault(
                f"The second argument of {function} is a window such as 10s, 5m or 2h.", window.meta
            )
        width = _window(window)
        if season is not None and season < width:
            raise Fault("A season is at least as long as the window.", window)
        aggregate = Aggregate(str(function), metric.node.metric, width, share, season or 0)
        if aggregate.history_us > MAX_WINDOW_US:
            raise Fault("A season and twice the window may be 30 days together.", window)
        return At(aggregate, meta)

    def _quantile(self, function: Token, arguments: list[Any]) -> tuple[Any, float, Any]:
        if len(arguments) != 3:
            raise Fault(
                "quantile takes a metric, a share and a window: quantile(vibration, 0.95, 10m).",
                function,
            )
        metric, share, window = arguments
        known = isinstance(share, At) and isinstance(share.node, Number)
        if not known or not 0 < share.node.value < 1:
            raise Fault(
                "The second argument of quantile is a number between 0 and 1, such as 0.95.",
                share.meta if isinstance(share, At) else share,
            )
        return metric, share.node.value, window

    def compare(self, meta: Meta, parts: list[Any]) -> At:
        left, op, right = parts
        if op not in ("<", "<=", ">", ">="):
            raise Fault(NEVER_EQUAL, op)
        return At(Binary(str(op), _number(left).node, _number(right).node), meta)

    def neg(self, meta: Meta, parts: list[At]) -> At:
        return At(Unary("neg", _number(parts[0]).node), meta)

    def not_(self, meta: Meta, parts: list[At]) -> At:
        return At(Unary("not", need_truth(parts[0], 'after "not"').node), meta)


def _numbers(op: str) -> Callable[[ExpressionBuilder, Meta, list[At]], At]:
    def build(_: ExpressionBuilder, meta: Meta, parts: list[At]) -> At:
        left, right = parts
        return At(Binary(op, _number(left).node, _number(right).node), meta)

    return build


def _truths(op: str) -> Callable[[ExpressionBuilder, Meta, list[At]], At]:
    def build(_: ExpressionBuilder, meta: Meta, parts: list[At]) -> At:
        left, right = (need_truth(part, f'beside "{op}"') for part in parts)
        return At(Binary(op, left.node, right.node), meta)

    return build


for _name, _op in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/")):
    setattr(ExpressionBuilder, _name, v_args(meta=True)(_numbers(_op)))
for _name, _op in (("and_", "and"), ("or_", "or")):
    setattr(ExpressionBuilder, _name, v_args(meta=True)(_truths(_op)))


def need_truth(part: At, where: str) -> At:
    """The part as a condition: a bare anomaly score is one."""
    if isinstance(part.node, Aggregate) and part.node.function == "anomaly":
        return At(Binary(">", Unary("abs", part.node), Number(ANOMALOUS)), part.meta)
    if not is_truth(part.node):
        raise Fault(
            f"A condition is needed {where}, such as avg(temperature, 5m) > 30; this is a number.",
            part.meta,
        )
    return part


def _number(part: At) -> At:
    if is_truth(part.node):
        raise Fault("A number is needed here; this is a condition (true or false).", part.meta)
    return part


def unquote(token: Token) -> str:
    return str(token)[1:-1] if token.type == "STRING" else str(token)


def _metric(token: Token) -> str:
    name = unquote(token)
    if not re.fullmatch(r"[A-Za-z0-9_\-:./]{1,64}", name):
        raise Fault("A metric's name has 1 to 64 of letters, digits and _ - : . /", token)
    return name


def duration_of(token: Token) -> int:
    try:
        total = parse_duration(str(token))
    except Invalid as error:
        raise Fault(error.detail, token) from error
    if total > MAX_WINDOW_US:
        raise Fault("A duration may be 30 days long.", token)
    return total


def _window(token: Token) -> int:
    width = duration_of(token)
    if width < MIN_WINDOW_US:
        raise Fault("A window is at least 1 second long.", token)
    return width


def _season(function: Token, named: _Named) -> int:
    if named.name != "season":
        raise Fault('Before a duration may stand "season", as in season 1d.', named.name)
    if function not in SEASONAL:
        raise Fault(f"Only {' and '.join(SEASONAL)} know a season.", named.name)
    season = duration_of(named.duration)
    if not MIN_SEASON_US <= season <= MAX_SEASON_US:
        raise Fault("A season is 1 minute to 14 days long, such as 1d or 7d.", named.duration)
    return season
