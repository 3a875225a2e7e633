"""Rules and their clauses: from lark's tree to RuleSpecs, bottom-up."""

from typing import Any

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
from atalaia.rules.schedule import Schedule, parse_schedule
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


@v_args(meta=True)
class RuleBuilder(ExpressionBuilder):
    """What a text says. Raises Fault for what it cannot mean."""

    def start(self, meta: Meta, rules: list[RuleSpec]) -> list[RuleSpec]:
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise Fault(f'Two rules are named "{name}".', meta)
        return rules

    def rule(self, meta: Meta, parts: list[Any]) -> RuleSpec:
        name, selector, when, hold, during, clear, severity, no_data, cooldown = parts
        when = need_truth(when, 'after "when"')
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
            raise Fault(f"A rule may have {MAX_NODES} numbers, aggregates and operators.", meta)
        if spec.silence is not None:
            if hold or during or clear or no_data or len(spec.levels) > 1:
                raise Fault(
                    "A rule of silence has a severity and a cooldown besides; it clears by itself "
                    "with the next reading.",
                    meta,
                )
            return spec
        if not spec.aggregates:
            raise Fault(
                "The rule looks at no metric; name one, such as avg(temperature, 5m).", meta
            )
        if len(spec.metrics) > MAX_METRICS:
            raise Fault(f"A rule may look at {MAX_METRICS} metrics.", meta)
        return spec

    def name(self, meta: Meta, parts: list[Token]) -> str:
        text = unquote(parts[0])
        if not text.strip() or len(text) > _MAX_NAME_CHARS:
            raise Fault(f"A rule's name has 1 to {_MAX_NAME_CHARS} characters.", meta)
        return text

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

    def hold(self, _: Meta, parts: list[Token]) -> int:
        return duration_of(parts[0])

    def during(self, meta: Meta, parts: list[Any]) -> Schedule:
        days, clock, zone = parts
        try:
            return parse_schedule(str(days), None if clock is None else str(clock), str(zone))
        except Invalid as error:
            raise Fault(error.detail, clock or zone) from error

    def no_data(self, _: Meta, parts: list[Token]) -> str:
        if parts[0] not in ("keep", "clear", "alert"):
            raise Fault('After "on no data" stands keep, clear or alert.', parts[0])
        return str(parts[0])

    def cooldown(self, _: Meta, parts: list[Token]) -> int:
        return duration_of(parts[0])

    def clear(self, _: Meta, parts: list[Any]) -> tuple[At, int | None]:
        return need_truth(parts[0], 'after "clear when"'), parts[1]

    def severity(self, _: Meta, parts: list[Any]) -> tuple[Level, ...]:
        levels = [Level(_severity(parts[0]), None)]
        for token, condition in parts[1:]:
            level = Level(_severity(token), condition.node)
            if SEVERITY_ORDER.index(level.severity) <= SEVERITY_ORDER.index(levels[-1].severity):
                raise Fault("Each severity must be higher than the one before it.", token)
            levels.append(level)
        return tuple(levels)

    def level(self, _: Meta, parts: list[Any]) -> tuple[Token, At]:
        token, condition = parts
        return token, need_truth(condition, 'after a severity\'s "when"')


def _severity(token: Token) -> str:
    if token not in SEVERITY_ORDER:
        raise Fault(
            f'There is no severity "{shorten(token)}"; there are info, warning, critical.', token
        )
    return str(token)
