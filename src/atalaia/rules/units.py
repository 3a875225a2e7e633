"""Units of measurement: what they measure, and how they convert into each other.

pint holds the definitions. It is asked for one name at a time, so that no text of a tenant is ever
evaluated by it, and is imported when the first unit is met: 0.2 s and 19 MB that nobody else pays.
"""

import math
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import attrs

MAX_UNIT_CHARS = 32
WRITABLE = re.compile(r"(?:°?[^\W\d_][^\W_]*|[°%‰])(?:[/*·](?:°?[^\W\d_][^\W_]*|[°%‰]))*")
"""Units that stand in a rule without quotes, as UNIT of the grammar."""

_SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_NAME = re.compile(r"°?[^\W\d_]\w*|[°%‰]")
_POWER = re.compile(r"(.+?)\^?(-?[1-9])")


@attrs.frozen
class Unit:
    """value * factor + offset is the same in base units; powers says which those are."""

    text: str
    powers: Mapping[str, float]
    factor: float = 1.0
    offset: float = 0.0

    def fits(self, other: "Unit") -> bool:
        """Whether both measure the same, so that one converts into the other."""
        return self.powers == other.powers

    def same(self, other: "Unit", *, difference: bool = False) -> bool:
        """Whether a number means the same in both. difference: of what lies between two values."""
        shifted = difference or math.isclose(self.offset, other.offset, rel_tol=1e-9)
        return self.fits(other) and shifted and math.isclose(self.factor, other.factor)

    def convert(self, value: float, to: "Unit", *, difference: bool = False) -> float:
        """The same in a unit that this one fits."""
        shift = 0.0 if difference else self.offset - to.offset
        return (value * self.factor + shift) / to.factor

    def times(self, other: "Unit", sign: int = 1) -> "Unit":
        """The product, or with -1 the quotient: of differences, since offsets have no meaning."""
        powers = dict(self.powers)
        for name, power in other.powers.items():
            powers[name] = powers.get(name, 0.0) + sign * power
        return Unit(
            f"{self.text}{'·' if sign > 0 else '/'}{other.text}",
            {name: power for name, power in powers.items() if power},
            self.factor * other.factor**sign,
        )


SECOND = Unit("s", {"second": 1.0})


def name_unit(text: str) -> Unit:
    """A unit of which only the name is known: it is the same as itself and as nothing else."""
    return Unit(text, {text: 1.0})


@lru_cache(maxsize=1024)
def parse_unit(text: str) -> Unit | None:
    """The unit such as °C, mm/s, m3/h, 1/min or µg/m³; None when one of its names is unknown."""
    if not 0 < len(text) <= MAX_UNIT_CHARS:
        return None
    found: Unit | None = None
    for sign, part in re.findall(r"(^|[/*·])([^/*·]*)", text):
        unit = Unit("1", {}) if part == "1" and found is None else _parse_part(part)
        if unit is None:
            return None
        found = unit if found is None else found.times(unit, -1 if sign == "/" else 1)
    return None if found is None else attrs.evolve(found, text=text)


def _parse_part(part: str) -> Unit | None:
    known = _look_up(part)
    if known is not None:
        return known
    match = _POWER.fullmatch(part.translate(_SUPERSCRIPTS))
    base = None if match is None else _look_up(match[1])
    if match is None or base is None:
        return None
    power = int(match[2])
    return Unit(part, {name: p * power for name, p in base.powers.items()}, base.factor**power)


def _look_up(name: str) -> Unit | None:
    """One name, a prefix perhaps before it, as pint knows it."""
    if _NAME.fullmatch(name) is None:
        return None
    registry = _registry()
    try:
        unit = registry.parse_units(name, as_delta=False)
        points = [registry.Quantity(x, unit).to_root_units() for x in (0.0, 1.0, 2.0)]
    except Exception:  # whatever its parser makes of a name
        return None
    zero, one, two = (float(point.magnitude) for point in points)
    powers = {str(base): float(power) for base, power in points[1].unit_items()}
    if not (math.isfinite(two) and one != zero and math.isclose(two - one, one - zero)):
        return name_unit(name)  # decibels and the like
    return Unit(name, powers, one - zero, zero)


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry()
