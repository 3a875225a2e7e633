"""JSON bodies to columns: rows, columns, lists of either, NDJSON.

The fast road decodes the whole body into typed rows and then into arrays, without looking at a
row by itself. Whatever it does not understand takes the slow road, which judges row by row and
names what is wrong with each; both give the same batch for the same good body.
"""

import json
import math
import re
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from atalaia.model.batch import Batch, Int64s, SeriesName
from atalaia.model.errors import Invalid
from atalaia.wire.options import WireOptions
from atalaia.wire.rows import Collector, check_count, check_hurry, check_name
from atalaia.wire.times import EARLIEST_US, LATEST_US, MICROS_PER, Precision, parse_rfc3339


class _Row(msgspec.Struct, gc=False):
    sensor: str
    metric: str
    ts: int | str
    value: float


class _Columns(msgspec.Struct, gc=False):
    sensor: str
    metric: str
    ts: list[int]
    value: list[float]


class _Envelope(msgspec.Struct, gc=False):
    readings: list[_Row]


_ROWS = msgspec.json.Decoder(list[_Row])
_ROW = msgspec.json.Decoder(_Row)
_COLUMNS = msgspec.json.Decoder(_Columns)
_ENVELOPE = msgspec.json.Decoder(_Envelope)
# 1e400 becomes infinity, and so one bad value instead of a bad body.
_ANY = msgspec.json.Decoder(float_hook=float)

_LINE = re.compile(rb"[^\s][^\n]*")  # one that is not blank; found one by one, never as a list
_SEVERAL = ("trailing characters", "Extra data")
"""What the two decoders say of one value after the other."""
_NESTED = (list, dict)
MAX_DEPTH = 32
MOST_DIGITS = 400  # a float64 has 309; int() of thousands would take long, and refuses 4,300


def parse_readings(body: bytes, *, options: WireOptions, hurried: bool = False) -> Batch:
    """The readings of one body, with a reject for every row that is not one.

    Raises Invalid (`bad_json`, `bad_body`, `empty_body`) when the body as a whole cannot be
    read, TooLarge for more than options.max_rows; hurried: TakesLong for a long slow road.
    """
    try:
        batch = _parse_fast(body, options)
    except (msgspec.DecodeError, OverflowError, ValueError, RecursionError):
        batch = None
    if batch is None:
        check_hurry(hurried, len(body))
        batch = _parse_slow(body, options)
    if not batch.sent:
        raise Invalid("The body holds no reading.", code="empty_body")
    return batch


def _parse_fast(body: bytes, options: WireOptions) -> Batch | None:
    """None, or an error, when the body is not wholly of a kind that this road knows."""
    if options.sensor is not None:  # from a device: a row or few, mostly without a sensor
        return None
    if options.format == "ndjson":
        return _from_rows(_ROW.decode_lines(body), options)
    start = body[:1].strip() or body.lstrip()[:1]
    if start == b"[":
        return _from_rows(_ROWS.decode(body), options)
    try:
        columns = _COLUMNS.decode(body)
    except msgspec.ValidationError:
        return _from_rows(_ENVELOPE.decode(body).readings, options)
    return _from_columns(columns, options)


def _from_rows(rows: Sequence[_Row], options: WireOptions) -> Batch | None:
    check_count(len(rows), options.max_rows)
    index: dict[tuple[str, str], int] = {}
    idx = [index.setdefault((row.sensor, row.metric), len(index)) for row in rows]
    ticks = [row.ts for row in rows]
    if ticks and isinstance(ticks[0], str):
        times = _parse_all(ticks)
    else:
        times = _scale_all(ticks, options.precision)
    if times is None:
        return None
    return _finish(list(index), np.array(idx, np.int32), times, [row.value for row in rows])


def _from_columns(columns: _Columns, options: WireOptions) -> Batch | None:
    count = len(columns.ts)
    check_count(count, options.max_rows)
    times = _scale_all(columns.ts, options.precision)
    if times is None or count != len(columns.value):
        return None
    name = (columns.sensor, columns.metric)
    return _finish([name], np.zeros(count, np.int32), times, columns.value)


