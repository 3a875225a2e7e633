"""ThingsBoard's telemetry to columns: `{"t": 21.5}`, `{"ts": 1767225600000, "values": {...}}`, or
a list of either. The row of a reading is its place among all keys of the body.

Times are milliseconds, as there; what has none has the time of its arrival. Booleans are 1 and 0.
Texts, nulls and objects are no readings: they are counted and ignored.
"""

from typing import Any

import attrs

from atalaia.model.batch import Batch
from atalaia.model.errors import Invalid
from atalaia.wire.options import WireOptions
from atalaia.wire.readings import decode_body
from atalaia.wire.rows import Collector, check_hurry


def parse_telemetry(body: bytes, options: WireOptions, *, hurried: bool = False) -> Batch:
    """Raises Invalid (`bad_json`, `bad_body`, `empty_body`), TooLarge; hurried: TakesLong."""
    check_hurry(hurried, len(body))
    document = decode_body(body)
    collector = Collector("us", True, options.max_rows, options.sensor)
    ignored = 0
    for item in document if isinstance(document, list) else [document]:
        if not isinstance(item, dict):
            raise Invalid(
                "Telemetry is an object of values, one with ts and values, or a list of those.",
                code="bad_body",
            )
        ts, values = _split(item, options)
        for metric, value in values.items():
            if isinstance(value, bool | int | float):
                collector.add({"metric": metric, "ts": ts, "value": value})
            else:
                ignored += 1
    if not collector.sent and not ignored:
        raise Invalid("The body holds no reading.", code="empty_body")
    return attrs.evolve(collector.batch(), ignored=ignored)


def _split(item: dict[str, Any], options: WireOptions) -> tuple[Any, dict[str, Any]]:
    """When, in µs, and what."""
    values = item.get("values")
    if "ts" not in item or not isinstance(values, dict):
        return options.now_us, item
    ts = item["ts"]
    return ts * 1_000 if isinstance(ts, int) and not isinstance(ts, bool) else ts, values
