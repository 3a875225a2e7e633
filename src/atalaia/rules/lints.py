"""Rules that are understood and yet cannot be meant: what is odd, where, and what to do.

Only what is certain is said; a rule without a lint may still be a bad one. Pure: what there is to
know of the tenant comes in as `Surroundings`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from atalaia.model.batch import SENSOR_NAME
from atalaia.rules.places import ClausePlace, Place, RulePlaces, find_places
from atalaia.rules.regions import (
    Case,
    Interval,
    cases,
    comparisons,
    join,
)
from atalaia.rules.syntax import (
    Aggregate,
    Binary,
    Node,
    Number,
    RuleSpec,
    Selector,
    Unary,
    aggregates,
    duration_text,
    shorten,
)

_NEEDED = {"stddev": 2, "rate": 2, "delta": 2, "zscore": 9, "anomaly": 9}
"""Readings without which an aggregate says nothing."""


@attrs.frozen
class Lint:
    """One oddity. message says what to do; line and column count from 1 in the text sent."""

    code: str
    message: str
    line: int
    column: int


@attrs.frozen
class Surroundings:
    """What is known beside the rules: None and empty where it is not.

    others: rules in force by name; those of the text take the place of their namesakes.
    matches: per name of a rule of the text, how many sensors it matches now.
    """

    others: Mapping[str, RuleSpec] = attrs.field(factory=dict)
    matches: Mapping[str, int] = attrs.field(factory=dict)
    retention_us: int | None = None
    interval_us: int | None = None


def find_lints(
    text: str, rules: Sequence[RuleSpec], around: Surroundings
) -> list[tuple[Lint, ...]]:
    """The lints of each rule that `parse_rules` found in the text, in the order of the text."""
    names = {rule.name for rule in rules}
    twins = {
        other.condition_key: name for name, other in around.others.items() if name not in names
    }
    found = []
    for rule, places in zip(rules, find_places(text), strict=True):
        lints = [
            *_conditions(rule, places),
            *_holds(rule, places, around.interval_us),
            *_windows(rule, places, around),
        ]
        twin = twins.setdefault(rule.condition_key, rule.name)
        if twin != rule.name:
            message = f'The rule "{twin}" judges the same: every alert would come twice. Keep one.'
            lints.append(_lint("duplicate_rule", places.at, message))
        impossible = _impossible_name(rule.selector)
        if impossible is not None:
            lints.append(_lint("impossible_name", places.selector, impossible))
        elif around.matches.get(rule.name) == 0:
            message = "No sensor matches now; the rule waits for some. Check names and tags."
            lints.append(_lint("no_sensors", places.selector, message))
        found.append(tuple(sorted(lints, key=lambda lint: (lint.line, lint.column))))
    return found


def _lint(code: str, at: Place, message: str) -> Lint:
    return Lint(code, message, *at)


def _impossible_name(selector: Selector) -> str | None:
    """What is wrong with a selector that no sensor's name can ever match."""
    name = selector.name
    if name is None:
        return None
    if SENSOR_NAME.fullmatch(
        name if selector.exact else re.sub(r"\*+", "", name).replace("?", "_") or "_"
    ):
        return None
    quoted = f'"{shorten(name)}"'
    if selector.exact and re.search(r"[*?]", name):
        return f"No sensor has this very name; a pattern is written sensors {quoted}."
    return (
        f"No sensor can be named {quoted}: names have 1 to 128 of letters, digits and _ - : . "
        "(* and ? in patterns)."
    )


def _clauses(rule: RuleSpec, places: RulePlaces) -> Iterator[tuple[Node, ClausePlace]]:
    yield rule.when, places.when
    if rule.clear is not None and places.clear is not None:
        yield rule.clear, places.clear
    for level, place in zip(rule.levels[1:], places.levels, strict=True):
        if level.when is not None:
            yield level.when, place


