"""`atalaia replay`: CSV files over HTTP to a running server, at their own pace or flat out."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import attrs
import httpx
import trio
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from atalaia.cli.connection import find_connection
from atalaia.cli.csv_source import (
    Choices,
    Layout,
    Row,
    Troubles,
    check_names,
    look,
    parse_zone,
    read,
)
from atalaia.cli.progress import Progress
from atalaia.cli.sender import GaveUp, Sender, Tally, count_alerts
from atalaia.model.errors import AtalaiaError, Invalid

PACE_GRAIN_S = 0.1  # rows due within it travel together


@attrs.frozen
class Pace:
    """When a row is due. factor None: as soon as possible. shift_us is added to every time."""

    factor: float | None
    first_us: int
    shift_us: int

    def due_s(self, ts: int) -> float:
        """Seconds after the start of the replay."""
        return 0.0 if self.factor is None else (ts - self.first_us) / 1e6 / self.factor


def replay(
    *files: Path,
    time: str | None = None,
    metrics: str | None = None,
    sensor: str | None = None,
    sensor_column: str | None = None,
    speed: str = "max",
    shift_to_now: bool = False,
    batch: int = 1000,
    connections: int = 2,
    rename: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    exclude: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    tz: str = "UTC",
    separator: str | None = None,
    give_up_after: float = 60.0,
    url: str | None = None,
    key: str | None = None,
    data_dir: Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")] = None,
) -> int:
    """Send CSV files to a running server.

    The columns are found by looking; the options say otherwise. A batch that is not answered is
    sent again: what is stored already counts as duplicate.

    Parameters
    ----------
    files
        CSV files of any separator, with a header. Files of one sensor are sent in this order.
    time
        The time column. Default: the first column that is one.
    metrics
        Columns to send, separated by commas. Default: every column of numbers.
    sensor
        The sensor's name. Default: each file's name.
    sensor_column
        The column that names the sensor, when a file holds several.
    speed
        60x is an hour in a minute; max is as fast as the server takes it.
    shift_to_now
        Move all times: the last to now at max, else the first.
    batch
        Readings per request; the rows of one time stay together.
    connections
        Requests under way at once; one sensor stays on one of them.
    rename
        OLD=NEW gives a column another metric name.
    exclude
        Columns to leave out.
    tz
        The zone of times without an offset: UTC, +03:00, America/Sao_Paulo.
    separator
        The separator, when it is not , ; | or a tab.
    give_up_after
        Seconds to go on trying when the server is away.
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    console = Console(stderr=True)
    try:
        if not files:
            raise Invalid("Name at least one CSV file.")
        if batch < 1 or connections < 1:
            raise Invalid("--batch and --connections must be 1 or more.")
        choices = Choices(
            time=time,
            metrics=[part.strip() for part in metrics.split(",")] if metrics else (),
            sensor=sensor,
            sensor_column=sensor_column,
            rename=dict(_pair(text) for text in rename),
            exclude=exclude,
            zone=parse_zone(tz),
            separator=separator,
        )
        layouts = [look(path, choices) for path in files]
        check_names(layouts, choices)
        for note in dict.fromkeys(note for layout in layouts for note in layout.notes):
            console.print(note, highlight=False)
        work = _Replay(
            connection=find_connection(url, key, data_dir),
            layouts=layouts,
            choices=choices,
            pace=_pace(layouts, choices, _factor(speed), shift_to_now),
            batch=batch,
            connections=connections,
            give_up_s=give_up_after,
            console=console,
        )
        return trio.run(work.run)
    except AtalaiaError as error:
        console.print(f"atalaia: {error.detail}", style="red", highlight=False)
        return 2 if isinstance(error, Invalid) else 1


