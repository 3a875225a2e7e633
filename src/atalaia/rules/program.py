"""Rules to flat arrays: what the kernel reads. One compile of the kernel serves every rule set.

A shape is the list of rules that watch a sensor. Sensors of one shape share its metrics, windows,
atoms (one function of one window) and postfix programs.
"""

from collections.abc import Sequence
from functools import cached_property
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import RuleNo
from atalaia.rules.scanning import ANOMALY, EWMA, MAD, QUANTILE, ZSCORE, scan_shift
from atalaia.rules.schedule import Schedule
from atalaia.rules.syntax import (
    MAX_METRICS,
    SEVERITY_ORDER,
    Aggregate,
    Binary,
    Node,
    Number,
    RuleSpec,
    Unary,
)
from atalaia.rules.windows import (
    NEEDS_ENDS,
    NEEDS_EXTREMES,
    NEEDS_SPREAD,
    W_FUNCTION,
    W_METRIC,
    W_SEASON,
    W_SHIFT,
    W_WIDTH,
    WINDOW,
    pane_shift,
)

# Opcodes of the postfix programs. CONST and ATOM take an index as argument; a comparison with
# COMPARE added takes an atom and a constant: most conditions are that one operation.
CONST, ATOM, ADD, SUB, MUL, DIV, NEG, ABS, LT, LE, GT, GE, AND, OR, NOT, COMPARE = range(16)
_BINARY = {
    "+": ADD, "-": SUB, "*": MUL, "/": DIV, "<": LT, "<=": LE, ">": GT, ">=": GE,
    "and": AND, "or": OR,
}  # fmt: skip
_MIRRORED = {LT: GT, LE: GE, GT: LT, GE: LE}
_UNARY = {"neg": NEG, "abs": ABS, "not": NOT}

FUNCTIONS = (
    "count", "sum", "avg", "min", "max", "stddev", "first", "last", "delta", "rate", "scan",
)  # fmt: skip
"""A function's number is its place here; `scan` is the value of a scanned window."""

_SCANS = {
    "quantile": QUANTILE, "median": QUANTILE, "mad": MAD, "ewma": EWMA, "zscore": ZSCORE,
    "anomaly": ANOMALY,
}  # fmt: skip

NO_DATA = ("keep", "clear", "alert")
"""The number of what a rule does when its condition is unknown is its place here."""

_NEEDS = {
    "min": NEEDS_EXTREMES, "max": NEEDS_EXTREMES, "stddev": NEEDS_SPREAD, "first": NEEDS_ENDS,
    "last": NEEDS_ENDS, "delta": NEEDS_ENDS, "rate": NEEDS_ENDS,
}  # fmt: skip

RULE = 9
"""Columns of the table of rules."""


@attrs.frozen
class ActiveRule:
    """An enabled rule in its compiled form."""

    rule_no: RuleNo
    rule_id: UUID
    version: int
    spec: RuleSpec


@attrs.frozen(eq=False)
class Shape:
    """The arrays of one list of rules. Offsets count from the start of these arrays.

    windows[w] = (metric, width µs, what is needed of it, shift of its panes or grid, class of its
    metric, mask of the metrics whose readings make some rule look at it, scan, parameter, season);
    classes[c] = (pane shift, needs spread), those of metric m from class_at[m] to
    class_at[m + 1]; atoms[a] = (window, function);
    rules[r] = (metric mask, for, clear for, gap, first program, programs, first level's severity,
    what to do on no data, schedule or -1)
    with its programs in this order: when, clear (empty: not when), one per further level;
    programs[p] = (first op, ops, severity); ops[o] = (code, argument, argument).
    """

    rules: tuple[ActiveRule, ...]
    metrics: tuple[str, ...]
    windows: Int64s
    classes: Int64s
    class_at: tuple[int, ...]
    atoms: Int64s
    rule_table: Int64s
    programs: Int64s
    ops: Int64s
    constants: Floats
    rule_atoms: tuple[Int32s, ...]
    schedules: tuple[Schedule, ...]

    @cached_property
    def reaches(self) -> tuple[int, ...]:
        """`reach_us` of every metric."""
        return tuple(self.reach_us(metric) for metric in range(len(self.metrics)))

    def reach_us(self, metric: int) -> int:
        """How far back the windows over this metric look: scanned ones a grid step more."""
        mine = self.windows[self.windows[:, W_METRIC] == metric]
        steps = np.where(mine[:, W_FUNCTION] > 0, 1 << mine[:, W_SHIFT], 0)
        seasons = mine[:, W_SEASON]
        seasons = seasons + np.where(seasons > 0, mine[:, W_WIDTH], 0)
        return int((mine[:, W_WIDTH] + steps + seasons).max()) if len(mine) else 0