def _conditions(rule: RuleSpec, places: RulePlaces) -> Iterator[Lint]:
    """What intervals say: of each comparison, of each clause, and of the clauses together."""
    odd: set[Node] = set()
    for clause, place in _clauses(rule, places):
        for comparison, at in _placed(clause, place):
            holds, fails = cases(comparison), cases(comparison, holds=False)
            if holds and fails:
                continue
            odd.add(clause)
            code, word = ("always_true", "always holds") if holds else ("never_true", "never holds")
            yield _lint(
                code, at, f"`{show(comparison)}` {word}; compare with another number or drop it."
            )
    # Where unknown counts as true, a condition that never holds opens alerts all the same.
    if rule.when not in odd and rule.on_no_data != "alert":
        if not cases(rule.when):
            yield _lint(
                "never_fires", places.when.at,
                "The condition contradicts itself: no alert can ever open.",
            )  # fmt: skip
        elif not cases(rule.when, holds=False):
            yield _lint(
                "always_fires", places.when.at,
                "The condition holds whatever the readings are; make it say less.",
            )  # fmt: skip
        else:
            if rule.clear is not None and places.clear is not None and rule.clear not in odd:
                yield from _clearing(rule.when, rule.clear, places.clear.at)
            if not odd:
                yield from _levels(rule, places)


def _clearing(when: Node, clear: Node, at: Place) -> Iterator[Lint]:
    if not cases(clear):
        yield _lint(
            "never_clears", at,
            "`clear when` contradicts itself: an alert would stay open for ever.",
        )  # fmt: skip
        return
    for case in join(cases(when), cases(clear)):
        if _independent(case):
            yield _lint(
                "clear_overlaps", at,
                f"Both `when` and `clear when` hold while {_show_case(case)}: the alert would "
                "close and open again and again. Let `clear when` begin where `when` has ended.",
            )  # fmt: skip
            return


def _levels(rule: RuleSpec, places: RulePlaces) -> Iterator[Lint]:
    levels = [
        (level.severity, level.when, place.at)
        for level, place in zip(rule.levels[1:], places.levels, strict=True)
        if level.when is not None
    ]
    for n, (severity, when, at) in enumerate(levels):
        lower = levels[n - 1][0] if n else rule.levels[0].severity
        if not _while_open(rule, when, holds=True):
            yield _lint(
                "level_never", at,
                f"No open alert can be {severity}: its condition never holds together with "
                "`when`. Make it a part of `when`, or leave it out.",
            )  # fmt: skip
        elif not _while_open(rule, when, holds=False):
            yield _lint(
                "level_always", at,
                f"Every open alert is {severity} or more: its condition holds whenever `when` "
                f"does. Make it narrower than `when`, or leave out {lower}.",
            )  # fmt: skip
        elif hidden := next(
            (
                higher
                for higher, other, _ in levels[n + 1 :]
                if not join(cases(when), cases(other, holds=False))
            ),
            None,
        ):
            yield _lint(
                "level_hidden", at,
                f"No alert is ever {severity}: whenever its condition holds, that of {hidden} "
                f"holds too. Make the condition of {hidden} narrower.",
            )  # fmt: skip


def _while_open(rule: RuleSpec, level: Node, *, holds: bool) -> bool:
    """Whether a level's condition can hold (or be false) while an alert is open.

    It is looked at when the alert opens, and after that unless the alert is cleared at once.
    """
    if join(cases(rule.when), cases(level, holds=holds)):
        return True
    if rule.clear is None:
        return False
    if rule.clear_for_us:
        return bool(cases(level, holds=holds))
    return bool(join(cases(rule.clear, holds=False), cases(level, holds=holds)))


