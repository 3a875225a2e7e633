"""Rebuilding a tenant's state from what is committed: after a start, a crash, a rule change or
an idle rest. One road for all of them, so that it is well trodden.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np
import structlog
import trio

from atalaia.engine.judge import TenantState
from atalaia.model.errors import RuleInvalid
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import EngineStore, SensorRow, TenantImage
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules

log = structlog.get_logger()

T = TypeVar("T")
LeftOut = dict[UUID, list[str]]

WARM_ROWS = 50_000  # some 5 ms
TURN = 256  # sensors or series: some 10 ms, during which nobody else is served


async def recover(store: EngineStore, tenant_no: TenantNo) -> tuple[TenantState, TenantImage]:
    """Load the image, rebuild the windows from stored readings, restore the rule states.

    Raises StoreUnavailable; no rule that is stored makes it fail. Memory: one chunk of window rows
    beside the state itself.
    """
    image = await store.load_tenant(tenant_no)
    rules = active_rules(image)
    heard: Mapping[SensorNo, Micros] = {}
    if any(rule.spec.silence for rule in rules):
        heard = await store.last_heard(tenant_no, image)
    state = TenantState(
        tenant_no=tenant_no,
        rules=TenantRules(image.tenant_id, rules),
        last_received=image.last_received,
        deltas=image.deltas,
    )
    left_out: LeftOut = {}
    for sensors in _in_turns(image.sensors):
        _add_sensors(state, sensors, heard, left_out)
        await trio.lowlevel.checkpoint()
    _say_left_out(left_out)
    for some in _in_turns(image.series):
        for series in some:
            state.add_series(series, image.newest.get(series.series_no))
        await trio.lowlevel.checkpoint()
    await _warm(store, state)
    for _ in state.rules.restore_in_parts(image.rule_states):
        await trio.lowlevel.checkpoint()
    return state, image


def active_rules(image: TenantImage) -> list[ActiveRule]:
    """The enabled rules, compiled. A text that no longer parses is left out, loudly."""
    active = []
    for rule in image.rules:
        if not rule.enabled:
            continue
        try:
            spec = parse_rule(rule.text)
        except RuleInvalid as error:
            log.error("stored_rule_invalid", rule_id=str(rule.rule_id), detail=error.detail)
            continue
        active.append(ActiveRule(rule.rule_no, rule.rule_id, rule.version, spec))
    return active


def add_sensors(
    state: TenantState,
    sensors: Sequence[SensorRow],
    heard: Mapping[SensorNo, Micros],
) -> None:
    """Add sensors; say loudly which rules some of them leave out, being too many together."""
    left_out: LeftOut = {}
    _add_sensors(state, sensors, heard, left_out)
    _say_left_out(left_out)


def _add_sensors(
    state: TenantState,
    sensors: Sequence[SensorRow],
    heard: Mapping[SensorNo, Micros],
    left_out: LeftOut,
) -> None:
    for sensor in sensors:
        state.add_sensor(sensor, heard.get(sensor.sensor_no, sensor.registered_at))
        for rule in state.left_out(sensor):
            left_out.setdefault(rule.rule_id, []).append(sensor.name)


def _say_left_out(left_out: LeftOut) -> None:
    for rule_id, names in left_out.items():
        log.error("rule_left_out", rule_id=str(rule_id), sensors=len(names), first=names[0])


def _in_turns(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Some at a time, so that others are served between."""
    return (items[start : start + TURN] for start in range(0, len(items), TURN))


async def _warm(store: EngineStore, state: TenantState) -> None:
    table = state.table
    seen = table.seen()
    reach = np.array([state.rules.window_us(slot) for slot in seen.tolist()], np.int64)
    wanted = seen[reach > 0]
    if not len(wanted):
        return
    until = table.newest[wanted]
    chunks = store.window_rows(
        state.tenant_no, table.series_no[wanted], until - reach[reach > 0], until
    )
    order = np.argsort(table.series_no, kind="stable")
    numbers = table.series_no[order]
    async for series, ts, value in chunks:
        slots = order[np.searchsorted(numbers, series)]
        for start in range(0, len(slots), WARM_ROWS):
            part = slice(start, start + WARM_ROWS)
            state.rules.warm(slots[part], ts[part], value[part])
            await trio.lowlevel.checkpoint()
