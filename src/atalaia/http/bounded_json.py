"""JSON of requests that are not readings: bounded before and after it is read.

It is read in the event loop. A body of 8 MiB, which files may have, can be millions of lists: half
a second of everybody's time, and hundreds of MiB.
"""

from typing import Any

import msgspec

from atalaia.model.errors import Invalid, TooLarge

MAX_BYTES = 1024 * 1024  # texts of rules have 20,000 characters, a question 100 series
MAX_DEPTH = 32


def decode(data: bytes) -> Any:
    """Raises TooLarge; Invalid (`bad_json`) for what is no JSON, or nested too deep."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"A body of JSON, but for readings, may have {MAX_BYTES} bytes.")
    try:
        document = msgspec.json.decode(data)
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


def _too_deep() -> Invalid:
    return Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", code="bad_json")
