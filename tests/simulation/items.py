"""What stands in items and states, in the shape in which the reference compares it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import Micros, SeriesNo
from atalaia.ports import CommitItem
from atalaia.rules.judging import OPEN
from atalaia.rules.states import STORED
from atalaia.rules.tenant_state import TenantRules


def times_in(item: CommitItem) -> Mapping[SeriesNo, tuple[Micros, Micros]]:
    """Where an item says that its series stand: their newest, and the newest that was judged."""
    judged = item.judged if len(item.judged) else item.newest
    times = zip(item.newest.tolist(), judged.tolist(), strict=True)
    return dict(zip(item.touched.tolist(), times, strict=True))


def rows_in(item: CommitItem) -> Iterator[tuple[SeriesNo, Micros, float]]:
    return zipped(
        [
            (item.fresh_series, item.fresh_ts, item.fresh_value),
            (item.old_series, item.old_ts, item.old_value),
        ]
    )


def zipped(
    columns: Iterable[tuple[Int32s, Int64s, Floats]],
) -> Iterator[tuple[SeriesNo, Micros, float]]:
    for series, ts, value in columns:
        yield from zip(series.tolist(), ts.tolist(), value.tolist(), strict=True)


def by_sensor(steps: Sequence[Transition]) -> list[Transition]:
    """In the order of sensors; of each, rules on readings in their order, and silence after."""

    def place(step: Transition) -> tuple[int, int]:
        silent = bool(step.evidence) and step.evidence[0].expression.startswith("no data")
        return step.sensor_no, step.rule_no if silent else 0

    return sorted(steps, key=place)


def states_in(rules: TenantRules) -> set[tuple[int, ...]]:
    """Without what is not stored at every reading because nobody asks for it."""
    states = np.frombuffer(rules.dump(), STORED).copy()
    states["last"][states["phase"] == OPEN] = 0
    return set(states.tolist())


def spelled(steps: Sequence[Transition]) -> str:
    return (
        "; ".join(
            f"{s.kind} r{s.rule_no} v{s.rule_version} sensor {s.sensor_no} {s.severity} at {s.at}"
            f" value {s.value} {s.reason or ''} {s.alert_id}"
            for s in steps
        )
        or "nothing"
    )
