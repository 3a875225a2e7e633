"""The series of one tenant as the actor knows them: names to slots, and each one's newest time.

Slots are dense indexes into arrays, in the order of discovery; they live as long as the actor.
"""

from collections.abc import Sequence

import attrs
import numpy as np

from atalaia.model.batch import Int32s, Int64s, SeriesName
from atalaia.model.ids import Micros, SeriesNo

NEVER = np.iinfo(np.int64).min
"""The newest time of a series that has no reading."""


@attrs.define(eq=False)
class SeriesTable:
    """Grows by `add`; arrays double."""

    _slot_of: dict[SeriesName, int] = attrs.field(factory=dict)
    _series_no: Int32s = attrs.field(factory=lambda: np.zeros(16, np.int32))
    _sensor: Int32s = attrs.field(factory=lambda: np.zeros(16, np.int32))
    _newest: Int64s = attrs.field(factory=lambda: np.full(16, NEVER, np.int64))

    def __len__(self) -> int:
        return len(self._slot_of)

    def __contains__(self, name: SeriesName) -> bool:
        return name in self._slot_of

    @property
    def series_no(self) -> Int32s:
        return self._series_no[: len(self)]

    @property
    def sensor(self) -> Int32s:
        """The slot of each series' sensor."""
        return self._sensor[: len(self)]

    @property
    def newest(self) -> Int64s:
        """Writable: the newest event time per slot."""
        return self._newest[: len(self)]

    def slots(self, names: Sequence[SeriesName]) -> Int64s:
        """The slot of each name, -1 for unknown ones."""
        get = self._slot_of.get
        return np.array([get(name, -1) for name in names], np.int64)

    def seen(self) -> Int64s:
        """The slots that have had a reading."""
        return np.flatnonzero(self.newest != NEVER)

    def add(
        self, name: SeriesName, series_no: SeriesNo, sensor: int, newest: Micros | None
    ) -> None:
        slot = len(self._slot_of)
        if slot == len(self._series_no):
            self._series_no = np.concatenate([self._series_no, np.zeros_like(self._series_no)])
            self._sensor = np.concatenate([self._sensor, np.zeros_like(self._sensor)])
            self._newest = np.concatenate([self._newest, np.full_like(self._newest, NEVER)])
        self._slot_of[name] = slot
        self._series_no[slot] = series_no
        self._sensor[slot] = sensor
        self._newest[slot] = NEVER if newest is None else newest
