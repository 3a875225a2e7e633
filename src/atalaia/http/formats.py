"""Readings as files: CSV, NDJSON and Parquet, made piece by piece.

NDJSON is what `POST /v1/readings` takes. In CSV a name that a spreadsheet would take for a formula
is written after an apostrophe, which no name has: so nothing is run when the file is opened, and
the name can be had back.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from atalaia.http import render
from atalaia.model.errors import NotInstalled
from atalaia.model.stored import Scan
from atalaia.model.views import SeriesView
from atalaia.wire.drain import Drain

COLUMNS = ("sensor", "metric", "ts", "value", "received_at", "late")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_QUOTED = frozenset('",\r\n\t')


class Format(Protocol):
    """One file in the making."""

    content_type: str

    def head(self) -> bytes: ...

    def rows(self, series: Sequence[SeriesView], scan: Scan) -> bytes:
        """series: what the spans of the scan stand for."""
        ...

    def tail(self) -> bytes: ...


def cell(text: str) -> str:
    """A text of somebody else's as a cell of CSV (RFC 4180)."""
    if text.startswith(_FORMULA):
        text = f"'{text}"
    if _QUOTED.isdisjoint(text):
        return text
    return '"' + text.replace('"', '""') + '"'


class Csv:
    content_type = "text/csv; charset=utf-8; header=present"

    def head(self) -> bytes:
        return (",".join(COLUMNS) + "\r\n").encode()

    def rows(self, series: Sequence[SeriesView], scan: Scan) -> bytes:
        lines: list[str] = []
        for one, part in _by_series(series, scan):
            names = f"{cell(one.sensor)},{cell(one.metric)}"
            lines += [
                f"{names},{ts},{value!r},{received},{'true' if late else 'false'}\r\n"
                for ts, value, received, late in _texts(part)
            ]
        return "".join(lines).encode()

    def tail(self) -> bytes:
        return b""


class Ndjson:
    content_type = "application/x-ndjson"

    def head(self) -> bytes:
        return b""

    def rows(self, series: Sequence[SeriesView], scan: Scan) -> bytes:
        lines: list[str] = []
        for one, part in _by_series(series, scan):
            sensor, metric = (
                msgspec.json.encode(name).decode() for name in (one.sensor, one.metric)
            )
            names = f'{{"sensor":{sensor},"metric":{metric}'
            lines += [
                f'{names},"ts":"{ts}","value":{value!r},"received_at":"{received}",'
                f'"late":{"true" if late else "false"}}}\n'
                for ts, value, received, late in _texts(part)
            ]
        return "".join(lines).encode()

    def tail(self) -> bytes:
        return b""


class Parquet:
    """One row group per piece. Raises NotInstalled without pyarrow."""

    content_type = "application/vnd.apache.parquet"

    def __init__(self) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise NotInstalled(
                "Parquet needs pyarrow: run `.venv/bin/uv sync --locked --inexact --no-dev --extra "
                "parquet` in the checkout from which this service runs, or ask for csv or ndjson.",
            ) from error
        self._pa = pa
        name = pa.dictionary(pa.int32(), pa.string())
        moment = pa.timestamp("us", tz="UTC")
        kinds = (name, name, moment, pa.float64(), moment, pa.bool_())
        self._schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
        self._drain = Drain()
        self._writer = pq.ParquetWriter(self._drain, self._schema, compression="zstd")

    def head(self) -> bytes:
        return self._drain.take()

    def rows(self, series: Sequence[SeriesView], scan: Scan) -> bytes:
        pa = self._pa
        present, codes = np.unique(scan.span, return_inverse=True)
        columns = [
            self._names([series[nr].sensor for nr in present.tolist()], codes),
            self._names([series[nr].metric for nr in present.tolist()], codes),
            pa.array(scan.ts, pa.timestamp("us", tz="UTC")),
            pa.array(scan.value),
            pa.array(scan.received, pa.timestamp("us", tz="UTC")),
            pa.array(scan.late),
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        return self._drain.take()

    def _names(self, names: Sequence[str], codes: Any) -> Any:
        distinct = sorted(set(names))
        places = np.searchsorted(distinct, names).astype(np.int32)[codes]
        return self._pa.DictionaryArray.from_arrays(
            self._pa.array(places), self._pa.array(distinct, self._pa.string())
        )

    def tail(self) -> bytes:
        self._writer.close()
        return self._drain.take()


FORMATS: dict[str, type[Csv] | type[Ndjson] | type[Parquet]] = {
    "csv": Csv,
    "ndjson": Ndjson,
    "parquet": Parquet,
}


def _by_series(series: Sequence[SeriesView], scan: Scan) -> Iterator[tuple[SeriesView, Scan]]:
    spans, starts = np.unique(scan.span, return_index=True)
    ends = np.append(starts[1:], len(scan))
    for span, start, end in zip(spans.tolist(), starts.tolist(), ends.tolist(), strict=True):
        yield series[span], scan.where(slice(start, end))


def _texts(part: Scan) -> Iterator[tuple[str, float, str, bool]]:
    """Values are finite: their shortest text is JSON too."""
    return zip(
        render.times(part.ts),
        part.value.tolist(),
        render.times(part.received),
        part.late.tolist(),
        strict=True,
    )
