"""CSV files of any separator to readings: which column is the time, which are metrics.

Streams: memory does not grow with the file. Names that are not legal are made so, and said.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import TextIO

import attrs

from atalaia.cli.cells import check_metric, check_sensor, legal, parse_number, parse_time
from atalaia.cli.files import refused
from atalaia.model.errors import Invalid

SEPARATORS = ",;\t|"
_LOOK_AHEAD = 20  # rows that decide what a column is


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
class Account:
    """What was read, and which cells were no readings."""

    read_chars: int = 0
    empty: int = 0
    unreadable: int = 0
    examples: list[str] = attrs.field(factory=list)
    sensors: dict[str, str] = attrs.field(factory=dict)
    """Every name in a sensor column, and the legal one it became."""

    def unreadable_cell(self, where: str) -> None:
        self.unreadable += 1
        if len(self.examples) < 5:
            self.examples.append(where)

    def sensor(self, name: str) -> str:
        found = self.sensors.get(name)
        if found is None:
            found = self.sensors[name] = legal(name)
        return found


def check_choices(choices: Choices) -> None:
    """What the user typed can be sent. Raises Invalid."""
    separator = choices.separator
    if separator is not None and (len(separator) != 1 or separator in '"\r\n'):
        raise Invalid(f'--separator: give one character, not "{separator}".')
    if choices.sensor is not None:
        check_sensor("--sensor", choices.sensor)
    for name in choices.rename.values():
        check_metric("--rename", name)


def look(path: Path, choices: Choices) -> Layout:
    """Decide what the file is. Raises Invalid with what to say instead."""
    with _open(path) as file:
        separator = choices.separator or _separator(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=separator)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            sample = [row for row, _ in zip(reader, range(_LOOK_AHEAD), strict=False)]
        except csv.Error as error:
            raise Invalid(f"{path}:{reader.line_num}: {error}; is a quote left open?") from error
    if len(header) < 2 or not sample:
        raise Invalid(f"{path}: a header and at least one line are needed; see --separator.")
    time = _time_column(path, header, sample, choices)
    sensor_column = None
    if choices.sensor_column is not None:
        sensor_column = _index(path, header, choices.sensor_column)
    sensor = choices.sensor or legal(path.stem)
    notes: list[str] = []
    if sensor_column is None and sensor not in (path.stem, choices.sensor):
        notes.append(f"the sensor is named {sensor}")
    wanted = set(choices.metrics)
    metrics = []
    for index, name in enumerate(header):
        skipped = index in (time, sensor_column) or name in choices.exclude
        if skipped or (wanted and name not in wanted):
            continue
        if not any(_is_number(row[index]) for row in sample if index < len(row)):
            notes.append(f'column "{name}" holds no numbers and is left out')
            continue
        metric = choices.rename.get(name) or legal(name, extra="/")
        if metric != name and name not in choices.rename:
            notes.append(f'column "{name}" becomes metric {metric}')
        metrics.append((index, metric))
    if not metrics:
        raise Invalid(f"{path}: no column holds numbers; see --metrics and --exclude.")
    names = [metric for _, metric in metrics]
    if len(set(names)) < len(names):
        raise Invalid(f"{path}: two columns become one metric; tell them apart with --rename.")
    return Layout(
        path, separator, time, tuple(metrics), sensor, sensor_column, tuple(notes), tuple(header)
    )


def describe(layouts: Sequence[Layout]) -> Iterator[str]:
    """What was made of the files: once what is true of all, else with the first file's name."""
    files: dict[str, list[str]] = {}
    for layout in layouts:
        for note in layout.notes:
            files.setdefault(note, []).append(layout.path.name)
    for note, names in files.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield note if len(names) == len(layouts) else f"{names[0]}{others}: {note}"


def check_columns(layouts: Sequence[Layout], choices: Choices) -> None:
    """Every column that the user named is in one of the files. Raises Invalid."""
    known = dict.fromkeys(column for layout in layouts for column in layout.columns)
    for name in [*choices.metrics, *choices.exclude, *choices.rename]:
        if name not in known:
            raise Invalid(f'No file has a column "{name}"; there are {", ".join(known)}.')


def read(layout: Layout, zone: tzinfo, account: Account) -> Iterator[Row]:
    """Every line of the file in its order; lines without time or sensor are counted."""
    with _open(layout.path) as file:
        reader = csv.reader(_counted(file, account), delimiter=layout.separator)
        next(reader, None)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on at the next line
                account.unreadable_cell(f"{layout.path.name}:{reader.line_num}: {error}")
                continue
            if not cells:
                continue
            where = f"{layout.path.name}:{reader.line_num}"
            try:
                ts = parse_time(cells[layout.time], zone)
            except (ValueError, IndexError, OverflowError):
                account.unreadable_cell(f"{where}: no time")
                continue
            sensor = layout.sensor
            if layout.sensor_column is not None:
                name = _cell(cells, layout.sensor_column)
                if not name:
                    account.unreadable_cell(f"{where}: no sensor")
                    continue
                sensor = account.sensor(name)
            yield Row(sensor, ts, tuple(_values(layout, cells, where, account)))


def _cell(cells: Sequence[str], index: int) -> str:
    """Nothing when the line is too short."""
    return cells[index].strip() if index < len(cells) else ""


def _counted(file: Iterable[str], account: Account) -> Iterator[str]:
    for line in file:
        account.read_chars += len(line)
        yield line


def _values(
    layout: Layout, cells: Sequence[str], where: str, account: Account
) -> Iterator[tuple[str, float]]:
    for index, metric in layout.metrics:
        cell = _cell(cells, index)
        if not cell:
            account.empty += 1
            continue
        try:
            yield metric, parse_number(cell)
        except ValueError:
            account.unreadable_cell(f'{where}: {metric} "{cell[:20]}"')


def _open(path: Path) -> TextIO:
    try:
        return path.open(newline="", encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise refused(path, error) from error


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
    return _tries(lambda: parse_number(cell))


def _tries(work: Callable[[], object]) -> bool:
    try:
        work()
    except (ValueError, OverflowError):
        return False
    return True
