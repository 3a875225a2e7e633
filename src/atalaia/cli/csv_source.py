"""CSV files of any separator to readings: which column is the time, which are metrics.

Streams: memory does not grow with the file. Names that are not legal are made so, and said.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import TextIO
from zoneinfo import ZoneInfo

import attrs

from atalaia.model.errors import Invalid

SEPARATORS = ",;\t|"
_LOOK_AHEAD = 20  # rows that decide what a column is
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class Choices:
    """What the user said about the files."""

    time: str | None = None
    metrics: Sequence[str] = ()
    sensor: str | None = None
    sensor_column: str | None = None
    rename: Mapping[str, str] = attrs.field(factory=dict)
    exclude: Sequence[str] = ()
    zone: tzinfo = UTC
    separator: str | None = None


@attrs.frozen
class Layout:
    """What one file is, after looking at its first rows."""

    path: Path
    separator: str
    time: int
    metrics: tuple[tuple[int, str], ...]
    sensor: str
    sensor_column: int | None
    notes: tuple[str, ...]
    columns: tuple[str, ...]


@attrs.frozen
class Row:
    """One line: readings of one sensor at one time (epoch µs)."""

    sensor: str
    ts: int
    values: tuple[tuple[str, float], ...]


@attrs.define(eq=False)
class Troubles:
    """Cells that were no readings."""

    empty: int = 0
    unreadable: int = 0
    examples: list[str] = attrs.field(factory=list)

    def unreadable_cell(self, where: str) -> None:
        self.unreadable += 1
        if len(self.examples) < 5:
            self.examples.append(where)


def parse_zone(text: str) -> tzinfo:
    """UTC, +03:00 or a name such as America/Sao_Paulo. Raises Invalid."""
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", text)
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    if text.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise Invalid(f'--tz: there is no time zone "{text}"; try America/Sao_Paulo.') from error


def legal(name: str, *, extra: str = "") -> str:
    """The name with every illegal character as one underscore, cut to what fits."""
    return re.sub(rf"[^A-Za-z0-9_\-:.{extra}]", "_", name.strip())[: 64 if extra else 128] or "_"


def parse_time(text: str, zone: tzinfo) -> int:
    """Epoch µs of an ISO time (without offset: in `zone`) or of an epoch in s, ms, µs or ns."""
    text = text.strip()
    if re.fullmatch(r"\d{9,19}(\.\d+)?", text):
        whole, _, fraction = text.partition(".")
        digits = len(whole)
        if digits <= 11:
            return int(whole) * 1_000_000 + int((fraction + "000000")[:6])
        ticks = int(whole)
        return ticks * 1_000 if digits <= 14 else ticks if digits <= 17 else ticks // 1_000
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def look(path: Path, choices: Choices) -> Layout:
    """Decide what the file is. Raises Invalid with what to say instead."""
    with _open(path) as file:
        separator = choices.separator or _separator(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=separator)
        header = [cell.strip() for cell in next(reader, [])]
        sample = [row for row, _ in zip(reader, range(_LOOK_AHEAD), strict=False)]
    if len(header) < 2 or not sample:
        raise Invalid(f"{path}: a header and at least one line are needed; see --separator.")
    notes: list[str] = []
    time = _time_column(path, header, sample, choices)
    sensor_column = None
    if choices.sensor_column is not None:
        sensor_column = _index(path, header, choices.sensor_column)
    wanted = set(choices.metrics)
    metrics = []
    for index, name in enumerate(header):
        skipped = index in (time, sensor_column) or name in choices.exclude
        if skipped or (wanted and name not in wanted):
            continue
        if not any(_is_number(row[index]) for row in sample if index < len(row)):
            notes.append(f'{path.name}: column "{name}" holds no numbers and is left out')
            continue
        metric = legal(choices.rename.get(name, name), extra="/")
        if metric != name and name not in choices.rename:
            notes.append(f'{path.name}: column "{name}" becomes metric {metric}')
        metrics.append((index, metric))
    if not metrics:
        raise Invalid(f"{path}: no column holds numbers; see --metrics and --exclude.")
    names = [metric for _, metric in metrics]
    if len(set(names)) < len(names):
        raise Invalid(f"{path}: two columns become one metric; tell them apart with --rename.")
    sensor = choices.sensor or legal(path.stem)
    return Layout(
        path, separator, time, tuple(metrics), sensor, sensor_column, tuple(notes), tuple(header)
    )


def check_names(layouts: Sequence[Layout], choices: Choices) -> None:
    """Every column that the user named is in one of the files. Raises Invalid."""
    known = dict.fromkeys(column for layout in layouts for column in layout.columns)
    for name in [*choices.metrics, *choices.exclude, *choices.rename]:
        if name not in known:
            raise Invalid(f'No file has a column "{name}"; there are {", ".join(known)}.')


def read(layout: Layout, zone: tzinfo, troubles: Troubles) -> Iterator[Row]:
    """Every line of the file in its order; lines without a readable time are counted."""
    with _open(layout.path) as file:
        reader = csv.reader(file, delimiter=layout.separator)
        next(reader, None)
        for cells in reader:
            where = f"{layout.path.name}:{reader.line_num}"
            if not cells:
                continue
            try:
                ts = parse_time(cells[layout.time], zone)
            except (ValueError, IndexError, OverflowError):
                troubles.unreadable_cell(f"{where}: no time")
                continue
            sensor = layout.sensor
            if layout.sensor_column is not None:
                sensor = legal(cells[layout.sensor_column])
            yield Row(sensor, ts, tuple(_values(layout, cells, where, troubles)))


def _values(
    layout: Layout, cells: Sequence[str], where: str, troubles: Troubles
) -> Iterator[tuple[str, float]]:
    for index, metric in layout.metrics:
        cell = cells[index].strip() if index < len(cells) else ""
        if not cell:
            troubles.empty += 1
        elif _is_number(cell):
            yield metric, float(cell)
        else:
            troubles.unreadable_cell(f'{where}: {metric} "{cell[:20]}"')


def _open(path: Path) -> TextIO:
    try:
        return path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror}.") from error


def _separator(header: str) -> str:
    return max(SEPARATORS, key=header.count)


def _index(path: Path, header: Sequence[str], name: str) -> int:
    if name not in header:
        raise Invalid(f'{path}: there is no column "{name}"; there are {", ".join(header)}.')
    return header.index(name)


def _time_column(
    path: Path, header: Sequence[str], sample: Sequence[Sequence[str]], choices: Choices
) -> int:
    if choices.time is not None:
        return _index(path, header, choices.time)
    for index in range(len(header)):
        good = sum(_parses(row[index], choices.zone) for row in sample if index < len(row))
        if 2 * good > len(sample):  # real files have broken lines
            return index
    raise Invalid(f"{path}: no column is a time; name it with --time.")


def _parses(cell: str, zone: tzinfo) -> bool:
    return _tries(lambda: parse_time(cell, zone))


def _is_number(cell: str) -> bool:
    return _tries(lambda: float(cell)) and cell.strip().lower() not in ("nan", "inf", "-inf")


def _tries(work: Callable[[], object]) -> bool:
    try:
        work()
    except (ValueError, OverflowError):
        return False
    return True
