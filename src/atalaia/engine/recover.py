"""Rebuilding a tenant's state from what is committed: after a start, a crash, a rule change or
an idle rest. One road for all of them, so that it is well trodden.
"""

import numpy as np
import structlog

from atalaia.engine.judge import TenantState
from atalaia.model.errors import RuleInvalid
from atalaia.model.ids import TenantNo
from atalaia.ports import EngineStore, TenantImage
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules

log = structlog.get_logger()


async def recover(store: EngineStore, tenant_no: TenantNo) -> tuple[TenantState, TenantImage]:
    """Load the image, rebuild the windows from stored readings, restore the rule states.

    Raises StoreUnavailable. Memory: one chunk of window rows beside the state itself.
    """
    image = await store.load_tenant(tenant_no)
    state = TenantState(
        tenant_no=tenant_no,
        rules=TenantRules(image.tenant_id, active_rules(image)),
        last_received=image.last_received,
        deltas=image.deltas,
    )
    for sensor in image.sensors:
        state.add_sensor(sensor)
    for series in image.series:
        state.add_series(series, image.newest.get(series.series_no))
    await _warm(store, state)
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
        state.rules.warm(order[np.searchsorted(numbers, series)], ts, value)
