"""`atalaia simulate`: made-up sensors that send to a running server until they are stopped."""

import math
import time
from collections.abc import Callable
from typing import Any

import attrs
import httpx
import trio
from rich.console import Console

from atalaia.cli.cells import check_sensor
from atalaia.cli.connection import USUAL, Connection, GaveUp, Server
from atalaia.cli.progress import Progress, interrupted, open_console, say_failure
from atalaia.cli.sender import Sender, Tally
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.rules.syntax import parse_duration
from atalaia.simulation import Faults, make_sensors, readings

BATCH = 5_000


def simulate(
    *,
    sensors: int = 10,
    interval: str = "1s",
    duration: str | None = None,
    noise: float = Faults().noise,
    drift: float = Faults().drift,
    stuck: float = Faults().stuck,
    gaps: float = Faults().gaps,
    outages: float = Faults().outages,
    late: float = Faults().late,
    seed: int = 1,
    prefix: str = "sim",
    give_up_after: float = 60.0,
    server: Server = USUAL,
) -> int:
    """Send the readings of simulated sensors until Ctrl-C.

    Parameters
    ----------
    sensors
        How many; each has temperature, humidity and vibration.
    interval
        Time between readings, such as 1s or 500ms.
    duration
        Stop after this long, such as 60s or 1h. Default: go on until Ctrl-C.
    noise
        Size of the noise as a share of the signal.
    drift
        Chance per reading that a value begins to drift.
    stuck
        Chance per reading that a value gets stuck for a while.
    gaps
        Chance per reading that it is missing.
    outages
        Chance per reading that the sensor is silent for some minutes.
    late
        Chance per reading that the next ones are held back and sent late.
    seed
        The same seed gives the same readings.
    prefix
        Names are prefix-1, prefix-2, ...
    give_up_after
        Seconds to go on trying when the server is away.
    """
    console = open_console()
    try:
        if sensors < 1:
            raise Invalid("--sensors must be 1 or more.")
        faults = Faults(noise, drift, stuck, gaps, outages, late)
        _check_faults(faults)
        check_sensor("--prefix", f"{prefix}-{sensors}")
        work = _Simulation(
            connection=server.connect(),
            step=_stepper(sensors, prefix, faults, seed),
            interval_us=_longer_than_zero("--interval", interval),
            duration_us=None if duration is None else _longer_than_zero("--duration", duration),
            give_up_s=give_up_after,
            console=console,
        )
        return trio.run(work.run)
    except AtalaiaError as error:
        say_failure(console, error.detail)
        return 2 if isinstance(error, Invalid) else 1


def _longer_than_zero(option: str, text: str) -> int:
    duration_us = parse_duration(text)
    if duration_us == 0:
        raise Invalid(f"{option} must be longer than nothing.")
    return duration_us


def _check_faults(faults: Faults) -> None:
    for name, value in attrs.asdict(faults).items():
        if not (0 <= value <= 1 or (name == "noise" and 1 < value < math.inf)):
            raise Invalid(f"--{name} must be between 0 and 1, not {value}.")


def _stepper(
    count: int, prefix: str, faults: Faults, seed: int
) -> Callable[[int], list[dict[str, Any]]]:
    made = make_sensors(count, prefix=prefix, faults=faults, seed=seed)
    return lambda ts: [attrs.asdict(reading) for reading in readings(made, ts)]


@attrs.define(eq=False)
class _Simulation:
    connection: Connection
    step: Callable[[int], list[dict[str, Any]]]
    interval_us: int
    duration_us: int | None
    give_up_s: float
    console: Console
    tally: Tally = attrs.field(factory=Tally)

    async def run(self) -> int:
        """Send until the time is over or Ctrl-C, and give the account; returns the exit code."""
        failure = None
        try:
            # Ctrl-C is the usual end, and no failure
            await interrupted(self._send_all)
        except GaveUp as gone:
            failure = str(gone)
        tally = self.tally
        print(
            f"sent {tally.sent:,}: accepted {tally.accepted:,} (late {tally.late:,}),"
            f" duplicates {tally.duplicates:,}, rejected {tally.rejected:,}"
        )
        for line in tally.reasons():
            self.console.print(line)
        if failure is None and tally.nothing_stored:
            failure = "nothing was stored"
        if failure is not None:
            say_failure(self.console, failure)
        return 0 if failure is None else 1

    async def _send_all(self) -> None:
        """One batch per interval; when the server was away, the missed steps follow."""
        start_us = time.time_ns() // 1000
        async with httpx.AsyncClient(timeout=30.0) as client:
            sender = Sender(self.connection, client, self.tally, self.give_up_s)
            with Progress(self.console, self.duration_us) as progress:
                ts = start_us
                while self.duration_us is None or ts - start_us < self.duration_us:
                    rows = self.step(ts)
                    for first in range(0, len(rows), BATCH):
                        await sender.send(rows[first : first + BATCH])
                    ts += self.interval_us
                    progress.update(ts - start_us, f"{self.tally.sent:,} readings sent")
                    await trio.sleep(max(0.0, (ts - time.time_ns() // 1000) / 1e6))
