"""`atalaia replay`: CSV files over HTTP to a running server, at their own pace or flat out."""

import time as clock
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio
from rich.console import Console
from rich.table import Table

from atalaia.cli.cells import parse_zone
from atalaia.cli.connection import USUAL, Connection, GaveUp, Server
from atalaia.cli.csv_source import (
    Account,
    Choices,
    Layout,
    Row,
    check_choices,
    check_columns,
    describe,
    look,
    read,
)
from atalaia.cli.pace import Pace, find_pace, parse_factor
from atalaia.cli.pace import shift_to_now as shifted_to_now
from atalaia.cli.progress import Progress, interrupted, open_console, say_failure
from atalaia.cli.sender import Sender, Tally, count_alerts
from atalaia.cli.tables import table_console
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.model.ids import DAY_US

PACE_GRAIN_S = 0.1  # rows due within it travel together
MOST_DAYS = 8
"""Of the rows of a request: a server opens so many new days or months for one. It would have the
rest sent again, and what is newer would have made them late by then.
"""


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
    rename: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    tz: str = "UTC",
    separator: str | None = None,
    give_up_after: float = 60.0,
    server: Server = USUAL,
) -> int:
    """Send CSV files to a running server.

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
        Move all times to now, as far as no row is sent before its time.
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
    """
    console = open_console()
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
        check_choices(choices)
        factor = parse_factor(speed)
        layouts = [look(path, choices) for path in files]
        check_columns(layouts, choices)
        connection = server.connect()
        pace = find_pace(layouts, choices, factor)
        if shift_to_now:
            pace = shifted_to_now(pace, layouts, choices, clock.time_ns() // 1000)
        for note in describe(layouts):
            console.print(note, style="dim")
        work = _Replay(
            connection=connection,
            layouts=layouts,
            choices=choices,
            pace=pace,
            batch=batch,
            connections=connections,
            give_up_s=give_up_after,
            console=console,
        )
        return trio.run(work.run)
    except (AtalaiaError, GaveUp) as error:
        say_failure(console, str(error))
        return 2 if isinstance(error, Invalid) else 1


@attrs.define(eq=False)
class _Replay:
    connection: Connection
    layouts: Sequence[Layout]
    choices: Choices
    pace: Pace
    batch: int
    connections: int
    give_up_s: float
    console: Console
    tally: Tally = attrs.field(factory=Tally)
    account: Account = attrs.field(factory=Account)

    async def run(self) -> int:
        """Send everything and give the account; returns the exit code."""
        limits = httpx.Limits(max_connections=self.connections + 1)
        async with httpx.AsyncClient(timeout=30.0, limits=limits) as client:
            before = await count_alerts(self.connection, client)
            began = clock.monotonic()
            failure, stopped, opened = None, False, None
            size = sum(layout.path.stat().st_size for layout in self.layouts)
            try:
                with Progress(self.console, size) as progress:
                    stopped = await interrupted(lambda: self._send_all(client, progress))
            except* (GaveUp, Invalid) as gone:
                failure = str(gone.exceptions[0])
            took_s = clock.monotonic() - began
            if failure is None:
                try:
                    opened = await count_alerts(self.connection, client) - before
                except GaveUp as gone:
                    failure = str(gone)
        self._summarise(took_s, opened)
        if stopped:
            failure = "stopped"
        elif failure is None and self.tally.accepted + self.tally.duplicates == 0:
            failure = "nothing was stored"
        if failure is not None:
            say_failure(self.console, failure)
        return 130 if stopped else 0 if failure is None else 1

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
                    sender = Sender(
                        self.connection, client, self.tally, self.give_up_s,
                        lambda: self._show(progress, trio.current_time() - start),
                    )  # fmt: skip
                    nursery.start_soon(self._send_lane, sender, lane, start, progress)

    async def _send_lane(
        self, sender: Sender, lane: list[list[Layout]], start: float, progress: Progress
    ) -> None:
        pending: list[dict[str, Any]] = []
        days: set[int] = set()
        for row in self.pace.order([self._rows(layouts) for layouts in lane]):
            wait_s = start + self.pace.due_s(row.ts) - trio.current_time()
            days.add((row.ts + self.pace.shift_us) // DAY_US)
            full = len(pending) + len(row.values) > self.batch or len(days) > MOST_DAYS
            if pending and (full or wait_s > PACE_GRAIN_S):
                await sender.send(pending)
                pending = []
                days = {(row.ts + self.pace.shift_us) // DAY_US}
                self._show(progress, trio.current_time() - start)
            if wait_s > PACE_GRAIN_S:
                await trio.sleep_until(start + self.pace.due_s(row.ts))
            pending.extend(_readings(row, self.pace.shift_us))
        if pending:
            await sender.send(pending)
            self._show(progress, trio.current_time() - start)

    def _rows(self, layouts: Sequence[Layout]) -> Iterator[Row]:
        return chain.from_iterable(
            read(layout, self.choices.zone, self.account) for layout in layouts
        )

    def _show(self, progress: Progress, took_s: float) -> None:
        sent, retries = self.tally.sent, self.tally.retries
        line = f"{sent:,} readings, {sent / max(took_s, 1e-9):,.0f}/s"
        if self.tally.waiting:
            line += f", {self.tally.waiting:,} wait for new days or months"
        progress.update(
            self.account.read_chars, line + (f", {retries:,} sent again" if retries else "")
        )

    def _summarise(self, took_s: float, opened: int | None) -> None:
        tally, account = self.tally, self.account
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="dim")
        table.add_column(justify="right")
        for name, value in (
            ("sent", tally.sent),
            ("accepted", tally.accepted),
            ("  of them late", tally.late),
            ("duplicates", tally.duplicates),
            ("rejected", tally.rejected),
            ("alerts opened", opened),
            ("empty cells", account.empty),
            ("unreadable cells", account.unreadable),
            ("batches sent again", tally.retries),
            ("readings per second", round(tally.sent / max(took_s, 1e-9))),
        ):
            table.add_row(name, "?" if value is None else f"{value:,}")
        table_console().print(table)
        for sensor, name in account.sensors.items():
            if sensor != name:
                self.console.print(f'sensor "{sensor}" became {name}', style="dim")
        for line in [*(f"unreadable: {text}" for text in account.examples), *tally.reasons()]:
            self.console.print(line)


def _readings(row: Row, shift_us: int) -> Iterator[dict[str, Any]]:
    for metric, value in row.values:
        yield {"sensor": row.sensor, "metric": metric, "ts": row.ts + shift_us, "value": value}


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise Invalid(f'--rename: write OLD=NEW, not "{text}".')
    return old, new