@attrs.define(eq=False)
class _Replay:
    connection: Any
    layouts: Sequence[Layout]
    choices: Choices
    pace: Pace
    batch: int
    connections: int
    give_up_s: float
    console: Console
    tally: Tally = attrs.field(factory=Tally)
    troubles: Troubles = attrs.field(factory=Troubles)

    async def run(self) -> int:
        limits = httpx.Limits(max_connections=self.connections + 1)
        async with httpx.AsyncClient(timeout=30.0, limits=limits) as client:
            try:
                before = await count_alerts(self.connection, client)
            except (GaveUp, httpx.HTTPError) as error:
                self.console.print(f"atalaia: {error}", style="red", highlight=False)
                return 1
            began = time.monotonic()
            failure = None
            try:
                with Progress(self.console, self._line) as progress:
                    await self._send_all(client, progress)
            except* GaveUp as gone:
                failure = str(gone.exceptions[0])
            took_s = time.monotonic() - began
            after = before if failure else await count_alerts(self.connection, client)
        self._summarise(took_s, after - before)
        if failure:
            self.console.print(f"atalaia: {failure}", style="red", highlight=False)
        return 1 if failure else 0

    async def _send_all(self, client: httpx.AsyncClient, progress: Progress) -> None:
        """Files of one sensor follow one another on one connection."""
        by_sensor: dict[str, list[Layout]] = {}
        for layout in self.layouts:
            name = "" if layout.sensor_column is not None else layout.sensor
            by_sensor.setdefault(name, []).append(layout)
        lanes = [list(by_sensor.values())[n :: self.connections] for n in range(self.connections)]
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for lane in lanes:
                if lane:
                    sender = Sender(self.connection, client, self.tally, self.give_up_s)
                    nursery.start_soon(self._send_lane, sender, lane, start, progress)

    async def _send_lane(
        self, sender: Sender, lane: list[list[Layout]], start: float, progress: Progress
    ) -> None:
        pending: list[dict[str, Any]] = []
        for layout in (layout for sensor in lane for layout in sensor):
            for row in read(layout, self.choices.zone, self.troubles):
                wait_s = start + self.pace.due_s(row.ts) - trio.current_time()
                full = len(pending) + len(row.values) > self.batch
                if pending and (full or wait_s > PACE_GRAIN_S):
                    await sender.send(pending)
                    pending = []
                    progress.update(self.tally.sent)
                if wait_s > PACE_GRAIN_S:
                    await trio.sleep(wait_s)
                pending.extend(_readings(row, self.pace.shift_us))
        if pending:
            await sender.send(pending)
            progress.update(self.tally.sent)

    def _line(self, sent: int, rate: float) -> str:
        return f"{sent:,} readings sent, {rate:,.0f}/s, {self.tally.retries} retries"

    def _summarise(self, took_s: float, opened: int) -> None:
        tally = self.tally
        rejected = sum(tally.rejected.values())
        codes = ", ".join(f"{code} {count}" for code, count in tally.rejected.most_common())
        table = Table(show_header=False, box=None)
        for name, value in (
            ("sent", f"{tally.sent:,}"),
            ("accepted", f"{tally.accepted:,}"),
            ("  of them late", f"{tally.late:,}"),
            ("duplicates", f"{tally.duplicates:,}"),
            ("rejected", f"{rejected:,}" + (f" ({codes})" if codes else "")),
            ("empty cells", f"{self.troubles.empty:,}"),
            ("unreadable cells", f"{self.troubles.unreadable:,}"),
            ("alerts opened", f"{opened:,}"),
            ("sent again", f"{tally.retries:,} batches"),
            ("readings per second", f"{tally.sent / max(took_s, 1e-9):,.0f}"),
        ):
            table.add_row(name, value)
        Console().print(table)
        for example in self.troubles.examples:
            self.console.print(f"unreadable: {example}", highlight=False)


def _readings(row: Row, shift_us: int) -> Iterator[dict[str, Any]]:
    for metric, value in row.values:
        yield {"sensor": row.sensor, "metric": metric, "ts": row.ts + shift_us, "value": value}


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise Invalid(f'--rename: write OLD=NEW, not "{text}".')
    return old, new


def _factor(speed: str) -> float | None:
    if speed == "max":
        return None
    try:
        factor = float(speed.removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise Invalid('--speed: write a factor such as 60x, or "max".')
    return factor


def _pace(
    layouts: Iterable[Layout], choices: Choices, factor: float | None, shift_to_now: bool
) -> Pace:
    firsts, lasts = [], []
    for layout in layouts:
        times = (row.ts for row in read(layout, choices.zone, Troubles()))
        first = next(times, None)
        if first is None:
            raise Invalid(f"{layout.path}: no line has a time that can be read.")
        firsts.append(first)
        lasts.append(max(times, default=first) if shift_to_now and factor is None else first)
    now_us = time.time_ns() // 1000
    shift_us = 0
    if shift_to_now:
        shift_us = now_us - (max(lasts) if factor is None else min(firsts))
    return Pace(factor, min(firsts), shift_us)
