"""A table of int64 columns that grows by doubling."""

import attrs
import numpy as np

from atalaia.model.batch import Int64s


@attrs.define(eq=False)
class Table:
    """Rows are appended and written in place; `rows` is a view of what exists."""

    _columns: int
    _data: Int64s = attrs.field(init=False)
    _used: int = 0

    def __attrs_post_init__(self) -> None:
        self._data = np.zeros((8, self._columns), np.int64)

    def __len__(self) -> int:
        return self._used

    @property
    def rows(self) -> Int64s:
        return self._data[: self._used]

    def add(self, row: tuple[int, ...], times: int = 1) -> None:
        while self._used + times > len(self._data):
            self._data = np.concatenate([self._data, np.zeros_like(self._data)])
        self._data[self._used : self._used + times] = row
        self._used += times

    def extend(self, rows: Int64s) -> None:
        self.add((0,) * self._columns, times=len(rows))
        self._data[self._used - len(rows) : self._used] = rows
