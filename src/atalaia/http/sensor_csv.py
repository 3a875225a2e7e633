"""The register of sensors as CSV (RFC 4180, UTF-8, a line of column names first). Pure.

`name` is needed; `group`, `profile` and `tag:<name>` are tags. A column that is not there leaves
what it would say as it is, an empty cell takes it away. What is kept of a file is what its cells
say, however many are empty.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from atalaia.model.batch import Tags
from atalaia.model.errors import Conflict, Invalid, TooLarge
from atalaia.model.views import MAX_INTERVAL_US, DetailColumn, Details, Location
from atalaia.rules.syntax import duration_text, parse_duration
from atalaia.wire.rows import NAME_ADVICE, check_name

MAX_LINES = 10_000
MAX_COLUMNS = 1_000  # not only as many tags as a sensor may have: others have others
MAX_LINE_CHARS = 256 * 1024
MAX_CELL_CHARS = 1_000
TAG = "tag:"
TAGS = ("group", "profile")
DETAILS: Mapping[str, DetailColumn] = {
    "expected_interval": "expected_us",
    "place": "place",
    "latitude": "latitude",
    "longitude": "longitude",
}


@attrs.frozen
class SensorLine:
    """What a line says of a sensor. tags: those that have a value."""

    name: str
    tags: Tags
    details: Details


@attrs.frozen
class LineFault:
    """Why a line is not taken. line: 1 is that of the column names."""

    line: int
    column: str
    detail: str


@attrs.frozen
class SensorFile:
    """What was read. tags, columns: the tags and what of the details it speaks of; those that a
    line does not have are taken away.
    """

    lines: Sequence[SensorLine]
    faults: Sequence[LineFault]
    tags: frozenset[str]
    columns: frozenset[DetailColumn]


@attrs.define(eq=False)
class _Text:
    """A text as `csv` reads it, which takes what stands in quotes as one line."""

    _lines: Iterator[str]
    left: int = MAX_LINE_CHARS

    def __iter__(self) -> "_Text":
        return self

    def __next__(self) -> str:
        """Raises Invalid when more is read than is left."""
        line = next(self._lines)
        self.left -= len(line)
        if self.left < 0:
            raise Invalid(
                f"A line has more than {MAX_LINE_CHARS} characters; look for a quote without its "
                "pair.",
                code="bad_csv",
            )
        return line


class _Fault(Exception):
    def __init__(self, column: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column


def read_sensors(body: bytes, check_tags: Callable[[dict[str, str]], None]) -> SensorFile:
    """Every line that can be taken, and what is wrong with the others.

    check_tags: raises ValueError for tags that a sensor may not have. Raises Invalid when the file
    as a whole cannot be read, TooLarge beyond MAX_LINES.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid(
            f"Byte {error.start} is no UTF-8; save the file as CSV in UTF-8.", code="bad_csv"
        ) from error
    source = _Text(io.StringIO(text, newline=""))
    reader = csv.reader(source, strict=True)
    try:
        columns = next(reader, [])
        _check_columns(columns)
        tags = {column: tag for column in columns if (tag := _tag(column)) is not None}
        lines: dict[str, SensorLine] = {}
        faults: list[LineFault] = []
        for count, cells in enumerate(reader):
            source.left = MAX_LINE_CHARS
            if count == MAX_LINES:
                raise TooLarge(f"A file may hold {MAX_LINES} sensors; send it in parts.")
            if not any(cells):
                continue
            try:
                line = _read_line(columns, tags, cells, check_tags)
                if line.name in lines:
                    raise _Fault("name", f'the sensor "{line.name}" stands in a line before')
            except _Fault as fault:
                faults.append(LineFault(reader.line_num, fault.column, str(fault)))
            else:
                lines[line.name] = line
    except csv.Error as error:
        raise Invalid(f"Line {reader.line_num} is no CSV: {error}.", code="bad_csv") from error
    spoken = frozenset(DETAILS[column] for column in columns if column in DETAILS)
    return SensorFile(list(lines.values()), faults, frozenset(tags.values()), spoken)


