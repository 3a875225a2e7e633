"""The shapes of one tenant, laid end to end in the arrays that the kernel reads."""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from atalaia.model.batch import Bools, Floats, Int64s
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
from atalaia.rules.syntax import Selector
from atalaia.rules.windows import SUMMARY, W_SEASON, WINDOW


@attrs.define(eq=False)
class Shapes:
    """Grows by a shape whenever a sensor matches a new set of rules, those of `matching[s]`.

    at[s] = (first window, end, first atom, end, first rule, end, first class, how many windows
    have a season). summary, values: where the kernel keeps what it makes of a window and an atom.
    """

    active: Sequence[ActiveRule]
    _index: dict[tuple[int, ...], int] = attrs.field(factory=dict)
    _shapes: list[Shape] = attrs.field(factory=list)
    matching: list[tuple[ActiveRule, ...]] = attrs.field(factory=list)
    at: Int64s = attrs.field(factory=lambda: np.empty((0, 8), np.int64))
    windows: Int64s = attrs.field(factory=lambda: np.empty((0, WINDOW), np.int64))
    classes: Int64s = attrs.field(factory=lambda: np.empty((0, 2), np.int64))
    atoms: Int64s = attrs.field(factory=lambda: np.empty((0, 2), np.int64))
    rules: Int64s = attrs.field(factory=lambda: np.empty((0, RULE), np.int64))
    programs: Int64s = attrs.field(factory=lambda: np.empty((0, 3), np.int64))
    ops: Int64s = attrs.field(factory=lambda: np.empty((0, 3), np.int64))
    constants: Floats = attrs.field(factory=lambda: np.empty(0, np.float64))
    summary: Floats = attrs.field(factory=lambda: np.empty((0, SUMMARY), np.float64))
    values: Floats = attrs.field(factory=lambda: np.empty(0, np.float64))
    hours: Hours = attrs.field(factory=Hours)
    scheduled: Bools = attrs.field(factory=lambda: np.empty(0, np.bool_))
    """Of every shape whether some rule of it has a schedule."""
    most_atoms: int = 1
    most_rules: int = 1
    _selectors: dict[Selector, int] = attrs.field(factory=dict)
    _looking: list[tuple[int, ActiveRule]] = attrs.field(factory=list)
    """Every rule with the place of its selector; rules mostly share few of these."""
    _matches: dict[tuple[int, ...], tuple[tuple[ActiveRule, ...], tuple[ActiveRule, ...]]] = (
        attrs.field(factory=dict)
    )

    def __attrs_post_init__(self) -> None:
        for rule in self.active:
            place = self._selectors.setdefault(rule.spec.selector, len(self._selectors))
            self._looking.append((place, rule))

    def __getitem__(self, index: int) -> Shape:
        return self._shapes[index]

    def match(self, name: str, tags: Mapping[str, str]) -> tuple[ActiveRule, ...]:
        """The rules on readings whose selectors match a sensor with this name and these tags."""
        return self._match(name, tags)[0]

    def match_silence(self, name: str, tags: Mapping[str, str]) -> tuple[ActiveRule, ...]:
        """The rules of silence for such a sensor: no shape holds them."""
        return self._match(name, tags)[1]

    def _match(
        self, name: str, tags: Mapping[str, str]
    ) -> tuple[tuple[ActiveRule, ...], tuple[ActiveRule, ...]]:
        """Each selector is asked once: tens of thousands of sensors are added at a recovery."""
        hits = tuple([n for n, one in enumerate(self._selectors) if one.matches(name, tags)])
        if hits not in self._matches:
            rules = [rule for place, rule in self._looking if place in hits]
            self._matches[hits] = (
                tuple(rule for rule in rules if rule.spec.silence is None),
                tuple(rule for rule in rules if rule.spec.silence is not None),
            )
        return self._matches[hits]

    def find(self, name: str, tags: Mapping[str, str]) -> tuple[int, tuple[ActiveRule, ...]]:
        """The shape of such a sensor, and its rules of silence. Of rules that do not fit together
        the newest are left out.
        """
        matching, silence = self._match(name, tags)
        key = tuple(rule.rule_no for rule in matching)
        if key not in self._index:
            self._index[key] = len(self._shapes)
            self.matching.append(matching)
            self._add(build_shape(matching[: fitting(matching)]))
        return self._index[key], silence

    def _add(self, shape: Shape) -> None:
        first_window, first_atom = len(self.windows), len(self.atoms)
        first_rule, first_program = len(self.rules), len(self.programs)
        atoms = shape.atoms + [first_window, 0]
        rules = shape.rule_table.copy()
        rules[:, 4] += first_program
        numbers = [self.hours.number(schedule) for schedule in shape.schedules]
        rules[:, 8] = np.array([*numbers, -1])[rules[:, 8]]
        programs = shape.programs + [len(self.ops), 0, 0]
        ops = shape.ops.copy()
        ops[ops[:, 0] == CONST, 1] += len(self.constants)
        ops[(ops[:, 0] == ATOM) | (ops[:, 0] >= COMPARE), 1] += first_atom
        ops[ops[:, 0] >= COMPARE, 2] += len(self.constants)
        self.windows = np.concatenate([self.windows, shape.windows])
        self.atoms = np.concatenate([self.atoms, atoms])
        self.rules = np.concatenate([self.rules, rules])
        self.programs = np.concatenate([self.programs, programs])
        self.ops = np.concatenate([self.ops, ops])
        self.constants = np.concatenate([self.constants, shape.constants])
        bounds = [
            first_window, len(self.windows), first_atom, len(self.atoms),
            first_rule, len(self.rules), len(self.classes),
            np.count_nonzero(shape.windows[:, W_SEASON]),
        ]  # fmt: skip
        self.classes = np.concatenate([self.classes, shape.classes])
        self.at = np.concatenate([self.at, np.array([bounds], np.int64)])
        self.summary = np.empty((len(self.windows), SUMMARY), np.float64)
        self.values = np.empty(len(self.atoms), np.float64)
        self.scheduled = np.append(self.scheduled, bool(numbers))
        self._shapes.append(shape)
        self.most_atoms = max(self.most_atoms, len(shape.atoms))
        self.most_rules = max(self.most_rules, len(shape.rules))
