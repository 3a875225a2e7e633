"""What the aggregates of one rule are at one sensor now: the fold of live readings, run again.

The readings of the windows are admitted without judgement but for the newest, which the kernel
judges at the sensor's clock. Windows are pure functions of what they hold, so that the values are
those of the live engine, to the bit, if it judged the rule at that time.
"""

import math
from collections.abc import Sequence
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros, SensorNo
from atalaia.rules.conditions import Values
from atalaia.rules.program import ActiveRule
from atalaia.rules.syntax import Aggregate, RuleSpec, Selector
from atalaia.rules.tenant_state import TenantRules

NOBODY = UUID(int=0)


@attrs.frozen
class Measured:
    """values: NaN is unknown; counts: readings in the window of each aggregate."""

    values: Values
    counts: dict[Aggregate, int]


@attrs.define(eq=False)
class Measurement:
    """`take` the readings of the windows in the order of time, then ask for the result.

    metrics: those of the rule's metrics that the sensor has; readings name them by their place.
    """

    rule: ActiveRule
    metrics: Sequence[str]
    clock: Micros
    _rules: TenantRules = attrs.field(init=False)
    _newest: tuple[int, int, float] | None = None
    _counts: dict[Aggregate, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        watching = attrs.evolve(self.spec, selector=Selector())
        self._rules = TenantRules(NOBODY, [attrs.evolve(self.rule, spec=watching)])
        self._rules.add_sensor(SensorNo(0), NOBODY, "", {})
        for metric in self.metrics:
            self._rules.add_series(0, metric, self.clock)
        self._counts = dict.fromkeys(self.spec.aggregates, 0)

    @property
    def spec(self) -> RuleSpec:
        return self.rule.spec

    @property
    def reach_us(self) -> int:
        """How far before the clock readings matter."""
        return int(self._rules.windows_us(np.arange(len(self.metrics))).max(initial=0))

    @property
    def used_bytes(self) -> int:
        return self._rules.used_bytes

    def take(self, metric: Int64s, ts: Int64s, value: Floats) -> None:
        """Readings up to the clock, none before those of the last call; by time per metric."""
        if not len(ts):
            return
        for aggregate in self._counts:
            if aggregate.metric in self.metrics:
                mine = metric == self.metrics.index(aggregate.metric)
                inside = np.count_nonzero(ts[mine] > self.clock - aggregate.window_us)
                self._counts[aggregate] += int(inside)
        if self._newest is not None:  # it was not the newest of all
            self._rules.warm(*(np.array([one]) for one in self._newest))
        last = int(np.flatnonzero(ts == ts.max())[-1])
        rest = np.arange(len(ts)) != last
        self._newest = (int(metric[last]), int(ts[last]), float(value[last]))
        self._rules.warm(metric[rest], ts[rest], value[rest])

    def result(self) -> Measured:
        """After the last reading."""
        if self._newest is None:
            empty = {
                one: 0.0 if one.function == "count" else math.nan for one in self.spec.aggregates
            }
            return Measured(empty, self._counts)
        for _ in self._rules.fold_columns(*(np.array([one]) for one in self._newest)):
            pass
        return Measured(self._rules.values_of(0), self._counts)
