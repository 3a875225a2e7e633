"""What never reaches a log, a metric or an answer: keys, tokens, passwords in URLs; and whatever
stands under a name of theirs.
"""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"
MAX_DEPTH = 8

_SECRET = re.compile(
    r"atl_[0-9a-f]{16}_[0-9a-f]+"
    r"|at[rt]_[0-9a-f]{16,}"
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\$2[aby]\$\d\d\$[./\w]{53}"
    r"|(?<=://)[^\s/@]+:[^\s@]+(?=@)"
)
_ROW = re.compile(r"^DETAIL: .*$", re.MULTILINE)
"""Where Postgres repeats the row that it refused."""
_NAMES = re.compile(
    "(proxy-)?authorization|(set-)?cookie|x-api-key|api_key|dsn|.*password|.*secret|(.*_)?token"
    "|ticket"
)


def redact(text: str) -> str:
    """The text without what is known by its form."""
    return _SECRET.sub(REDACTED, _ROW.sub(f"DETAIL: {REDACTED}", text))


def redacted(name: str, value: Any, depth: int = 0) -> Any:
    """A value as it may be said under this name, at any depth."""
    if _NAMES.fullmatch(name.lower()) or depth > MAX_DEPTH:
        return REDACTED
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: redacted(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted("", item, depth + 1) for item in value]
    return redact(repr(value))
