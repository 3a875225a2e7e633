"""What the kernel says of stored rows when it is asked: values, truths, a backtest."""

from collections.abc import Sequence
from uuid import UUID

import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.backtest import Backtest
from atalaia.rules.language import parse_rule
from atalaia.rules.silent import Watched
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from atalaia.rules.variants import Variant
from tests.house.timelines.play import START_US, Row, Step, Story, seconds


def value_of(expression: str, rows: Sequence[Row], at: float) -> float | None:
    """What the kernel makes of an expression at a time, from one sensor's judged readings.

    None: unknown. It is the evidence of a rule that always holds where its value is known.
    """
    found = _open_at(f"{expression} >= -1e300", rows, at)
    return None if found is None else found.value


def truth_of(condition: str, rows: Sequence[Row], at: float) -> bool | None:
    """Whether a condition holds; None: unknown."""
    if _open_at(condition, rows, at) is not None:
        return True
    return None if _open_at(f"not ({condition})", rows, at) is None else False


def _open_at(condition: str, rows: Sequence[Row], at: float) -> Transition | None:
    """The alert that a rule with this condition opens at a time, windows filled before it."""
    rule = ActiveRule(RuleNo(1), UUID(int=1), 1, parse_rule(f"rule x on sensors when {condition}"))
    state = TenantRules(UUID(int=1), [rule])
    sensor = state.add_sensor(SensorNo(1), UUID(int=2), "s", {})
    metrics = list(dict.fromkeys(row.metric for row in rows))
    for metric in metrics:
        state.add_series(sensor, metric, None)
    past = sorted((metrics.index(row.metric), row.ts, row.value) for row in rows if row.ts < at)
    state.warm(*_columns(past))
    now = sorted((metrics.index(row.metric), row.ts, row.value) for row in rows if row.ts == at)
    opened = state.fold(*_columns(now), Micros(1))
    return opened[0] if opened else None


def _columns(rows: Sequence[tuple[int, float, float]]) -> tuple[Int64s, Int64s, Floats]:
    return (
        np.array([series for series, _, _ in rows], np.int64),
        np.array([START_US + round(1e6 * ts) for _, ts, _ in rows], np.int64),
        np.array([value for _, _, value in rows], np.float64),
    )


def try_on(text: str, rows: Sequence[Row], until: float) -> Story:
    """The backtest of rule 1 over the rows as they came, all of sensor "s"."""
    rule = ActiveRule(RuleNo(1), UUID(int=1), 1, parse_rule(text))
    end = Micros(START_US + round(1e6 * until))
    variant = Variant(rule.spec, None, as_written=True)
    backtest = Backtest(UUID(int=1), (variant,), rule, Micros(START_US), end, "arrival")
    metrics = tuple(dict.fromkeys(row.metric for row in rows))
    group = backtest.open_group([Watched(UUID(int=1001), "s", {}, metrics)])
    columns = _columns([(metrics.index(row.metric), row.ts, row.value) for row in rows])
    group.fold(*columns, _columns([(0, row.arrived, 0.0) for row in rows])[1])
    group.close()
    steps = []
    for alert in backtest.outcome().trials[0].alerts:
        for kind, at in (("opened", alert.opened_at), ("cleared", alert.cleared_at)):
            if at is not None:
                steps.append(
                    Step(kind, 1, 1, "s", seconds(at), seconds(at), alert.severity, "condition",
                         str(alert.alert_id)[:4])
                )  # fmt: skip
    return Story(tuple(rows), tuple(steps), ())