@attrs.define(eq=False)
class _Builder:
    metrics: dict[str, int] = attrs.field(factory=dict)
    windows: dict[tuple[int, int, int, int, int], int] = attrs.field(factory=dict)
    needs: dict[int, int] = attrs.field(factory=dict)
    atoms: dict[Aggregate, int] = attrs.field(factory=dict)
    atom_rows: list[tuple[int, int]] = attrs.field(factory=list)
    programs: list[tuple[int, int, int]] = attrs.field(factory=list)
    ops: list[tuple[int, int, int]] = attrs.field(factory=list)
    constants: list[float] = attrs.field(factory=list)

    def atom(self, aggregate: Aggregate) -> int:
        if aggregate not in self.atoms:
            metric = self.metrics.setdefault(aggregate.metric, len(self.metrics))
            scan = _SCANS.get(aggregate.function, 0)
            parameter = round(1e6 * (aggregate.parameter or 0.5)) if scan else 0
            key = (metric, aggregate.window_us, scan, parameter, aggregate.season_us)
            window = self.windows.setdefault(key, len(self.windows))
            needs = self.needs.get(window, 0) | _NEEDS.get(aggregate.function, 0)
            self.needs[window] = needs
            self.atoms[aggregate] = len(self.atom_rows)
            self.atom_rows.append((window, FUNCTIONS.index("scan" if scan else aggregate.function)))
        return self.atoms[aggregate]

    def lay_out_panes(
        self, masks: Sequence[int]
    ) -> tuple[list[tuple[int, ...]], list[tuple[int, int]], list[int]]:
        """Windows, classes and class_at: windows of one metric and pane width share records."""
        classes: list[tuple[int, int]] = []
        class_at = [0]
        place: dict[int, int] = {}
        for metric in range(len(self.metrics)):
            mine = [
                (pane_shift(x), w)
                for (m, x, scan, _, _), w in self.windows.items()
                if m == metric and not scan
            ]
            for number, shift in enumerate(sorted({shift for shift, _ in mine})):
                sharing = {w for s, w in mine if s == shift}
                place |= dict.fromkeys(sharing, number)
                spread = any(self.needs[w] & NEEDS_SPREAD for w in sharing)
                classes.append((shift, int(spread)))
            class_at.append(len(classes))
        windows: list[tuple[int, ...]] = [
            (
                metric,
                width,
                self.needs[w],
                scan_shift(width) if scan else pane_shift(width),
                place.get(w, 0),
                masks[w],
                scan,
                parameter,
                season,
            )
            for (metric, width, scan, parameter, season), w in self.windows.items()
        ]
        return windows, classes, class_at

    def program(self, node: Node | None, severity: int) -> None:
        start = len(self.ops)
        if node is not None:
            self._emit(node)
        self.programs.append((start, len(self.ops) - start, severity))

    def _emit(self, node: Node) -> None:
        match node:
            case Number(value):
                self.ops.append((CONST, self.constant(value), 0))
            case Aggregate():
                self.ops.append((ATOM, self.atom(node), 0))
            case Unary(op, operand):
                self._emit(operand)
                self.ops.append((_UNARY[op], 0, 0))
            case Binary(op, Aggregate() as left, Number(value)) if _BINARY[op] in _MIRRORED:
                self.ops.append((COMPARE + _BINARY[op], self.atom(left), self.constant(value)))
            case Binary(op, Number(value), Aggregate() as right) if _BINARY[op] in _MIRRORED:
                code = COMPARE + _MIRRORED[_BINARY[op]]
                self.ops.append((code, self.atom(right), self.constant(value)))
            case Binary(op, left, right):
                self._emit(left)
                self._emit(right)
                self.ops.append((_BINARY[op], 0, 0))

    def constant(self, value: float) -> int:
        self.constants.append(value)
        return len(self.constants) - 1


