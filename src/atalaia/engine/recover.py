"""Rebuilding a tenant's state from what is committed: after a start, a crash, a rule change or
an idle rest. One road for all of them, so that it is well trodden.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
import structlog

from atalaia.engine.judge import TenantState
from atalaia.engine.threads import Threads
from atalaia.model.errors import RuleInvalid
from atalaia.model.ids import Micros, SensorNo, TenantNo
from atalaia.ports import EngineStore, SensorRow, TenantImage
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules

log = structlog.get_logger()

NS_TO_WARM = 100  # per row of a window


async def recover(
    store: EngineStore, tenant_no: TenantNo, threads: Threads
) -> tuple[TenantState, TenantImage]:
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
    add_sensors(state, image.sensors, heard)
    for series in image.series:
        state.add_series(series, image.newest.get(series.series_no))
    await _warm(store, state, threads)
    state.rules.restore(image.rule_states)
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
    left_out: dict[UUID, list[str]] = {}
    for sensor in sensors:
        state.add_sensor(sensor, heard.get(sensor.sensor_no, sensor.registered_at))
        for rule in state.left_out(sensor):
            left_out.setdefault(rule.rule_id, []).append(sensor.name)
    for rule_id, names in left_out.items():
        log.error("rule_left_out", rule_id=str(rule_id), sensors=len(names), first=names[0])


async def _warm(store: EngineStore, state: TenantState, threads: Threads) -> None:
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
        await threads.run(NS_TO_WARM * len(ts), state.rules.warm, slots, ts, value)