def _check_columns(columns: Sequence[str]) -> None:
    """Raises Invalid."""
    if len(columns) > MAX_COLUMNS:
        raise Invalid(
            f"Line 1 has more than {MAX_COLUMNS} columns; send sensors with other tags in a file "
            "of their own.",
            code="bad_csv",
        )
    known = ("name", *TAGS, *DETAILS)
    if len(columns) == 1 and ";" in columns[0]:
        raise Invalid("Line 1: separate the columns with commas, not with ;.", code="bad_csv")
    for column in columns:
        if column not in known and not (column.startswith(TAG) and column != TAG):
            raise Invalid(
                f'Line 1: there is no column "{column[:80]}"; there are {", ".join(known)} and '
                f"{TAG}<name>.",
                code="bad_csv",
            )
    if "name" not in columns:
        raise Invalid('Line 1 must hold the column "name".', code="bad_csv")
    tags = [_tag(column) for column in columns if _tag(column) is not None]
    if len(set(columns)) < len(columns) or len(set(tags)) < len(tags):
        raise Invalid("Line 1 names a column twice.", code="bad_csv")
    if ("latitude" in columns) != ("longitude" in columns):
        raise Invalid("Line 1 must hold latitude and longitude, or neither.", code="bad_csv")


def _tag(column: str) -> str | None:
    if column.startswith(TAG):
        return column.removeprefix(TAG)
    return column if column in TAGS else None


def _read_line(
    columns: Sequence[str],
    tags_of: Mapping[str, str],
    cells: Sequence[str],
    check_tags: Callable[[dict[str, str]], None],
) -> SensorLine:
    if len(cells) != len(columns):
        raise _Fault("name", f"expected {len(columns)} cells, found {len(cells)}")
    said = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
    for column, cell in said.items():
        if len(cell) > MAX_CELL_CHARS or "\0" in cell:
            raise _Fault(column, f"a cell has at most {MAX_CELL_CHARS} characters, and no NUL")
    name = said.get("name", "")
    if check_name(name, "x") is not None:
        raise _Fault("name", NAME_ADVICE)
    tags = {tags_of[column]: cell for column, cell in said.items() if column in tags_of}
    try:
        check_tags(tags)
    except ValueError as error:
        raise _Fault("tag", str(error)) from error
    return SensorLine(name, tags, _details(said))


def _details(said: Mapping[str, str]) -> Details:
    location = None
    latitude, longitude = said.get("latitude", ""), said.get("longitude", "")
    if latitude or longitude:
        location = Location(
            _degrees("latitude", latitude, 90), _degrees("longitude", longitude, 180)
        )
    interval_us = None
    if interval := said.get("expected_interval"):
        try:
            interval_us = parse_duration(interval)
        except Invalid as error:
            raise _Fault("expected_interval", error.detail) from error
        if not 0 < interval_us <= MAX_INTERVAL_US:
            raise _Fault("expected_interval", "an interval is more than 0s and at most 366d")
    return Details(location, said.get("place"), interval_us)


def _degrees(column: str, cell: str, most: int) -> float:
    try:
        degrees = float(cell)
    except ValueError as error:
        raise _Fault(column, "expected degrees such as -23.55, with a point") from error
    if not abs(degrees) <= most:
        raise _Fault(column, f"expected -{most} to {most} degrees")
    return degrees


def columns_of(tags: Sequence[str]) -> Sequence[str]:
    """The tags that a file has columns for, of all there are. Raises Conflict for too many."""
    named = [*TAGS, *(tag for tag in sorted(tags) if tag not in TAGS)]
    if 1 + len(named) + len(DETAILS) > MAX_COLUMNS:
        raise Conflict(
            f"The sensors have {len(tags):,} names of tags, a file {MAX_COLUMNS:,} columns. "
            "The archive (GET /v1/tenant/export) has them all.",
            code="too_many_columns",
        )
    return named


def write_columns(tags: Sequence[str]) -> bytes:
    """The first line. tags: those that have columns."""
    named = [tag if tag in TAGS else TAG + tag for tag in tags]
    return _written([["name", *named, *DETAILS]])


def write_sensors(
    tags: Sequence[str], sensors: Iterable[tuple[str, Mapping[str, str], Details]]
) -> bytes:
    """Their lines. tags: as for the columns."""
    return _written(
        [
            name,
            *(own.get(tag, "") for tag in tags),
            "" if known.expected_us is None else duration_text(known.expected_us),
            known.place or "",
            "" if known.location is None else repr(known.location.latitude),
            "" if known.location is None else repr(known.location.longitude),
        ]
        for name, own, known in sensors
    )


def _written(lines: Iterable[Sequence[str]]) -> bytes:
    cells = io.StringIO(newline="")
    csv.writer(cells).writerows(lines)
    return cells.getvalue().encode()
