"""What a sender says of its body beside the body itself."""

from typing import Literal

import attrs

from atalaia.wire.times import Precision

Format = Literal["json", "ndjson", "line", "thingsboard"]


@attrs.frozen
class WireOptions:
    """How a sender describes its body.

    sensor: whose it all is, whatever the body says. now_us: when it arrived, for readings without
    a time of their own; None: those are refused. sensor_tag, metric_tags: of line protocol, the tag
    that names the sensor, and those that are part of the metric.
    """

    format: Format = "json"
    precision: Precision = "ms"
    bool_as_number: bool = False
    max_rows: int = 50_000
    sensor: str | None = None
    now_us: int | None = None
    sensor_tag: str | None = None
    metric_tags: tuple[str, ...] = ()
