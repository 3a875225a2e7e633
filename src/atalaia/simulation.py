"""Sensors that behave like real ones: noise, drift, stuck values, gaps, outages, late bursts.

Pure: time is an argument, chance comes from a seed; the same seed gives the same readings.
"""

import math
import random
from collections.abc import Iterator, Sequence

import attrs

METRICS = {"temperature": (65.0, 6.0), "humidity": (48.0, 9.0), "vibration": (2.1, 0.4)}
"""Metric to (mean, amplitude of its slow wave)."""

WAVE_S = 240.0  # short enough to watch alerts open and clear


@attrs.frozen
class Faults:
    """How often things go wrong. noise: share of the amplitude; the others: chance per reading."""

    noise: float = 0.15
    drift: float = 0.002
    stuck: float = 0.002
    gaps: float = 0.01
    outages: float = 0.0005
    late: float = 0.002


@attrs.frozen
class Reading:
    """One simulated reading; ts in epoch µs."""

    sensor: str
    metric: str
    ts: int
    value: float


@attrs.define(eq=False)
class Sensor:
    """One device with all metrics. `step` is called once per interval."""

    name: str
    _faults: Faults
    _random: random.Random
    _phase: float = attrs.field(init=False)
    _drift: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(METRICS, 0.0))
    _slope: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(METRICS, 0.0))
    _stuck: dict[str, tuple[int, float]] = attrs.field(factory=dict)
    _silent: int = 0
    _held: list[Reading] = attrs.field(factory=list)
    _holding: int = 0

    def __attrs_post_init__(self) -> None:
        self._phase = self._random.uniform(0, 2 * math.pi)

    def step(self, ts: int) -> list[Reading]:
        """What the device delivers now: nothing in an outage, much after a late burst."""
        if self._silent:
            self._silent -= 1
            return []
        if self._happens(self._faults.outages):
            self._silent = self._random.randint(60, 300)
            return []
        taken = [
            Reading(self.name, metric, ts, self._value(metric, ts))
            for metric in METRICS
            if not self._happens(self._faults.gaps)
        ]
        if not self._holding and self._happens(self._faults.late):
            self._holding = 2 * self._random.randint(3, 15)
        if not self._holding:
            return taken
        # Every second reading is held back while the others go on, so that it arrives late.
        self._holding -= 1
        if self._holding % 2:
            self._held += taken
            return []
        if self._holding:
            return taken
        held, self._held = self._held, []
        return [*held, *taken]

    def _value(self, metric: str, ts: int) -> float:
        count, kept = self._stuck.get(metric, (0, 0.0))
        if count:
            self._stuck[metric] = (count - 1, kept)
            return kept
        mean, swing = METRICS[metric]
        if self._happens(self._faults.drift):
            self._slope[metric] = self._random.uniform(-0.02, 0.02) * swing
        self._drift[metric] = 0.995 * self._drift[metric] + self._slope[metric]
        wave = math.sin(2 * math.pi * ts / 1e6 / WAVE_S + self._phase)
        noise = self._random.gauss(0, self._faults.noise * swing) if self._faults.noise else 0.0
        value = round(mean + swing * wave + self._drift[metric] + noise, 3)
        if self._happens(self._faults.stuck):
            self._stuck[metric] = (self._random.randint(10, 60), value)
        return value

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._random.random() < chance


def make_sensors(count: int, *, prefix: str, faults: Faults, seed: int) -> list[Sensor]:
    """count sensors named prefix-1 to prefix-count, each with its own chance from the seed."""
    return [
        Sensor(f"{prefix}-{n}", faults, random.Random(f"{seed}/{n}"))  # noqa: S311 - a simulation
        for n in range(1, count + 1)
    ]


def readings(sensors: Sequence[Sensor], ts: int) -> Iterator[Reading]:
    """One step of every sensor."""
    for sensor in sensors:
        yield from sensor.step(ts)
