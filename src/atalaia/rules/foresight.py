"""What a tenant's rules would take, and leave out, if they, tags or sensors were others: asked
before something is saved. Changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.batch import Floats, Int32s
from atalaia.model.ids import SensorNo
from atalaia.rules.absence import Absence
from atalaia.rules.cost import WORD
from atalaia.rules.forecast import (
    AS_IT_IS,
    NOTHING,
    STATE_BYTES,
    Forecast,
    Group,
    Plan,
    Share,
    forecast,
)
from atalaia.rules.growing import Table
from atalaia.rules.kernel import S_SHAPE, SENSOR
from atalaia.rules.program import ActiveRule, Shape, crowding
from atalaia.rules.selecting import Selectors
from atalaia.rules.shapes import Shapes
from atalaia.rules.windows import LOOK, R_SENSOR

Retagged = Mapping[int, Mapping[str, str]]
"""The tags that sensors are to have, by their slots."""

NO_TAGS: Retagged = {}

NS_TO_FORESEE = 10_000  # of each sensor, series and rule


@attrs.frozen
class Sensor:
    sensor_no: SensorNo
    sensor_id: UUID
    name: str
    tags: Mapping[str, str]
    shape: Shape


@attrs.frozen(eq=False)
class Foresight:
    """Of one tenant: looks at what its `TenantRules` owns, by their slots. rules: how many."""

    rules: int
    shapes: Shapes
    sensors: Sequence[Sensor]
    sensor_table: Table
    series: Table
    metric_of: Table
    metrics: Mapping[str, int]
    absence: Absence

    def crowded(self, before: Plan, after: Plan) -> tuple[str, str] | None:
        """The names of a rule and of a sensor where it would be left out, being too many metrics,
        under one plan and not, or not as much, under the one before.
        """
        old, new = Selectors(before.new), Selectors(after.new)
        seen = set()
        for slot, shape in enumerate(self.sensor_table.rows[:, S_SHAPE].tolist()):
            sensor = self.sensors[slot]
            was, will = old.find(sensor.name, sensor.tags), new.find(sensor.name, sensor.tags)
            key = (shape, id(was), id(will))
            if key in seen:
                continue
            seen.add(key)
            there = self.shapes.matching[shape]
            rule = crowding(before.of(there, was.judging), after.of(there, will.judging))
            if rule is not None:
                return rule.spec.name, sensor.name
        return None

    def crowds(self, sensor: int, tags: Mapping[str, str]) -> bool:
        """Whether these tags leave out rules of a sensor that watch it now, or would then."""
        matching = self.shapes.match(self.sensors[sensor].name, tags)
        return (
            crowding(self.shapes.matching[int(self.sensor_table.rows[sensor, S_SHAPE])], matching)
            is not None
        )

    @property
    def cost_ns(self) -> int:
        """What `crowded` and two forecasts take, about, for a plan of few rules."""
        return NS_TO_FORESEE * (
            len(self.sensors) + len(self.series) + len(self.shapes.rules) + self.rules
        )

    def joining_bytes(self, names: Iterable[str]) -> int:
        """What sensors of these names, which are not there yet, take at least."""
        total = 0
        for name in names:
            shape = self.shapes[self.shapes.find(name, {})[0]]
            total += WORD * (SENSOR + LOOK * len(shape.windows) + len(shape.metrics))
            total += STATE_BYTES * len(shape.rules)
        return total

    def forecast(
        self,
        interval_us: Floats,
        plan: Plan = AS_IT_IS,
        *,
        waiting: Share = NOTHING,
        retagged: Retagged = NO_TAGS,
    ) -> Forecast:
        """What all of this will take once windows are full, and what waits before them.

        interval_us: from one reading to the next, of every series.
        """
        group_of, groups = self._regroup(plan, retagged)
        fixed = self.sensor_table.rows.nbytes + self.series.rows.nbytes
        return forecast(
            groups,
            group_of[self.series.rows[:, R_SENSOR]],
            self.metric_of.rows[:, 0],
            list(self.metrics),
            interval_us,
            fixed + STATE_BYTES * len(self.absence),
            waiting,
        )

    def _regroup(self, plan: Plan, retagged: Retagged) -> tuple[Int32s, list[Group]]:
        """Sensors by the rules that would watch them: the group of each, and the groups.

        Rules of silence that are there already are left out.
        """
        new = Selectors(plan.new)
        group_of = np.zeros(len(self.sensors), np.int32)
        known: dict[tuple[object, ...], int] = {}
        groups: list[Group] = []
        for slot, shape in enumerate(self.sensor_table.rows[:, S_SHAPE].tolist()):
            sensor = self.sensors[slot]
            tags = retagged.get(slot)
            found = new.find(sensor.name, sensor.tags)
            alone = None if tags is None else slot
            number = known.setdefault((shape, alone, id(found)), len(groups))
            if number == len(groups):
                there: Sequence[ActiveRule] = self.shapes.matching[shape]
                if tags is not None:
                    there = self.shapes.match(sensor.name, tags)
                groups.append(Group([*plan.of(there, found.judging), *found.silence], slot))
            groups[number].sensors += 1
            group_of[slot] = number
        return group_of, groups
