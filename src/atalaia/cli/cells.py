"""What one cell or one name of a file means. Pure; wrong text is a ValueError or Invalid."""

import math
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from atalaia.model.errors import Invalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse_zone(text: str) -> tzinfo:
    """UTC, +03:00 or a name such as America/Sao_Paulo. Raises Invalid."""
    match = re.fullmatch(r"([+-])(\d\d):?([0-5]\d)", text, re.ASCII)
    if match is not None and int(match[2]) < 24:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset)
    if text.upper() in ("UTC", "Z"):
        return UTC
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise Invalid(f'--tz: there is no time zone "{text}"; try America/Sao_Paulo.') from error


def parse_time(text: str, zone: tzinfo) -> int:
    """Epoch µs of an ISO time (without offset: in `zone`) or of an epoch in s, ms, µs or ns.

    Raises ValueError or OverflowError.
    """
    text = text.strip()
    if re.fullmatch(r"\d{9,19}(\.\d+)?", text, re.ASCII):
        whole, _, fraction = text.partition(".")
        digits = len(whole)
        if digits <= 11:
            return int(whole) * 1_000_000 + int((fraction + "000000")[:6])
        ticks = int(whole)
        return ticks * 1_000 if digits <= 14 else ticks if digits <= 17 else ticks // 1_000
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def parse_number(text: str) -> float:
    """A finite decimal number; not Python's 1_0, nan or inf. Raises ValueError."""
    if _NUMBER.fullmatch(text.strip()) is None:
        raise ValueError(f"{text!r} is no number")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is too large")
    return number


def legal(name: str, *, extra: str = "") -> str:
    """The name with every illegal character as one underscore, cut to what fits."""
    return re.sub(rf"[^A-Za-z0-9_\-:.{extra}]", "_", name.strip())[: 64 if extra else 128] or "_"


def check_sensor(option: str, name: str) -> str:
    """The sensor's name that the user typed. Raises Invalid: the server would refuse every row."""
    if legal(name) != name:
        raise Invalid(f'{option}: "{name}" is not 1 to 128 of letters, digits and _ - : .')
    return name


def check_metric(option: str, name: str) -> str:
    """The metric's name that the user typed. Raises Invalid."""
    if legal(name, extra="/") != name:
        raise Invalid(f'{option}: "{name}" is not 1 to 64 of letters, digits and _ - : . /')
    return name