def _holds(rule: RuleSpec, places: RulePlaces, interval_us: int | None) -> Iterator[Lint]:
    clauses = [(rule.for_us, places.when.hold)]
    if places.clear is not None:
        clauses.append((rule.clear_for_us, places.clear.hold))
    for hold_us, at in clauses:
        if at is None:
            continue
        if hold_us == 0:
            yield _lint("hold_without_effect", at, "`for 0s` has no effect; leave it out.")
        elif interval_us is None:
            continue
        elif interval_us > rule.gap_us:
            yield _lint(
                "hold_never_passes", at,
                f"A silence longer than the longest window ({duration_text(rule.gap_us)}) begins "
                f"`for` anew, and readings come every {duration_text(interval_us)}: it never "
                "passes. Take a window of several readings.",
            )  # fmt: skip
        elif hold_us < interval_us:
            yield _lint(
                "hold_below_interval", at,
                f"Readings come every {duration_text(interval_us)}: `for "
                f"{duration_text(hold_us)}` means two readings in a row, whatever it says.",
            )  # fmt: skip


def _windows(rule: RuleSpec, places: RulePlaces, around: Surroundings) -> Iterator[Lint]:
    seen: set[Aggregate] = set()
    for clause, place in _clauses(rule, places):
        for comparison, at in _placed(clause, place):
            for aggregate in aggregates(comparison):
                if aggregate in seen:
                    continue
                seen.add(aggregate)
                window = duration_text(aggregate.window_us)
                history = aggregate.history_us
                if around.retention_us is not None and history > around.retention_us:
                    looks = f"the window of {window}"
                    if aggregate.season_us:
                        looks = f"`{aggregate}`, which looks {duration_text(history)} back,"
                    yield _lint(
                        "window_beyond_retention", at,
                        f"Readings are kept for {duration_text(around.retention_us)}: after a "
                        f"restart {looks} would lack the older ones. Shorten it.",
                    )  # fmt: skip
                needed = _NEEDED.get(aggregate.function, 1)
                held = -(-aggregate.window_us // (around.interval_us or 1))
                if around.interval_us is not None and held < needed:
                    yield _lint(
                        "window_below_interval", at,
                        f"{aggregate.function} needs {needed} readings; a window of {window} holds "
                        f"{held} when they come every {duration_text(around.interval_us)}. "
                        "Take a longer one.",
                    )  # fmt: skip


def _placed(clause: Node, place: ClausePlace) -> Iterator[tuple[Binary, Place]]:
    """The comparisons with their places; that of the clause where the text shows another form."""
    found = list(comparisons(clause))
    known = len(found) == len(place.comparisons)
    return zip(found, place.comparisons if known else [place.at] * len(found), strict=True)


def _independent(case: Case) -> bool:
    """Whether readings can be found for these bounds: one aggregate for each metric."""
    metrics = [node.metric for node in case if isinstance(node, Aggregate)]
    return 0 < len(case) == len(metrics) == len(set(metrics))


def _show_case(case: Case) -> str:
    return " and ".join(_show_bounds(show(node), interval) for node, interval in case.items())


def _show_bounds(name: str, interval: Interval) -> str:
    low, high = _number(interval.low), _number(interval.high)
    if interval.low == interval.high:
        return f"`{name}` is {low}"
    above = f"{'>=' if interval.low_in else '>'} {low}" if math.isfinite(interval.low) else ""
    below = f"{'<=' if interval.high_in else '<'} {high}" if math.isfinite(interval.high) else ""
    return f"`{name} {' and '.join(filter(None, (above, below)))}`"


_STRENGTH = {"or": 1, "and": 2, "<": 4, "<=": 4, ">": 4, ">=": 4, "+": 5, "-": 5, "*": 6, "/": 6}


def show(node: Node, around: int = 0) -> str:
    """A condition as it could be written."""
    match node:
        case Number(value):
            return _number(value)
        case Unary("abs", operand):
            return f"abs({show(operand)})"
        case Unary(op, operand):
            return f"-{show(operand, 7)}" if op == "neg" else f"not {show(operand, 3)}"
        case Binary(op, left, right):
            strength = _STRENGTH[op]
            text = f"{show(left, strength)} {op} {show(right, strength + 1)}"
            return f"({text})" if strength < around else text
    return str(node)


def _number(value: float) -> str:
    return f"{value:.15g}"
