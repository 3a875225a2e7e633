"""What is asked of a rule at a sensor, and what is answered: the values of explaining.py."""

from collections.abc import Mapping

import attrs

from atalaia.model.ids import Micros
from atalaia.rules.measuring import Measured
from atalaia.rules.states import Standing
from atalaia.rules.syntax import RuleSpec
from atalaia.rules.weighing import Clause


@attrs.frozen
class Subject:
    """All that there is to know of one rule at one sensor.

    newest, arrived: of the sensor's metrics, event time and arrival of their newest reading; the
    newest that was judged, where lateness lets some wait. waits: some do.
    left_out: the rule matches and does not watch, since the sensor has rules over too many metrics.
    late: readings in the rule's windows that came late. silent_since: from when its silence counts;
    deaf: nothing of its tenant can be heard just now.
    """

    name: str
    spec: RuleSpec
    enabled: bool
    active_from: Micros
    sensor: str
    tags: Mapping[str, str]
    newest: Mapping[str, Micros]
    waits: bool
    arrived: Mapping[str, Micros]
    standing: Standing
    alert: str | None
    measured: Measured | None
    left_out: bool
    late: int
    now: Micros
    silent_since: Micros
    deaf: bool

    @property
    def clock(self) -> Micros | None:
        """The sensor's newest event time."""
        return max(self.newest.values(), default=None)

    @property
    def judged(self) -> Micros | None:
        """The newest event time of the metrics that the rule looks at."""
        found = (at for metric, at in self.newest.items() if metric in self.spec.metrics)
        return max(found, default=None)


@attrs.frozen
class Obstacle:
    """Something that keeps an alert from opening. The code is stable, the detail a sentence."""

    code: str
    detail: str


@attrs.frozen
class SilenceTold:
    """last_heard: arrival of the newest reading; since: from when its silence counts."""

    last_heard: Micros | None
    since: Micros
    deadline: Micros


@attrs.frozen
class Explanation:
    """The answer. clear, levels: while an alert is open. earliest: no alert can open before."""

    judged_at: Micros | None
    condition: Clause
    clear: Clause | None
    levels: tuple[Clause, ...]
    earliest: Micros | None
    earliest_note: str
    obstacles: tuple[Obstacle, ...]
    silence: SilenceTold | None
    summary: str
