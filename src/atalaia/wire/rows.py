"""The slow road: one row at a time, every fault named with a cure."""

import math
import re
from typing import Any

import attrs
import numpy as np

from atalaia.model.batch import SENSOR_NAME, Batch, Reject, SeriesName
from atalaia.model.errors import TooLarge
from atalaia.wire.times import ADVICE, Precision, check_range, parse_rfc3339, scale

_METRIC = re.compile(r"[A-Za-z0-9_\-:./]{1,64}")
_FIELDS = ("sensor", "metric", "ts", "value")

SHORT_BYTES = 16 * 1024  # some 300 rows, in two or three milliseconds

NAME_ADVICE = "1 to 128 of letters, digits and _ - : ."

NAME_FAULTS = {
    "bad_sensor": f"sensor: {NAME_ADVICE}",
    "bad_metric": "metric: 1 to 64 of letters, digits and _ - : . /",
}


def check_name(sensor: str, metric: str) -> str | None:
    """The code of what is wrong with a series' name, or None."""
    if SENSOR_NAME.fullmatch(sensor) is None:
        return "bad_sensor"
    if _METRIC.fullmatch(metric) is None:
        return "bad_metric"
    return None


def check_count(rows: int, max_rows: int) -> None:
    """Raises TooLarge when a body holds more rows than it may."""
    if rows > max_rows:
        raise TooLarge(f"A request may hold {max_rows} readings; send smaller batches.")


class TakesLong(Exception):
    """There are many rows to be looked at one by one: this is not to be waited for here."""


def check_hurry(hurried: bool, size: int, most: int = SHORT_BYTES) -> None:
    """Raises TakesLong for so many bytes of such rows, when it is to be quick."""
    if hurried and size > most:
        raise TakesLong


class RowFault(Exception):
    """This row cannot be taken."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@attrs.define(eq=False)
class Collector:
    """Gathers rows and rejects; `batch` makes them columns.

    `add` and `reject` raise TooLarge beyond max_rows, whether rows are good or bad.
    """

    _precision: Precision
    _bool_as_number: bool
    _max_rows: int
    _sensor: str | None = None
    sent: int = 0
    _index: dict[SeriesName, int] = attrs.field(factory=dict)
    _idx: list[int] = attrs.field(factory=list)
    _ts: list[int] = attrs.field(factory=list)
    _value: list[float] = attrs.field(factory=list)
    _row: list[int] = attrs.field(factory=list)
    _rejects: list[Reject] = attrs.field(factory=list)

    def reject(self, code: str, detail: str) -> None:
        """Count one row that is not a reading."""
        self._rejects.append(Reject(self.sent, code, detail))
        self.sent += 1
        check_count(self.sent, self._max_rows)

    def add(self, item: Any) -> None:
        """One row, or one object of columns."""
        rows = _rows_of(item)
        check_count(self.sent + rows, self._max_rows)
        try:
            name = self._name(item)
        except RowFault as fault:
            for _ in range(rows):
                self.reject(fault.code, fault.detail)
            return
        ts, value = item["ts"], item["value"]
        if not isinstance(ts, list) and not isinstance(value, list):
            self._add(name, ts, value)
        elif not isinstance(ts, list) or not isinstance(value, list) or len(ts) != len(value):
            for _ in range(rows):
                self.reject("length_mismatch", "ts and value must be lists of one length")
        else:
            for moment, number in zip(ts, value, strict=True):
                self._add(name, moment, number)

    def batch(self) -> Batch:
        return Batch(
            names=tuple(self._index),
            idx=np.array(self._idx, np.int32),
            ts=np.array(self._ts, np.int64),
            value=np.array(self._value, np.float64),
            row=np.array(self._row, np.int32),
            rejects=tuple(self._rejects),
            sent=self.sent,
        )

    def _add(self, name: SeriesName, ts: Any, value: Any) -> None:
        try:
            moment, number = self._time(ts), self._number(value)
        except RowFault as fault:
            self.reject(fault.code, fault.detail)
            return
        self._idx.append(self._index.setdefault(name, len(self._index)))
        self._ts.append(moment)
        self._value.append(number)
        self._row.append(self.sent)
        self.sent += 1

    def _name(self, item: Any) -> SeriesName:
        if not isinstance(item, dict):
            raise RowFault("bad_row", "a reading is an object with sensor, metric, ts and value")
        if self._sensor is not None:
            item = item | {"sensor": self._sensor}
        missing = [field for field in _FIELDS if field not in item]
        if missing:
            raise RowFault("missing_field", f"add {', '.join(missing)}")
        sensor, metric = item["sensor"], item["metric"]
        code = "bad_sensor" if not isinstance(sensor, str) else None
        if code is None:
            code = "bad_metric" if not isinstance(metric, str) else check_name(sensor, metric)
        if code is not None:
            raise RowFault(code, NAME_FAULTS[code])
        return SeriesName(sensor, metric)

    def _time(self, ts: Any) -> int:
        try:
            if isinstance(ts, str):
                return check_range(parse_rfc3339(ts))
            if isinstance(ts, int) and not isinstance(ts, bool):
                return check_range(scale(ts, self._precision))
        except ValueError as error:
            raise RowFault("bad_ts", str(error)) from error
        raise RowFault("bad_ts", f"the time is not understood; {ADVICE}")

    def _number(self, value: Any) -> float:
        if isinstance(value, bool):
            if self._bool_as_number:
                return float(value)
            raise RowFault("bad_value", "true and false need ?bool=number to count as 1 and 0")
        if not isinstance(value, int | float):
            raise RowFault("bad_value", "the value must be a number, without quotes")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RowFault("bad_value", "the number is too large for a float64")
        return number


def _rows_of(item: Any) -> int:
    """How many rows an object stands for, even when it cannot be taken."""
    if not isinstance(item, dict):
        return 1
    ts, value = item.get("ts"), item.get("value")
    return max(
        1, len(ts) if isinstance(ts, list) else 0, len(value) if isinstance(value, list) else 0
    )
