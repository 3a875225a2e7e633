"""Readings in, in each of the wires."""

from typing import Annotated, Any, Literal

import msgspec

from atalaia.http.influx import METRIC_TAGS, SENSOR_TAG
from atalaia.http.openapi.ids import API_KEY
from atalaia.http.openapi.operation import (
    JSON,
    NDJSON,
    Answer,
    Body,
    Example,
    Operation,
    Parameter,
    Subject,
    said,
)
from atalaia.http.openapi.parameters import METRIC_NAME, NAME, TEXT, one_of
from atalaia.http.openapi.problems import Problem

TS: dict[str, Any] = {
    "description": "RFC 3339 with an offset, or an epoch in the unit of `precision`.",
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
}
VALUE: dict[str, Any] = {"type": ["number", "boolean"], "description": "Finite."}
_NAMES = {"sensor": NAME, "metric": METRIC_NAME}
ROW: dict[str, Any] = {
    "title": "A reading",
    "type": "object",
    "properties": {**_NAMES, "ts": TS, "value": VALUE},
    "required": ["sensor", "metric", "ts", "value"],
}
COLUMNS: dict[str, Any] = {
    "title": "Columns of a series",
    "type": "object",
    "properties": {
        **_NAMES,
        "ts": {"type": "array", "items": TS, "minItems": 1},
        "value": {"type": "array", "items": VALUE, "minItems": 1},
    },
    "required": ["sensor", "metric", "ts", "value"],
}
READINGS = {
    "anyOf": [
        ROW,
        {"title": "Readings", "type": "array", "items": ROW, "minItems": 1},
        {
            "title": "Readings in an object",
            "type": "object",
            "properties": {"readings": {"type": "array", "items": ROW, "minItems": 1}},
            "required": ["readings"],
        },
        COLUMNS,
        {"title": "Columns of many series", "type": "array", "items": COLUMNS, "minItems": 1},
    ]
}
_TELEMETRY = {
    "title": "Values by metric",
    "type": "object",
    "minProperties": 1,
    "examples": [{"temperature": 21.5}],
}


class Rejected(msgspec.Struct):
    """A row that was not taken."""

    index: Annotated[int, said("Its place in the body, from 0.")]
    code: str
    detail: Annotated[str, said("What is wrong, and what to do about it.")]


class Account(msgspec.Struct):
    """What became of a batch: accepted + duplicates + rejected_count is what was sent."""

    accepted: int
    duplicates: Annotated[int, said("Series and time were there: the first value stays.")]
    late: Annotated[int, said("Of the accepted: stored, and not judged by rules.")]
    rejected: Annotated[list[Rejected], said("The first 1,000.")]
    rejected_count: int
    durability: Literal["committed", "queued"]
    ignored: Annotated[int | msgspec.UnsetType, said("Values that are no numbers.")] = msgspec.UNSET


class NoRowTaken(Problem, kw_only=True):
    """An error, and what became of the batch."""

    accepted: Literal[0]
    duplicates: Literal[0]
    late: Literal[0]
    rejected: list[Rejected]
    rejected_count: int
    ignored: int | msgspec.UnsetType = msgspec.UNSET


PRECISION = Parameter(
    "precision", "The unit of epochs.", one_of("s", "ms", "us", "ns", default="ms")
)
ANSWERS = {
    200: Answer("Committed.", Account),
    202: Answer("A queue holds them, from a process of the role `http`.", Account),
}
ERRORS: dict[int, str | Answer] = {
    415: "`unsupported_encoding`.",
    422: Answer("`all_rejected`: no row could be taken. `dead_lettered`.", (NoRowTaken, Problem)),
    429: "`quota_readings`, `quota_bytes`, `overloaded`, `too_much_memory`: send it again later.",
}
ENCODING = Parameter(
    "Content-Encoding",
    "How the body is packed.",
    one_of("identity", "gzip", "deflate", ""),
    "header",
)
AT = "2026-01-31T12:00:00Z"
LINE = "boiler,sensor=boiler-3 temperature=71.5,pressure=1.2 1769860800000000000"
LINES = {"type": "string", "examples": [LINE]}
_TAGS = (
    Parameter("sensor_tag", "The tag that names the sensor.", TEXT),
    Parameter("metric_tags", "Up to 8 tags that are part of the metric, with commas.", TEXT),
    Parameter(SENSOR_TAG.decode(), "As `sensor_tag`.", TEXT, "header"),
    Parameter(METRIC_TAGS.decode(), "As `metric_tags`.", TEXT, "header"),
    ENCODING,
)
_WRITTEN = {
    204: Answer("Committed.", headers=["X-Atalaia-Ignored"]),
    202: Answer("A queue holds them, from a process of the role `http`."),
}
_WRITE = (
    "Each field that is a number or a boolean is a reading of `<measurement>_<field>`, or of "
    "`<measurement>` for the field `value`."
)

