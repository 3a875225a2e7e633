"""What a condition says of measured values, comparison by comparison, with how far each is from
what it needs to be, or why nothing can be said. Pure.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import attrs

from atalaia.model.alert import Comparison
from atalaia.model.ids import Micros
from atalaia.rules.conditions import Compared, compared, known, number, text_of, truth
from atalaia.rules.measuring import Measured
from atalaia.rules.scanning import FEWEST
from atalaia.rules.syntax import Aggregate, Binary, Node, Unary, aggregates, duration_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST = {"stddev": 2, "rate": 2, "zscore": FEWEST + 1, "anomaly": FEWEST + 1}


@attrs.frozen
class Weighing:
    """A comparison; distance: how far it is from what it needs to be, negative when it is that;
    unknown: why it is neither true nor false.
    """

    comparison: Comparison
    distance: float | None
    unknown: str | None


@attrs.frozen
class Clause:
    """A condition with all its comparisons. severity: of a level."""

    text: str
    truth: bool | None
    weighings: tuple[Weighing, ...]
    severity: str | None = None


@attrs.frozen
class Scales:
    """Weighs conditions. newest: event time of the newest reading of the sensor's metrics."""

    measured: Measured
    newest: Mapping[str, Micros]

    def weigh(self, name: str, node: Node, severity: str | None = None) -> Clause:
        """A condition with all its comparisons."""
        found = tuple(self._weigh(one) for one in compared(name, node))
        return Clause(text_of(node), truth(node, self.measured.values), found, severity)

    def _weigh(self, one: Compared) -> Weighing:
        said = one.weigh(self.measured.values)
        return Weighing(said, distance(said), self._unknown(one))

    def _unknown(self, one: Compared) -> str | None:
        values = self.measured.values
        if (
            known(number(one.looks, values)) is not None
            and known(number(one.limit, values)) is not None
        ):
            return None
        for node in (one.looks, one.limit):
            for aggregate in aggregates(node):
                if math.isnan(values[aggregate]):
                    return self._unknown_aggregate(aggregate)
        for node in (one.looks, one.limit):
            for divisor in _divisors(node):
                if number(divisor, values) == 0:
                    return f"division by zero: {text_of(divisor)} is 0"
        return "the result is no number"

    def _unknown_aggregate(self, one: Aggregate) -> str:
        newest = self.newest.get(one.metric)
        if newest is None:
            return f'the sensor has sent no "{one.metric}" yet'
        count = self.measured.counts[one]
        window = duration_text(one.window_us)
        if count == 0:
            last = moment(newest)
            return f"no reading of {one.metric} in the last {window}; the newest is of {last}"
        needed = _FEWEST.get(one.function, 1)
        if count < needed:
            return (
                f"{one.function} needs {needed} readings of {one.metric} in {window}, "
                f"there {'is' if count == 1 else 'are'} {count}"
            )
        return (
            f"the other readings of {one.metric} are all equal: none tells how unusual this one is"
        )


def distance(said: Comparison) -> float | None:
    """Positive: so much to go; zero: at the threshold; None: unknown."""
    if said.value is None or said.threshold is None:
        return None
    upwards = (said.operator in (">", ">=")) == said.needs
    left = said.threshold - said.value if upwards else said.value - said.threshold
    return left if math.isfinite(left) else None


def _divisors(node: Node) -> Iterator[Node]:
    match node:
        case Unary(_, operand):
            yield from _divisors(operand)
        case Binary(op, left, right):
            yield from _divisors(left)
            yield from _divisors(right)
            if op == "/":
                yield right


def moment(us: int) -> str:
    """A time for a sentence: `2026-01-31 12:00:00 UTC`, with a fraction where there is one."""
    at = _EPOCH + timedelta(microseconds=us)
    fraction = f"{at.microsecond / 1e6:.6f}".rstrip("0").rstrip(".")[1:]
    return f"{at:%Y-%m-%d %H:%M:%S}{fraction} UTC"
