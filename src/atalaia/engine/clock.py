"""The wall clock: the only place that reads it. Arrival times come from here."""

import time
from typing import Protocol

from atalaia.model.ids import Micros


class WallClock(Protocol):
    """UTC now, in epoch µs; may step back, which its users must bear."""

    def now_us(self) -> Micros: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> Micros:
        return Micros(time.time_ns() // 1000)
