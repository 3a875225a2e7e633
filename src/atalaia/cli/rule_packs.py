"""`atalaia rules pack`: rules to begin with, for a metric and the pace at which it comes."""

import sys

from atalaia.model.errors import Invalid
from atalaia.rules.packs import pack
from atalaia.rules.syntax import parse_duration


def pack_of(
    kind: str, metric: str | None = None, /, *, every: str = "1m", on: str = "all sensors"
) -> int:
    """Print the rules of a pack, ready for `rules check` or to be sent one by one.

    Parameters
    ----------
    kind
        temperature, humidity, pressure, vibration, current, flow, level, battery or generic.
    metric
        The metric's name. Default: the kind.
    every
        How often it is read, such as 1s or 5m: the windows follow.
    on
        Which sensors, as in a rule: 'group "pumps"', 'sensors "porto-*"'.
    """
    try:
        every_us = parse_duration(every)
        text = pack(kind, metric=metric or kind, every_us=every_us, where=f"on {on}")
    except Invalid as error:
        print(f"atalaia: {error.detail}", file=sys.stderr)
        return 2
    print(text, end="")
    return 0