def fitting(rules: Sequence[ActiveRule]) -> int:
    """How many of these rules, from the first on, look at no more metrics than a mask holds.

    To take out any rule lets others in and none out; so does a rule that fits beside all others.
    """
    metrics: set[str] = set()
    for count, rule in enumerate(rules):
        metrics.update(rule.spec.metrics)
        if len(metrics) > MAX_METRICS:
            return count
    return len(rules)


def crowding(before: Sequence[ActiveRule], after: Sequence[ActiveRule]) -> ActiveRule | None:
    """A rule of a sensor that a change of its rules would leave out, both in the order of their
    age; None when they fit, or fit no worse: whoever has too many may go down step by step.
    """
    left = {rule.rule_no for rule in before[fitting(before) :]}
    out = after[fitting(after) :]
    for rule in out:
        if rule.rule_no not in left:
            return rule
    return out[0] if out and len(_metrics(after)) > len(_metrics(before)) else None


def _metrics(rules: Sequence[ActiveRule]) -> set[str]:
    return {metric for rule in rules for metric in rule.spec.metrics}


def build_shape(rules: Sequence[ActiveRule]) -> Shape:
    """The arrays of rules that fit (`fitting`)."""
    builder = _Builder()
    rows = []
    schedules: list[Schedule] = []
    for rule in rules:
        spec = rule.spec
        first = len(builder.programs)
        severities = [SEVERITY_ORDER.index(level.severity) for level in spec.levels]
        builder.program(spec.when, severities[0])
        builder.program(spec.clear, severities[0])
        for level, severity in zip(spec.levels[1:], severities[1:], strict=True):
            builder.program(level.when, severity)
        mask = 0
        for metric in spec.metrics:
            mask |= 1 << builder.metrics[metric]
        mask -= (mask >> 63) << 64  # the top bit of an int64 is its sign
        count = len(builder.programs) - first
        schedule = -1
        if spec.schedule is not None:
            if spec.schedule not in schedules:
                schedules.append(spec.schedule)
            schedule = schedules.index(spec.schedule)
        rows.append(
            (
                mask, spec.for_us, spec.clear_for_us, spec.gap_us, first, count, severities[0],
                NO_DATA.index(spec.on_no_data), schedule,
            )
        )  # fmt: skip
    masks = [0] * len(builder.windows)
    for rule, row in zip(rules, rows, strict=True):
        for aggregate in rule.spec.aggregates:
            masks[builder.atom_rows[builder.atoms[aggregate]][0]] |= row[0]
    windows, classes, class_at = builder.lay_out_panes(masks)
    return Shape(
        rules=tuple(rules),
        metrics=tuple(builder.metrics),
        windows=np.array(windows, np.int64).reshape(-1, WINDOW),
        classes=np.array(classes, np.int64).reshape(-1, 2),
        class_at=tuple(class_at),
        atoms=np.array(builder.atom_rows, np.int64).reshape(-1, 2),
        rule_table=np.array(rows, np.int64).reshape(-1, RULE),
        programs=np.array(builder.programs, np.int64).reshape(-1, 3),
        ops=np.array(builder.ops, np.int64).reshape(-1, 3),
        constants=np.array(builder.constants, np.float64),
        rule_atoms=tuple(
            np.array([builder.atoms[a] for a in rule.spec.aggregates], np.int32) for rule in rules
        ),
        schedules=tuple(schedules),
    )
