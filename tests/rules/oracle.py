"""A naive engine in plain Python: every window is a list comprehension over all readings.

Shares no code with the engine but the parsed rule. Slow, and easy to believe.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from atalaia.rules.syntax import Aggregate, Binary, Node, Number, RuleSpec, Unary

Reading = tuple[str, int, float]  # metric, ts µs, value
Step = tuple[str, int, str]  # kind, time, severity
Value = float | bool | None


def _aggregate(name: str, points: list[tuple[int, float]]) -> float | None:
    values = [value for _, value in points]
    if name == "count":
        return float(len(values))
    if not values or (name in ("stddev", "rate") and len(values) < 2):
        return None
    change = values[-1] - values[0]
    table: dict[str, Callable[[], float]] = {
        "sum": lambda: math.fsum(values),
        "avg": lambda: math.fsum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "stddev": lambda: statistics.stdev(values),
        "first": lambda: values[0],
        "last": lambda: values[-1],
        "delta": lambda: change,
        "rate": lambda: change / ((points[-1][0] - points[0][0]) / 1e6),
    }
    return table[name]()


def evaluate(node: Node | None, readings: Sequence[Reading], now: int) -> Any:
    match node:
        case Number(value):
            return value
        case Aggregate(function, metric, width):
            inside = sorted(
                (t, v) for m, t, v in readings if m == metric and now - width < t <= now
            )
            return _aggregate(function, inside)
        case Unary(op, operand):
            x = evaluate(operand, readings, now)
            if x is None:
                return None
            return -x if op == "neg" else abs(x) if op == "abs" else not x
        case Binary("and", left, right):
            pair = [evaluate(left, readings, now), evaluate(right, readings, now)]
            return False if False in pair else None if None in pair else True
        case Binary("or", left, right):
            pair = [evaluate(left, readings, now), evaluate(right, readings, now)]
            return True if True in pair else None if None in pair else False
        case Binary(op, left, right):
            a, b = evaluate(left, readings, now), evaluate(right, readings, now)
            if a is None or b is None or (op == "/" and b == 0):
                return None
            return {
                "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b,
                "<": lambda: a < b, "<=": lambda: a <= b, ">": lambda: a > b, ">=": lambda: a >= b,
            }[op]()  # fmt: skip
    raise AssertionError


def run(spec: RuleSpec, groups: Sequence[Sequence[Reading]]) -> list[Step]:
    """The transitions of one rule at one sensor; each group is of one time."""
    seen: list[Reading] = []
    steps: list[Step] = []
    phase, since, opened, last = "idle", 0, None, None
    severity = ""
    for group in groups:
        seen.extend(group)
        if not {metric for metric, _, _ in group} & set(spec.metrics):
            continue
        now = max(ts for _, ts, _ in seen)
        silent = last is not None and now - last > spec.gap_us
        last = now
        truth = evaluate(spec.when, seen, now)
        if phase in ("idle", "pending"):
            if truth is not True:
                phase = "idle"
                continue
            if phase == "idle" or silent:
                phase, since = "pending", now
            if now - since >= spec.for_us and opened != now:
                phase, opened = "open", now
                severity = _severity(spec, seen, now, "")
                steps.append(("opened", now, severity))
            continue
        gone = evaluate(spec.clear, seen, now) if spec.clear is not None else (
            None if truth is None else not truth
        )  # fmt: skip
        if gone is True:
            if phase == "open" or silent:
                phase, since = "clearing", now
            if now - since >= spec.clear_for_us:
                phase = "idle"
                steps.append(("cleared", now, severity))
                continue
        else:
            phase = "open"
        level = _severity(spec, seen, now, severity)
        if level != severity:
            rank = [x.severity for x in spec.levels]
            up = rank.index(level) > rank.index(severity)
            steps.append(("raised" if up else "lowered", now, level))
            severity = level
    return steps


def _severity(spec: RuleSpec, seen: Sequence[Reading], now: int, current: str) -> str:
    names = [level.severity for level in spec.levels]
    result = names[0]
    for level in spec.levels[1:]:
        truth = evaluate(level.when, seen, now)
        kept = current in names and names.index(current) >= names.index(level.severity)
        if truth is True or (truth is None and kept):
            result = level.severity
    return result
