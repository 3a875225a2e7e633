"""What schemathesis must be told of our media types and cursors; it imports this by name."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "text/csv")
def as_text(_: Any, value: Any) -> bytes:
    """As it stands."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_load_schema(_: Any, schema: dict[str, Any]) -> None:
    """Nobody makes cursors up: they are those of pages before."""
    for methods in schema["paths"].values():
        for told in methods.values():
            told["parameters"] = [one for one in told["parameters"] if one.get("name") != "cursor"]
