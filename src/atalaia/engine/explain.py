"""Why a rule has no alert open at a sensor, asked of what is committed: no actor takes part.

The image of the sensor holds what is newest and the states of its rules as of one commit; readings
judged by then never change afterwards. So the answer is of one moment, although the
readings are loaded after it. Heavy work is done in a worker thread, one question at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar
from uuid import UUID

import attrs
import numpy as np
import trio

from atalaia.engine.clock import SystemClock, WallClock
from atalaia.engine.edits import Hears
from atalaia.engine.feed import MOST_ROWS, Feed, Rows, as_rows
from atalaia.model.errors import Invalid, NotFound, RuleInvalid
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.quota import MAX_RULES
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries, SensorImage
from atalaia.rules.explaining import explain
from atalaia.rules.explanation import Explanation, Subject
from atalaia.rules.language import parse_rule
from atalaia.rules.measuring import Measured, Measurement
from atalaia.rules.program import ActiveRule, fitting
from atalaia.rules.states import Standing, find_standing
from atalaia.rules.transitions import alert_id

T = TypeVar("T")

MAX_STATE_BYTES = 256 << 20


@attrs.frozen
class Explained:
    """An answer, with the state that it is about."""

    standing: Standing
    alert: UUID | None
    explanation: Explanation


@attrs.define(eq=False)
class Explainer:
    """Answers questions. hearing: of a tenant, from when silence counts."""

    _queries: Queries
    _hearing: Callable[[TenantNo], Hears]
    _clock: WallClock = attrs.field(factory=SystemClock)
    _one: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def explain(
        self, tenant_no: TenantNo, tenant_id: UUID, stored: StoredRule, sensor: str
    ) -> Explained:
        """Raises NotFound for the sensor, Invalid for windows beyond all memory."""
        image = await self._queries.sensor_image(tenant_no, sensor)
        if image is None:
            raise NotFound(f'There is no sensor named "{sensor}".')
        rule = ActiveRule(stored.rule_no, stored.rule_id, stored.version, parse_rule(stored.text))
        standing = find_standing(
            image.rule_states, rule.rule_no, rule.version, image.sensor.sensor_no
        )
        alert = None
        if standing.phase in ("open", "clearing") and standing.opened is not None:
            alert = alert_id(tenant_id, rule, image.sensor.sensor_id, standing.opened)
        hearing = self._hearing(tenant_no)
        heard = max(image.arrived.values(), default=image.sensor.registered_at)
        measured, late = None, 0
        if rule.spec.silence is None:
            measured, late = await self._measure(tenant_no, rule, image)
        subject = Subject(
            name=stored.name,
            spec=rule.spec,
            enabled=stored.enabled,
            active_from=stored.active_from,
            sensor=sensor,
            tags=image.sensor.tags,
            newest=image.judged,
            waits=image.newest != image.judged,
            arrived=image.arrived,
            standing=standing,
            alert=None if alert is None else str(alert),
            measured=measured,
            left_out=await self._left_out(tenant_no, rule, image),
            late=late,
            now=self._clock.now_us(),
            silent_since=hearing.silent_since(sensor, heard),
            deaf=hearing.deaf,
        )
        return Explained(standing, alert, explain(subject))

    async def _measure(
        self, tenant_no: TenantNo, rule: ActiveRule, image: SensorImage
    ) -> tuple[Measured, int]:
        """The rule's aggregates at the sensor's clock, and the late readings in its windows."""
        metrics = [metric for metric in rule.spec.metrics if metric in image.judged]
        clock = max(image.judged.values(), default=Micros(0))
        measurement = Measurement(rule, metrics, clock)
        if not metrics:
            return measurement.result(), 0
        numbers = np.array([image.series[metric] for metric in metrics], np.int32)
        newest = np.array([image.judged[metric] for metric in metrics], np.int64)
        windows = [
            max(one.window_us for one in rule.spec.aggregates if one.metric == metric)
            for metric in metrics
        ]
        since = clock - np.array(windows, np.int64)
        until = np.full(len(metrics), clock, np.int64)
        late = await self._queries.count_late(tenant_no, numbers, since, until)
        sensor = np.zeros(len(metrics), np.int64)
        feed = Feed(sensor, clock - measurement.reach_us, clock, arrival=False)
        async with self._one:
            while not feed.done:
                asked = feed.next_slice()
                columns = await self._queries.history(
                    tenant_no, numbers[asked.series], asked.since, asked.until,
                    late=False, limit=MOST_ROWS,
                )  # fmt: skip
                rows = feed.take(asked, as_rows(columns, numbers))
                # What was committed since the image was made is not of its moment.
                rows = rows.where(rows.ts <= newest[rows.series])
                await trio.to_thread.run_sync(partial(_take, measurement, rows))
                if measurement.used_bytes > MAX_STATE_BYTES:
                    raise Invalid(
                        "The windows of this rule hold more readings of this sensor than can be "
                        "looked through for an answer.",
                        code="explain_too_large",
                    )
            return await trio.to_thread.run_sync(measurement.result), late

    async def _left_out(self, tenant_no: TenantNo, rule: ActiveRule, image: SensorImage) -> bool:
        """Whether the rules that match the sensor are too many, and this is one too many."""
        stored = await self._queries.rules(tenant_no, after=0, limit=MAX_RULES)
        others = [one for one in stored if one.enabled]
        return await trio.to_thread.run_sync(partial(_is_left_out, rule, others, image))


def _take(measurement: Measurement, rows: Rows) -> None:
    order = np.lexsort((rows.ts, rows.series))
    measurement.take(rows.series[order], rows.ts[order], rows.value[order])


def _is_left_out(rule: ActiveRule, stored: Sequence[StoredRule], image: SensorImage) -> bool:
    matching = []
    for one in stored:
        try:
            spec = parse_rule(one.text)
        except RuleInvalid:
            continue  # the engine has left it out, loudly
        if spec.silence is None and spec.selector.matches(image.sensor.name, image.sensor.tags):
            matching.append(ActiveRule(one.rule_no, one.rule_id, one.version, spec))
    return any(one.rule_no == rule.rule_no for one in matching[fitting(matching) :])
