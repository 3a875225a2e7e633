"""What a picture can show, one below the other, and the bars of a rule's state."""

from collections.abc import Iterator, Sequence

import attrs

from atalaia.rules.judging import CLEARING, OPEN, PENDING
from tests.house.timelines.play import State, Step


@attrs.frozen
class Plot:
    """The readings of a metric of a sensor, an expression over it, and numbers it is compared
    with.
    """

    metric: str
    sensor: str = "s"
    expression: str = ""
    thresholds: tuple[float, ...] = ()
    height: int = 62
    label: str = ""


@attrs.frozen
class Bars:
    """The state of a rule at a sensor. story: in which of the stories."""

    rule: int = 1
    sensor: str = "s"
    label: str = "alert"
    story: int = 0


@attrs.frozen
class Windows:
    """What the windows that end at these times hold."""

    expression: str
    width: float
    ends: tuple[float, ...]
    sensor: str = "s"


@attrs.frozen
class Truth:
    """Whether a condition holds at each judgement: yes, no or unknown."""

    condition: str
    metrics: tuple[str, ...]
    sensor: str = "s"
    label: str = "holds"


@attrs.frozen
class Arrivals:
    """From the time of each reading to the time at which it arrived."""

    label: str = "arrival"


@attrs.frozen
class Running:
    """When the engine was up, and when it was down."""

    downs: tuple[tuple[float, float], ...]
    label: str = "engine"


Lane = Plot | Bars | Windows | Truth | Arrivals | Running


def segments(
    steps: Sequence[Step], states: Sequence[State], end: float
) -> Iterator[tuple[float, float, int, str]]:
    """(since, until, phase, level) of each bar, from committed states and transitions.

    What waits or clears begins anew with another `since`; what came before ends at the last
    judgement that confirmed it.
    """
    opened: Step | None = None
    for step in steps:
        if opened is not None:
            yield opened.at, step.at, OPEN, opened.severity
        opened = None if step.kind == "cleared" else step
    if opened is not None:
        yield opened.at, end, OPEN, opened.severity
    for place, state in enumerate(states):
        if state.phase not in (PENDING, CLEARING):
            continue
        after = states[place + 1] if place + 1 < len(states) else None
        if after is None:
            yield state.since, end, state.phase, state.level
        elif after.phase != state.phase:
            yield state.since, after.at, state.phase, state.level
        elif after.since != state.since:
            yield state.since, state.at, state.phase, state.level
