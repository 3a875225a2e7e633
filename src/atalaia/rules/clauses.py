"""Rules and their clauses: from lark's tree to RuleSpecs, bottom-up."""

from collections.abc import Sequence
from typing import Any

import attrs
from lark import Token, v_args
from lark.tree import Meta

from atalaia.model.errors import Invalid
from atalaia.rules.expressions import (
    MIN_WINDOW_US,
    At,
    ExpressionBuilder,
    duration_of,
    need_truth,
    unquote,
)
from atalaia.rules.faults import Fault
from atalaia.rules.schedule import parse_schedule
from atalaia.rules.syntax import (
    MAX_METRICS,
    SEVERITY_ORDER,
    Level,
    RuleSpec,
    Selector,
    Silence,
    TagTest,
    shorten,
    size,
)

MAX_NODES = 200  # bounds the cost of one judgement, and the stack of its programs
_MAX_NAME_CHARS = 64


@attrs.frozen
class _Clause:
    """What a clause says, with where it stands."""

    value: Any
    meta: Meta


@v_args(meta=True)
class RuleBuilder(ExpressionBuilder):
    """What a text says. Raises Fault for what it cannot mean."""

    def start(self, _: Meta, rules: list[tuple[RuleSpec, Meta]]) -> list[RuleSpec]:
        names: set[str] = set()
        for rule, name_at in rules:
            if rule.name in names:
                raise Fault(f'Two rules are named "{rule.name}".', name_at)
            names.add(rule.name)
        return [rule for rule, _ in rules]

    def rule(self, meta: Meta, parts: list[Any]) -> tuple[RuleSpec, Meta]:
        name, selector, when, *clauses = parts
        hold, during, clear, severity, no_data, cooldown = (
            None if clause is None else clause.value for clause in clauses
        )
        when = need_truth(when, 'after "when"')
        spec = RuleSpec(
            name=name.value,
            text=self._text[meta.start_pos : meta.end_pos],
            selector=selector,
            when=when.node,
            for_us=hold or 0,
            clear=None if clear is None else clear[0].node,
            clear_for_us=0 if clear is None else clear[1],
            levels=severity or (Level("warning", None),),
            schedule=during,
            on_no_data=no_data or "keep",
            cooldown_us=cooldown or 0,
            has_units=any(meta.start_pos <= at < meta.end_pos for at in self._units),
        )
        trees = [spec.when, spec.clear, *(level.when for level in spec.levels)]
        if sum(size(tree) for tree in trees if tree is not None) > MAX_NODES:
            raise Fault(
                f"A rule may have {MAX_NODES} numbers, aggregates and operators.", when.meta
            )
        if spec.silence is not None:
            _check_silence(spec, clauses)
        elif not spec.aggregates:
            raise Fault(
                "The rule looks at no metric; name one, such as avg(temperature, 5m).", when.meta
            )
        if len(spec.metrics) > MAX_METRICS:
            raise Fault(f"A rule may look at {MAX_METRICS} metrics.", when.meta)
        return spec, name.meta

    def name(self, meta: Meta, parts: list[Token]) -> _Clause:
        text = unquote(parts[0])
        if not text.strip() or len(text) > _MAX_NAME_CHARS:
            raise Fault(f"A rule's name has 1 to {_MAX_NAME_CHARS} characters.", meta)
        return _Clause(text, meta)

    def all_sensors(self, _: Meta, __: list[Any]) -> Selector:
        return Selector()

    def by_pattern(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(name=unquote(parts[0]))

    def by_group(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(tags=(TagTest("group", unquote(parts[0]), exact=True),))

    def by_name(self, _: Meta, parts: list[Token]) -> Selector:
        return Selector(name=unquote(parts[0]), exact=True)

    def by_tags(self, _: Meta, tests: list[TagTest]) -> Selector:
        return Selector(tags=tuple(tests))

    def tag_equals(self, _: Meta, parts: list[Token]) -> TagTest:
        return TagTest(str(parts[0]), unquote(parts[1]), exact=True)

    def tag_like(self, _: Meta, parts: list[Token]) -> TagTest:
        return TagTest(str(parts[0]), unquote(parts[1]), exact=False)

    def silence(self, meta: Meta, parts: list[Token]) -> At:
        after = duration_of(parts[1])
        if after < MIN_WINDOW_US or after % 1_000_000:
            raise Fault("Silence is counted in whole seconds, at least one.", parts[1])
        return At(Silence(after), meta)

    def hold(self, meta: Meta, parts: list[Token]) -> _Clause:
        return _Clause(duration_of(parts[0]), meta)

    def during(self, meta: Meta, parts: list[Any]) -> _Clause:
        days, clock, zone = parts
        try:
            schedule = parse_schedule(str(days), clock and str(clock), str(zone))
            return _Clause(schedule, meta)
        except Invalid as error:
            raise Fault(error.detail, clock or zone) from error

    def no_data(self, meta: Meta, parts: list[Token]) -> _Clause:
        if parts[0] not in ("keep", "clear", "alert"):
            raise Fault('After "on no data" stands keep, clear or alert.', parts[0])
        return _Clause(str(parts[0]), meta)

    def cooldown(self, meta: Meta, parts: list[Token]) -> _Clause:
        return _Clause(duration_of(parts[0]), meta)

    def clear(self, meta: Meta, parts: list[Any]) -> _Clause:
        condition, hold = parts
        condition = need_truth(condition, 'after "clear when"')
        return _Clause((condition, 0 if hold is None else hold.value), meta)

    def severity(self, meta: Meta, parts: list[Any]) -> _Clause:
        levels = [Level(_severity(parts[0]), None)]
        for token, condition in parts[1:]:
            level = Level(_severity(token), condition.node)
            if SEVERITY_ORDER.index(level.severity) <= SEVERITY_ORDER.index(levels[-1].severity):
                raise Fault("Each severity must be higher than the one before it.", token)
            levels.append(level)
        return _Clause(tuple(levels), meta)

    def level(self, _: Meta, parts: list[Any]) -> tuple[Token, At]:
        token, condition = parts
        return token, need_truth(condition, 'after a severity\'s "when"')


def _severity(token: Token) -> str:
    if token not in SEVERITY_ORDER:
        raise Fault(
            f'There is no severity "{shorten(token)}"; there are info, warning, critical.', token
        )
    return str(token)


def _check_silence(spec: RuleSpec, clauses: Sequence[_Clause | None]) -> None:
    """Raises Fault at the first clause that a rule of silence cannot have."""
    hold, during, clear, severity, no_data, _ = clauses
    levels = severity if len(spec.levels) > 1 else None
    for clause, advice in (
        (hold, '"no data for" says how long already'),
        (during, "silence is looked for at any time"),
        (clear, "it clears by itself with the next reading"),
        (levels, "it has one severity"),
        (no_data, "it is about no data as it is"),
    ):
        if clause is not None and clause.value:
            raise Fault(
                f"A rule of silence has no such part: {advice}. It takes a severity and a "
                "cooldown; leave this out.",
                clause.meta,
            )
