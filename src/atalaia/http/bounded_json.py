"""JSON of requests that are not readings: bounded before and after it is read.

What is long is read beside the event loop, one at a time. A body of 8 MiB, which files may have,
can be millions of lists: seconds of everybody's time, and hundreds of MiB.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from atalaia.model.errors import Invalid, TooLarge

MAX_BYTES = 1024 * 1024  # texts of rules have 20,000 characters, a question 100 series
MAX_DEPTH = 32
AT_ONCE_BYTES = 16 * 1024  # in a millisecond or two; a MiB takes up to 250, beside the event loop


def decode(data: bytes) -> Any:
    """Raises TooLarge; Invalid (`bad_json`) for what is no JSON, names a field twice, or is nested
    too deep."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"A body of JSON, but for readings, may have {MAX_BYTES} bytes.")
    try:
        document = msgspec.json.decode(data)
        # msgspec takes the last of two: what was checked on the way here may have been the first.
        json.loads(data, object_pairs_hook=_check_names, parse_int=str, parse_float=str)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise Invalid(f"The body is not JSON: {error}.", code="bad_json") from error
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise _too_deep()
    return document


def _check_names(pairs: Sequence[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("an object names a field twice")


def _too_deep() -> Invalid:
    return Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", code="bad_json")
