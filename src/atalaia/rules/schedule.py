"""When a rule may open an alert: days and hours of a place, as intervals of UTC.

Pure but for the time zones' rules, which the interpreter reads from its database.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import attrs

from atalaia.model.errors import Invalid

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WORDS = {"weekdays": "mon-fri", "weekends": "sat,sun", "daily": "mon-sun"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


@attrs.frozen
class Schedule:
    """days: 0 is Monday; minutes of the local day, end beyond 24 h where it spans midnight."""

    days: tuple[int, ...]
    start_minute: int
    end_minute: int
    zone: str

    def intervals(self, since_us: int, until_us: int) -> Iterator[tuple[int, int]]:
        """[start, end) in epoch µs, ascending, of every day that touches the range."""
        zone = ZoneInfo(self.zone)
        first, last = _local(since_us, zone).toordinal(), _local(until_us, zone).toordinal()
        return self.of_days(range(first - 2, last + 2))

    def of_days(self, days: Iterable[int]) -> Iterator[tuple[int, int]]:
        """[start, end) of what begins on each of these days of the place, given as ordinals.

        One may end before it starts: hours that a change of the clock leaves out.
        """
        zone = ZoneInfo(self.zone)
        for ordinal in days:
            day = date.fromordinal(ordinal)
            if day.weekday() in self.days:
                yield (
                    self._edge(day, self.start_minute, zone),
                    self._edge(day, self.end_minute, zone),
                )

    def _edge(self, day: date, minute: int, zone: ZoneInfo) -> int:
        later, minute = divmod(minute, 24 * 60)
        local = datetime.combine(day + later * _DAY, time(minute // 60, minute % 60), zone)
        return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _local(us: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone).date()


def parse_schedule(days: str, clock: str | None, zone: str) -> Schedule:
    """`weekdays`, `mon-fri`, `mon,wed`; `08:00-18:00` or all day; a zone. Raises Invalid."""
    chosen: set[int] = set()
    for part in _WORDS.get(days, days).split(","):
        first, _, last = part.partition("-")
        start, end = DAY_NAMES.index(first), DAY_NAMES.index(last or first)
        chosen |= {day % 7 for day in range(start, end + 1 + 7 * (end < start))}
    start_minute, end_minute = 0, 24 * 60
    if clock is not None:
        start_minute, end_minute = (_minutes(text) for text in clock.split("-"))
        if start_minute == end_minute:
            raise Invalid("The schedule is empty: it ends when it begins.")
        if end_minute < start_minute:
            end_minute += 24 * 60
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        shown = zone if len(zone) <= 60 else zone[:60] + "…"
        raise Invalid(f'There is no time zone "{shown}"; try America/Sao_Paulo or UTC.') from error
    return Schedule(tuple(sorted(chosen)), start_minute, end_minute, zone)


def _minutes(text: str) -> int:
    match = re.fullmatch(r"(\d\d):(\d\d)", text)
    hours, minutes = (int(match[1]), int(match[2])) if match else (99, 0)
    if hours * 60 + minutes > 24 * 60 or minutes > 59:
        raise Invalid(f'"{text}" is no time of day; write one from 00:00 to 24:00.')
    return hours * 60 + minutes
