"""Times as devices write them, to UTC epoch µs."""

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

Precision = Literal["h", "m", "s", "ms", "us", "ns"]

MICROS_PER = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}
EARLIEST_US = 31_536_000_000_000
"""1971-01-01: today's seconds taken for ms, ms for µs and µs for ns all lie in January 1970, and so
does a clock that was never set."""
LATEST_US = 7_258_118_400_000_000
"""2200-01-01: beyond it a time is a mistake of units likewise."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)

ADVICE = "send RFC 3339 with an offset, such as 2026-01-31T12:00:00Z, or an integer epoch"


def parse_rfc3339(text: str) -> int:
    """Epoch µs; digits beyond µs are dropped. Raises ValueError with what to do."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"the time is not understood; {ADVICE}")
    if match[2] is None:
        raise ValueError("the time has no offset; add Z for UTC, or one such as -03:00")
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICRO
    except (ValueError, OverflowError) as error:
        raise ValueError(f"there is no such time; {ADVICE}") from error


def scale(ticks: int, precision: Precision) -> int:
    """Epoch µs of an integer epoch; ns are floored."""
    return ticks // 1_000 if precision == "ns" else ticks * MICROS_PER[precision]


def check_range(micros: int) -> int:
    """Raises ValueError outside 1971 to 2200: the precision is wrong, or the clock is."""
    if not EARLIEST_US <= micros < LATEST_US:
        raise ValueError("the time is not between 1971 and 2200; is the precision parameter right?")
    return micros
