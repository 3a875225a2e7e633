"""Rules to begin with, per kind of sensor: texts with places for the metric and the pace.

A pack knows no unit and no threshold but where physics gives one (a humidity of 130 %); what is
unusual is told by the sensor's own past. Windows follow the interval between readings, because a
machine that sends every second changes faster than a room that sends every five minutes.
"""

from importlib import resources

from atalaia.model.errors import Invalid
from atalaia.rules.language import parse_rules
from atalaia.rules.syntax import MINUTE_US, duration_text

KINDS = (
    "temperature", "humidity", "pressure", "vibration", "current", "flow", "level", "battery",
    "generic",
)  # fmt: skip

# Readings that make the past, a trend, a deviation that lasts, a return, being stuck, and silence.
PAST, TREND, HOLD, SETTLE, STUCK, SILENT = 72, 220, 6, 12, 60, 10


def pack(kind: str, *, metric: str, every_us: int, where: str = "on all sensors") -> str:
    """The rules for a metric that comes every so often, as text. Raises Invalid, RuleInvalid.

    where: the selector, such as `on group "pumps"`.
    """
    if kind not in KINDS:
        raise Invalid(f'There is no pack "{kind}"; there are {", ".join(KINDS)}.')
    if not 0 < every_us <= 6 * 60 * MINUTE_US:
        raise Invalid("A pack fits intervals up to 6 hours.")
    every_us = max(1_000_000, -(-every_us // 1_000_000) * 1_000_000)

    def span(readings: int, least_us: int) -> str:
        return duration_text(max(readings * every_us, least_us))

    filled = (resources.files("atalaia.rules.packs") / f"{kind}.rules").read_text()
    for name, value in {
        "metric": f'"{metric}"',
        "name": metric,
        "where": where,
        "past": span(PAST, 10 * MINUTE_US),
        "trend": span(TREND, 60 * MINUTE_US),
        "hold": span(HOLD, 5_000_000),
        "settle": span(SETTLE, 30_000_000),
        "stuck": span(STUCK, 10 * MINUTE_US),
        "silent": span(SILENT, MINUTE_US),
    }.items():
        filled = filled.replace("{" + name + "}", value)
    parse_rules(filled)
    return filled
