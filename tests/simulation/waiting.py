"""Which readings are judged when: what a lateness says, worked out anew from what was committed.

Plain dicts and sorted lists, by the numbers of sensors and series. Knows no rules.
"""

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import attrs

from atalaia.model.ids import Micros, SensorNo, SeriesNo


class Row(NamedTuple):
    """A reading. Of one sensor they are judged in the order of time."""

    sensor: SensorNo
    ts: Micros
    series: SeriesNo
    value: float


@attrs.define(eq=False)
class Waiting:
    """Of one tenant. lateness_us: of sensors without their own."""

    lateness_us: int
    own_us: dict[SensorNo, int] = attrs.field(factory=dict)
    newest: dict[SeriesNo, Micros] = attrs.field(factory=dict)
    judged: dict[SeriesNo, Micros] = attrs.field(factory=dict)
    _clocks: dict[SensorNo, Micros] = attrs.field(factory=dict)
    _rows: dict[SensorNo, set[Row]] = attrs.field(factory=dict)

    def take(
        self, rows: Sequence[Row], known: Container[tuple[SeriesNo, Micros]]
    ) -> tuple[list[Row], set[SensorNo]]:
        """Rows that came together: those that are new and not late, which wait from now on, and the
        sensors of which one is the newest of its series.
        """
        fresh: dict[tuple[SeriesNo, Micros], Row] = {}
        heard = set()
        for row in rows:
            newest = self.newest.get(row.series)
            if newest is None or row.ts > newest:
                heard.add(row.sensor)
            elif (
                row.ts < self._clocks[row.sensor] - self._lateness(row.sensor)
                or row.ts <= self.judged.get(row.series, 0)
                or (row.series, row.ts) in known
            ):
                continue
            fresh.setdefault((row.series, row.ts), row)
        for row in fresh.values():
            self._rows.setdefault(row.sensor, set()).add(row)
            self.newest[row.series] = max(row.ts, self.newest.get(row.series, row.ts))
            self._clocks[row.sensor] = max(row.ts, self._clocks.get(row.sensor, row.ts))
        return list(fresh.values()), heard

    def due(self, ahead: Mapping[SensorNo, Micros]) -> list[Row]:
        """What need not wait any more. ahead: the clocks of sensors as they will be."""
        found = []
        for sensor, rows in self._rows.items():
            lateness = self._lateness(sensor)
            before = max(self._clocks[sensor], ahead.get(sensor, Micros(0))) - lateness
            found += [row for row in rows if row.ts < before or not lateness]
        return found

    def all_of(self, sensor: SensorNo | None) -> list[Row]:
        """What waits at a sensor, or at all of them."""
        if sensor is not None:
            return list(self._rows.get(sensor, ()))
        return [row for rows in self._rows.values() for row in rows]

    def judge(self, rows: Sequence[Row]) -> None:
        """They wait no more."""
        for row in rows:
            self._rows[row.sensor].remove(row)
            self.judged[row.series] = max(row.ts, self.judged.get(row.series, row.ts))

    def set_lateness(self, sensor: SensorNo | None, lateness_us: int | None) -> None:
        """Of a sensor (None: its tenant's), or of the tenant."""
        if sensor is None:
            self.lateness_us = lateness_us or 0
        elif lateness_us is None:
            self.own_us.pop(sensor, None)
        else:
            self.own_us[sensor] = lateness_us

    def forget(self, sensor: SensorNo, series: Sequence[SeriesNo]) -> None:
        """It is gone, and what waits there is not judged."""
        self._rows.pop(sensor, None)
        for number in series:
            self.newest.pop(number, None)
            self.judged.pop(number, None)

    def _lateness(self, sensor: SensorNo) -> int:
        return self.own_us.get(sensor, self.lateness_us)
