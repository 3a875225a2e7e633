"""The shapes of one tenant, laid end to end in the arrays that the kernel reads."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.rules.growing import Table
from atalaia.rules.hours import Hours
from atalaia.rules.program import (
    ATOM,
    COMPARE,
    CONST,
    RULE,
    ActiveRule,
    Shape,
    build_shape,
    fitting,
)
from atalaia.rules.selecting import Selectors
from atalaia.rules.windows import SUMMARY, W_SEASON, WINDOW


@attrs.define(eq=False)
class Shapes:
    """Grows by a shape whenever a sensor matches a new set of rules, those of `matching[s]`.

    at[s] = (first window, end, first atom, end, first rule, end, first class, how many windows
    have a season). summary, values: where the kernel keeps what it makes of a window and an atom.
    """

    active: Sequence[ActiveRule]
    _selectors: Selectors = attrs.field(init=False)
    _index: dict[tuple[int, ...], int] = attrs.field(factory=dict)
    _shapes: list[Shape] = attrs.field(factory=list)
    matching: list[tuple[ActiveRule, ...]] = attrs.field(factory=list)
    _at: Table = attrs.field(factory=lambda: Table(8))
    _windows: Table = attrs.field(factory=lambda: Table(WINDOW))
    _classes: Table = attrs.field(factory=lambda: Table(2))
    _atoms: Table = attrs.field(factory=lambda: Table(2))
    _rules: Table = attrs.field(factory=lambda: Table(RULE))
    _programs: Table = attrs.field(factory=lambda: Table(3))
    _ops: Table = attrs.field(factory=lambda: Table(3))
    _constants: Table = attrs.field(factory=lambda: Table(1))
    """As bits."""
    _scheduled: Table = attrs.field(factory=lambda: Table(1))
    hours: Hours = attrs.field(factory=Hours)
    most_atoms: int = 1
    most_rules: int = 1
    at: Int64s = attrs.field(init=False)
    windows: Int64s = attrs.field(init=False)
    classes: Int64s = attrs.field(init=False)
    atoms: Int64s = attrs.field(init=False)
    rules: Int64s = attrs.field(init=False)
    programs: Int64s = attrs.field(init=False)
    ops: Int64s = attrs.field(init=False)
    constants: Floats = attrs.field(init=False)
    scheduled: Int64s = attrs.field(init=False)
    """Of every shape how many schedules it has."""
    summary: Floats = attrs.field(init=False)
    values: Floats = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._selectors = Selectors(self.active)
        self._look_again()

    def __getitem__(self, index: int) -> Shape:
        return self._shapes[index]

    def match(self, name: str, tags: Mapping[str, str]) -> tuple[ActiveRule, ...]:
        """The rules on readings whose selectors match a sensor with this name and these tags."""
        return self._selectors.find(name, tags).judging

    def match_silence(self, name: str, tags: Mapping[str, str]) -> tuple[ActiveRule, ...]:
        """The rules of silence for such a sensor: no shape holds them."""
        return self._selectors.find(name, tags).silence

    def find(self, name: str, tags: Mapping[str, str]) -> tuple[int, tuple[ActiveRule, ...]]:
        """The shape of such a sensor, and its rules of silence. Of rules that do not fit together
        the newest are left out.
        """
        found = self._selectors.find(name, tags)
        if found.shape < 0:
            key = tuple(rule.rule_no for rule in found.judging)
            if key not in self._index:
                self._index[key] = len(self._shapes)
                self.matching.append(found.judging)
                self._add(build_shape(found.judging[: fitting(found.judging)]))
            found.shape = self._index[key]
        return found.shape, found.silence

    def _add(self, shape: Shape) -> None:
        first_window, first_atom = len(self._windows), len(self._atoms)
        first_rule, first_program = len(self._rules), len(self._programs)
        first_class, first_op, first_constant = (
            len(self._classes), len(self._ops), len(self._constants),
        )  # fmt: skip
        numbers = [self.hours.number(schedule) for schedule in shape.schedules]
        rules = shape.rule_table.copy()
        rules[:, 4] += first_program
        rules[:, 8] = np.array([*numbers, -1])[rules[:, 8]]
        ops = shape.ops.copy()
        ops[ops[:, 0] == CONST, 1] += first_constant
        ops[(ops[:, 0] == ATOM) | (ops[:, 0] >= COMPARE), 1] += first_atom
        ops[ops[:, 0] >= COMPARE, 2] += first_constant
        self._windows.extend(shape.windows)
        self._classes.extend(shape.classes)
        self._atoms.extend(shape.atoms + np.array([first_window, 0]))
        self._rules.extend(rules)
        self._programs.extend(shape.programs + np.array([first_op, 0, 0]))
        self._ops.extend(ops)
        self._constants.extend(shape.constants.view(np.int64).reshape(-1, 1))
        self._scheduled.add((len(numbers),))
        self._at.add((
            first_window, len(self._windows), first_atom, len(self._atoms),
            first_rule, len(self._rules), first_class,
            int(np.count_nonzero(shape.windows[:, W_SEASON])),
        ))  # fmt: skip
        self._shapes.append(shape)
        self.most_atoms = max(self.most_atoms, len(shape.atoms))
        self.most_rules = max(self.most_rules, len(shape.rules))
        self._look_again()

    def _look_again(self) -> None:
        """At the tables, which grew."""
        self.at, self.windows, self.classes = self._at.rows, self._windows.rows, self._classes.rows
        self.atoms, self.rules = self._atoms.rows, self._rules.rows
        self.programs, self.ops = self._programs.rows, self._ops.rows
        self.constants = self._constants.rows[:, 0].view(np.float64)
        self.scheduled = self._scheduled.rows[:, 0]
        self.summary = np.empty((len(self.windows), SUMMARY), np.float64)
        self.values = np.empty(len(self.atoms), np.float64)
