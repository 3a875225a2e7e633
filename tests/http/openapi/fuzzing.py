"""What schemathesis must be told of our media types, cursors and tags; it imports this by name."""

import re
from typing import Any

import schemathesis

from atalaia.http.conditions import TAGS


@schemathesis.serializer("application/x-ndjson", "text/csv")
def as_text(_: Any, value: Any) -> bytes:
    """As it stands."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_load_schema(_: Any, schema: dict[str, Any]) -> None:
    """Nobody makes cursors up: they are those of pages before."""
    for path in ("/", "/docs/"):
        del schema["paths"][path]  # leads to the page, as tests/http/test_docs.py sees
    for methods in schema["paths"].values():
        for told in methods.values():
            told["parameters"] = [one for one in told["parameters"] if one.get("name") != "cursor"]


@schemathesis.hook
def before_call(_: Any, case: Any, **__: Any) -> None:
    """It takes the number 0 for a text that fits any pattern: in a header that is meant to be fit,
    a tag that is none is left out.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive or not case.headers:
        return
    for name in ("If-Match", "If-None-Match"):
        if name in case.headers and not re.fullmatch(TAGS, str(case.headers[name])):
            del case.headers[name]
