"""Query parameters and cursors: text in, values out, one clear error each."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from werkzeug.datastructures import MultiDict

from atalaia.model.errors import Invalid
from atalaia.model.ids import Micros

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
MAX_NAME_CHARS = 100  # of a parameter, where it is repeated
MAX_READINGS = 10_000  # readings are small, and a chart wants many

T = TypeVar("T")

# Bounded in digits before int() sees them: Python refuses to read a few thousand.
_COUNT = re.compile(r"\d{1,9}", re.ASCII)
_EPOCH_MS = re.compile(r"-?\d{1,15}", re.ASCII)

# A day inside the years 1 to 9999 of datetime: queries count on by a little.
_EARLIEST = Micros(-62_135_510_400_000_000)
_LATEST = Micros(253_402_214_400_000_000)


def bad(name: str, advice: str) -> Invalid:
    return Invalid(f"{name}: {advice}", code="bad_parameter")


def check_known(asked: Iterable[str], known: Sequence[str]) -> None:
    """Raises Invalid for one that there is not, with those that there are."""
    for name in asked:
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "there are none"
            raise bad(name[:MAX_NAME_CHARS] or '""', f"there is no such parameter here; {there}.")


def parameters(scope: Mapping[str, Any]) -> dict[str, str]:
    """Of the query; of several of a name the last one."""
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in asked.items()}


def limit(args: Mapping[str, str], *, highest: int = MAX_LIMIT) -> int:
    """How many items a page holds."""
    return whole(args.get("limit", str(DEFAULT_LIMIT)), "limit", 1, highest)


def whole(text: str, name: str, lowest: int, highest: int) -> int:
    if not (_COUNT.fullmatch(text) and lowest <= int(text) <= highest):
        raise bad(name, f"give a whole number from {lowest} to {highest}.")
    return int(text)


def names(args: MultiDict[str, str], name: str) -> list[str]:
    """What is given once or more, or with commas between; each once, in order."""
    texts = [text for given in args.getlist(name) for text in given.split(",")]
    for text in texts:
        _check_text(name, text)
    return list(dict.fromkeys(texts))


def time(args: Mapping[str, str], name: str) -> Micros | None:
    """RFC 3339 with an offset, or an integer of epoch milliseconds."""
    text = args.get(name)
    if text is None:
        return None
    moment = Micros(int(text) * 1000) if _EPOCH_MS.fullmatch(text) else _parsed(text, name)
    if not fits_time(moment):
        raise bad(name, "give a time in the years 1 to 9999.")
    return moment


def _parsed(text: str, name: str) -> Micros:
    try:
        # A "+" of an offset that was not percent-encoded arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if moment.tzinfo is None:
            raise bad(name, "the time needs an offset, such as Z or -03:00.")
        return micros(moment)
    except (ValueError, OverflowError) as error:
        raise bad(
            name, "give an RFC 3339 time such as 2026-01-31T12:00:00Z, or epoch milliseconds."
        ) from error


def micros(moment: datetime) -> Micros:
    """Exact: a float of seconds would round the last digits."""
    seconds = int(moment.replace(microsecond=0).timestamp())
    return Micros(seconds * 1_000_000 + moment.microsecond)


def identifier(text: str) -> UUID | None:
    """None for anything that is not a UUID: no such thing can exist."""
    try:
        return UUID(text)
    except ValueError:
        return None


def choice(args: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = args.get(name)
    if value is not None and value not in allowed:
        raise bad(name, f"give one of {', '.join(allowed)}.")
    return value


def text(args: Mapping[str, str], name: str) -> str | None:
    """Any that Postgres can hold."""
    value = args.get(name)
    if value is not None:
        _check_text(name, value)
    return value


def _check_text(name: str, value: str) -> None:
    if "\0" in value:
        raise bad(name, "a NUL character is in no text here.")


def flag(args: Mapping[str, str], name: str) -> bool:
    return choice(args, name, ("true", "false")) == "true"


def cursor(args: Mapping[str, str], kind: type[T], fits: Callable[[T], bool]) -> T | None:
    """What `next_cursor` of the page before said; fits tells what a query can take.

    A cursor is not signed: whoever forges one reads another page of what is the tenant's own.
    """
    text = args.get("cursor")
    if text is None:
        return None
    fault = bad("cursor", "pass next_cursor of the page before, unchanged.")
    try:
        packed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        position = msgspec.json.decode(packed, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise fault from error
    if not fits(position):
        raise fault
    return position


def fits_int4(number: int) -> bool:
    return 0 <= number < 1 << 31


def fits_time(moment: int) -> bool:
    return _EARLIEST <= moment <= _LATEST


def next_cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")
