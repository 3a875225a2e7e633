"""The readings and the rule that every engine of bench/rules.py gets. Standard library only."""

import math
from collections.abc import Iterator

WIDTH_US, FOR_US = 300_000_000, 10_000_000
OPEN, CLEAR = 25.0, 24.0
START_US = 1_700_000_000_000_000


def readings(sensors: int, count: int) -> Iterator[tuple[int, int, float]]:
    """count readings (sensor, ts in µs, value): every sensor once a second, in turn.

    Each value is a wave of 20 minutes with a phase of its sensor's, and a small saw tooth.
    """
    waves = [math.sin(2 * math.pi * n / 1200) for n in range(1200)]
    for n in range(count):
        second, sensor = divmod(n, sensors)
        noise = (n * 7919 % 1000) / 500 - 1
        yield (
            sensor,
            START_US + second * 1_000_000,
            22 + 5 * waves[(second + sensor) % 1200] + noise,
        )
