"""`atalaia simulate`: made-up sensors that send to a running server until they are stopped."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import attrs
import httpx
import trio
from cyclopts import Parameter
from rich.console import Console

from atalaia.cli.connection import Connection, find_connection
from atalaia.cli.progress import Progress
from atalaia.cli.sender import GaveUp, Sender, Tally
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
    url: str | None = None,
    key: str | None = None,
    data_dir: Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")] = None,
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
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    console = Console(stderr=True)
    tally = Tally()
    try:
        if sensors < 1:
            raise Invalid("--sensors must be 1 or more.")
        work = _Simulation(
            connection=find_connection(url, key, data_dir),
            step=_stepper(sensors, prefix, Faults(noise, drift, stuck, gaps, outages, late), seed),
            interval_us=parse_duration(interval),
            duration_us=None if duration is None else parse_duration(duration),
            give_up_s=give_up_after,
            tally=tally,
            console=console,
        )
        trio.run(work.run)
    except AtalaiaError as error:
        console.print(f"atalaia: {error.detail}", style="red", highlight=False)
        return 2 if isinstance(error, Invalid) else 1
    except GaveUp as error:
        console.print(f"atalaia: {error}", style="red", highlight=False)
        return 1
    except KeyboardInterrupt:
        pass
    print(
        f"sent {tally.sent:,}: accepted {tally.accepted:,} (late {tally.late:,}),"
        f" duplicates {tally.duplicates:,}, rejected {tally.rejected.total():,}"
    )
    return 0


def _stepper(
    count: int, prefix: str, faults: Faults, seed: int
) -> Callable[[int], list[dict[str, Any]]]:
    made = make_sensors(count, prefix=prefix, faults=faults, seed=seed)
    return lambda ts: [attrs.asdict(reading) for reading in readings(made, ts)]


@attrs.frozen(eq=False)
class _Simulation:
    connection: Connection
    step: Callable[[int], list[dict[str, Any]]]
    interval_us: int
    duration_us: int | None
    give_up_s: float
    tally: Tally
    console: Console

    async def run(self) -> None:
        """One batch per interval; when the server was away, the missed steps follow."""
        start_us = time.time_ns() // 1000
        async with httpx.AsyncClient(timeout=30.0) as client:
            sender = Sender(self.connection, client, self.tally, self.give_up_s)
            with Progress(self.console, lambda sent, rate: f"{sent:,} sent") as progress:
                ts = start_us
                while self.duration_us is None or ts - start_us < self.duration_us:
                    rows = self.step(ts)
                    for first in range(0, len(rows), BATCH):
                        await sender.send(rows[first : first + BATCH])
                    progress.update(self.tally.sent)
                    ts += self.interval_us
                    await trio.sleep(max(0.0, (ts - time.time_ns() // 1000) / 1e6))