INGEST = Subject(
    "Readings in",
    "What devices and gateways send.",
    {
        "POST /v1/readings": Operation(
            "sendReadings",
            "Send readings",
            "Answered after the commit. A bad row spoils nothing else. The same reading twice is "
            "stored once. At most 50,000 readings and 8 MiB.",
            parameters=[
                PRECISION,
                Parameter("bool", "Take true and false as 1 and 0.", one_of("number", "")),
                ENCODING,
            ],
            body=Body({JSON: READINGS, NDJSON: {"type": "string"}}),
            answers=ANSWERS,
            errors=ERRORS,
            examples=[
                Example(
                    "rows",
                    "Two readings",
                    body=[
                        {"sensor": "boiler-1", "metric": "temperature", "ts": AT, "value": 71.5},
                        {"sensor": "boiler-1", "metric": "pressure", "ts": AT, "value": 1.2},
                    ],
                ),
                Example(
                    "columns",
                    "A series in columns, times in seconds",
                    query={"precision": "s"},
                    body={
                        "sensor": "boiler-2",
                        "metric": "temperature",
                        "ts": [1769860800, 1769860810],
                        "value": [70.5, 70.75],
                    },
                ),
                Example(
                    "lines",
                    "One object per line",
                    body='{"sensor":"boiler-2","metric":"pressure","ts":1769860800000,"value":1}\n',
                    content_type=NDJSON,
                ),
                Example(
                    "refused",
                    "No row can be taken",
                    body={"sensor": "boiler-1", "metric": "temperature", "ts": AT, "value": "hot"},
                    status=422,
                ),
            ],
        ),
        "POST /api/v1/<token>/telemetry": Operation(
            "sendTelemetry",
            "Send as ThingsBoard's devices do",
            "The token is a key, or `{key}:{device}`. Texts and objects are counted as ignored.",
            parameters=[Parameter("device", "The sensor's name.", NAME), ENCODING],
            body=Body(
                {
                    JSON: {
                        "anyOf": [
                            _TELEMETRY,
                            {"type": "array", "items": _TELEMETRY, "minItems": 1},
                        ]
                    }
                }
            ),
            answers=ANSWERS,
            errors=ERRORS | {401: "The token is no key.", 403: "The key lacks the scope."},
            examples=[
                Example(
                    "values",
                    "With a time",
                    path={"token": f"{API_KEY}:boiler-4"},
                    body={"ts": 1769860800000, "values": {"temperature": 71.5, "mode": "eco"}},
                )
            ],
        ),
        "POST /api/v2/write": Operation(
            "writeLines",
            "Send line protocol (InfluxDB 2)",
            _WRITE,
            parameters=[
                Parameter(
                    "precision", "The unit of times.", one_of("ns", "us", "ms", "s", default="ns")
                ),
                *_TAGS,
            ],
            body=Body({"text/plain": LINES}),
            answers=_WRITTEN,
            examples=[
                Example("line", "A line", body=LINE, content_type="text/plain"),
                Example(
                    "refused",
                    "A line without a sensor",
                    body="boiler temperature=71.5",
                    content_type="text/plain",
                    status=400,
                ),
            ],
            face="influx",
        ),
        "POST /write": Operation(
            "writeLinesV1",
            "Send line protocol (InfluxDB 1)",
            _WRITE + " What may be sent again later is always a 503 here.",
            parameters=[
                Parameter(
                    "precision",
                    "The unit of times.",
                    one_of("ns", "n", "us", "u", "ms", "s", "m", "h", default="ns"),
                ),
                *_TAGS,
            ],
            body=Body({"text/plain": LINES}),
            answers=_WRITTEN,
            examples=[Example("line", "A line", body=LINE, content_type="text/plain")],
            face="influx",
        ),
    },
)
