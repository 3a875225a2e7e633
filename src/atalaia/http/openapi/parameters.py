"""Parameters that several routes have."""

from typing import Any

from atalaia.buckets.lttb import FEWEST
from atalaia.buckets.table import AGGREGATES, FILLS
from atalaia.http import params, series
from atalaia.http.openapi.ids import (
    ALERT_ID,
    KEY_ID,
    METRIC,
    PROFILE,
    RULE_ID,
    SENSOR,
    TENANT_ID,
    USER_ID,
)
from atalaia.http.openapi.operation import Parameter, Schema

TEXT: Schema = {"type": "string"}
TAG: Schema = {"type": "string", "pattern": r"^[^\u0000]*$"}
NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9_:.\-]{1,128}$"}
METRIC_NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9_:./\-]{1,64}$"}
UUID: Schema = {"type": "string", "format": "uuid"}
TIME: Schema = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": -62_135_510_400_000, "maximum": 253_402_214_400_000},
    ]
}
FLAG: Schema = {"type": "boolean", "default": False}


def whole(least: int, most: int, default: int | None = None) -> Schema:
    known: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    return known if default is None else known | {"default": default}


def one_of(*texts: str, default: str | None = None) -> Schema:
    known: dict[str, Any] = {"type": "string", "enum": list(texts)}
    return known if default is None else known | {"default": default}


def some_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema, "minItems": 1}


def limit(most: int = params.MAX_LIMIT) -> Parameter:
    return Parameter("limit", "How many at most.", whole(1, most, params.DEFAULT_LIMIT))


CURSOR = Parameter("cursor", "`next_cursor` of the page before.", TEXT)
COUNT = Parameter("count", "Say in `total` how many there are over all pages.", FLAG)
PAGES = (limit(), CURSOR, COUNT)
SINCE = Parameter("from", "Since when, included: RFC 3339, or epoch milliseconds.", TIME)
UNTIL = Parameter("to", "Until when, included.", TIME)
SENSORS = Parameter("sensor", "Their names or ids, with commas between.", some_of(TEXT))
METRICS = Parameter("metric", "Their names, with commas between.", some_of(TEXT))
SELECTOR = Parameter(
    "selector", "Which sensors: the words after `on` in a rule.", TEXT | {"examples": ["sensors"]}
)
BUCKETS = (
    Parameter("bucket", "How long a bucket is, `1ms` to `3660d`: readings are summed up.", TEXT),
    Parameter("agg", "Of each bucket; `avg` when not said.", some_of(one_of(*AGGREGATES))),
    Parameter("fill", "What stands in buckets without readings.", one_of(*FILLS, default="none")),
    Parameter("tz", "The time zone of buckets of whole days.", TEXT | {"default": "UTC"}),
    Parameter(
        "points",
        "Instead of a bucket: so many readings that look like all of them.",
        whole(FEWEST, series.MOST_BUCKETS),
    ),
)

OF_PATHS = {
    one.name: one
    for one in (
        Parameter("sensor", "The sensor's name; where it reads, its id too.", NAME, "path"),
        Parameter("metric", "The metric's name.", METRIC_NAME, "path"),
        Parameter("rule", "The rule's id.", UUID, "path"),
        Parameter("alert", "The alert's id.", UUID, "path"),
        Parameter("name", "The profile's name.", TEXT | {"minLength": 1}, "path"),
        Parameter("user", "The user's id.", UUID, "path"),
        Parameter("key", "The key's id.", {"type": "string", "pattern": "^[0-9a-f]{16}$"}, "path"),
        Parameter("tenant", "The tenant's id.", UUID, "path"),
        Parameter("token", "A key, or `{key}:{device}`.", TEXT, "path"),
        Parameter("file", "One of the page's files.", TEXT, "path"),
    )
}
"""By the names that the routes give them."""

SHOWN = {
    "sensor": SENSOR,
    "metric": METRIC,
    "rule": RULE_ID,
    "alert": ALERT_ID,
    "name": PROFILE,
    "user": USER_ID,
    "key": KEY_ID,
    "tenant": TENANT_ID,
}
"""What examples put there when they do not say."""