def _parse_all(texts: Sequence[int | str]) -> Int64s | None:
    """None when one of them is no text, an error when one is no time."""
    times = [parse_rfc3339(text) for text in texts if isinstance(text, str)]
    return np.array(times, np.int64) if len(times) == len(texts) else None


def _scale_all(ticks: Sequence[Any], precision: Precision) -> Int64s | None:
    """All at once; None when one of them is text, an error when one is beyond int64."""
    try:
        times: Int64s = np.frombuffer(array("q", ticks), np.int64)
    except TypeError:
        return None
    if precision == "ns":
        return times // 1_000
    factor = MICROS_PER[precision]
    if len(times) and (times.min() < 0 or times.max() > LATEST_US // factor):
        return None
    return times * factor


def _finish(
    names: Iterable[tuple[str, str]], idx: Any, times: Int64s, values: Sequence[float]
) -> Batch | None:
    """None when a name, a time or a value is out of bounds."""
    series = []
    for sensor, metric in names:
        if check_name(sensor, metric) is not None:
            return None
        series.append(SeriesName(sensor, metric))
    value = np.array(values, np.float64)
    if not np.isfinite(value).all():
        return None
    if len(times) and (times.min() < EARLIEST_US or times.max() >= LATEST_US):
        return None
    return Batch(
        names=tuple(series),
        idx=idx,
        ts=times,
        value=value,
        row=np.arange(len(times), dtype=np.int32),
        rejects=(),
        sent=len(times),
    )


def _parse_slow(body: bytes, options: WireOptions) -> Batch:
    collector = Collector(
        options.precision, options.bool_as_number, options.max_rows, options.sensor
    )
    if options.format == "ndjson":
        _add_lines(body, collector)
        return collector.batch()
    document = _decode_one(body)
    if isinstance(document, dict) and "readings" in document:
        document = document["readings"]
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise Invalid(
            "The body must be a reading, a list of readings, or an object with readings.",
            code="bad_body",
        )
    check_count(len(document), options.max_rows)
    for item in document:
        collector.add(item)
    return collector.batch()


def _add_lines(body: bytes, collector: Collector) -> None:
    number, counted = 1, 0
    for line in _LINE.finditer(body):
        number += body.count(b"\n", counted, line.start())
        counted = line.start()
        try:
            item = _decode(line[0])
        except ValueError as error:
            collector.reject("bad_json", f"line {number} cannot be read as JSON: {error}")
        else:
            collector.add(item)


def _decode_any(text: bytes) -> Any:
    """JSON as values. A number beyond all bounds is infinity: a bad value, not a bad body."""
    try:
        return _ANY.decode(text)
    except msgspec.DecodeError as error:
        if "out of range" not in str(error):
            raise
    return json.loads(text, parse_int=_parse_int)


def _parse_int(digits: str) -> float:
    return int(digits) if len(digits) < MOST_DIGITS else math.copysign(math.inf, float(digits[:2]))


def _decode_one(body: bytes) -> Any:
    """Raises Invalid (`bad_json`), which says of NDJSON how it is sent."""
    try:
        return decode_body(body)
    except Invalid as error:
        if not any(said in error.detail for said in _SEVERAL):
            raise
        raise Invalid(
            f"{error.detail} Readings line by line are NDJSON: send them with "
            "Content-Type: application/x-ndjson.",
            code=error.code,
        ) from error


def decode_body(body: bytes) -> Any:
    """Raises Invalid (`bad_json`)."""
    try:
        return _decode(body)
    except ValueError as error:
        raise Invalid(f"The body cannot be read as JSON: {error}.", code="bad_json") from error


def _decode(text: bytes) -> Any:
    """Raises ValueError for what is no JSON, or nested beyond MAX_DEPTH."""
    try:
        document = _decode_any(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None
    level = [document] if isinstance(document, _NESTED) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, _NESTED)
        ]
    if level:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return document
