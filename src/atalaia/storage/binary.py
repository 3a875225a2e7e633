"""Postgres' binary COPY format, from and to numpy columns: no Python object per row.

Source: PostgreSQL documentation, COPY, "Binary Format". Numbers are big-endian; every field is
preceded by its length; times count µs from 2000-01-01.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.stored import Scan

PG_EPOCH_US = 946_684_800_000_000
"""2000-01-01 UTC in Unix µs: Postgres counts its timestamps from there."""

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no header extension
_TRAILER = b"\xff\xff"

_READING = np.dtype(
    [
        ("fields", ">i2"),
        ("tenant_len", ">i4"),
        ("tenant", ">i4"),
        ("series_len", ">i4"),
        ("series", ">i4"),
        ("ts_len", ">i4"),
        ("ts", ">i8"),
        ("value_len", ">i4"),
        ("value", ">f8"),
        ("received_len", ">i4"),
        ("received", ">i8"),
        ("late_len", ">i4"),
        ("late", "u1"),
    ]
)
_FRAME = np.zeros((), dtype=_READING)
for _name, _value in (
    ("fields", 6),
    ("tenant_len", 4),
    ("series_len", 4),
    ("ts_len", 8),
    ("value_len", 8),
    ("received_len", 8),
    ("late_len", 1),
):
    _FRAME[_name] = _value

_POINT = np.dtype(
    [
        ("fields", ">i2"),
        ("series_len", ">i4"),
        ("series", ">i4"),
        ("ts_len", ">i4"),
        ("ts", ">i8"),
        ("value_len", ">i4"),
        ("value", ">f8"),
    ]
)

_PAST = np.dtype([*_POINT.descr, ("received_len", ">i4"), ("received", ">i8")])


_SCANNED = np.dtype(
    [
        ("fields", ">i2"),
        ("span_len", ">i4"),
        ("span", ">i4"),
        *_POINT.descr[3:],
        *_PAST.descr[len(_POINT.descr) :],
        ("late_len", ">i4"),
        ("late", "u1"),
    ]
)


def encode_readings(
    tenant: Int32s, series: Int32s, ts: Int64s, value: Floats, received: Int64s
) -> bytes:
    """A whole COPY stream of `readings` rows that are not late. All arrays have one length."""
    rows: npt.NDArray[Any] = np.full(len(ts), _FRAME, dtype=_READING)
    rows["tenant"] = tenant
    rows["series"] = series
    rows["ts"] = ts - PG_EPOCH_US
    rows["value"] = value
    rows["received"] = received - PG_EPOCH_US
    return b"".join((_SIGNATURE, rows.tobytes(), _TRAILER))


def decode_points(stream: bytes) -> tuple[Int32s, Int64s, Floats]:
    """The (series, ts, value) columns of a COPY stream of exactly those three fields."""
    rows = _rows(stream, _POINT)
    return (
        rows["series"].astype(np.int32),
        rows["ts"].astype(np.int64) + PG_EPOCH_US,
        rows["value"].astype(np.float64),
    )


def decode_history(stream: bytes) -> tuple[Int32s, Int64s, Floats, Int64s]:
    """The (series, ts, value, received_at) columns of a COPY stream of those four fields."""
    rows = _rows(stream, _PAST)
    return (
        rows["series"].astype(np.int32),
        rows["ts"].astype(np.int64) + PG_EPOCH_US,
        rows["value"].astype(np.float64),
        rows["received"].astype(np.int64) + PG_EPOCH_US,
    )


def decode_scan(stream: bytes) -> Scan:
    """The columns of a COPY stream of (span, ts, value, received_at, late)."""
    rows = _rows(stream, _SCANNED)
    return Scan(
        rows["span"].astype(np.int64),
        rows["ts"].astype(np.int64) + PG_EPOCH_US,
        rows["value"].astype(np.float64),
        rows["received"].astype(np.int64) + PG_EPOCH_US,
        rows["late"].astype(np.bool_),
    )


def _rows(stream: bytes, row: np.dtype[Any]) -> npt.NDArray[Any]:
    body = memoryview(stream)[len(_SIGNATURE) : len(stream) - len(_TRAILER)]
    return np.frombuffer(body, dtype=row)
