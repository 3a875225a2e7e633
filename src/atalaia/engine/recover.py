"""Rebuilding a tenant's state from what is committed: after a start, a crash, a rule change or
an idle rest. One road for all of them, so that it is well trodden.
"""

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar
from uuid import UUID

import attrs
import numpy as np
import structlog
import trio

from atalaia.engine.series_table import NEVER, TELLING, SeriesTable
from atalaia.engine.state import TenantState
from atalaia.engine.threads import TURN_NS, Threads
from atalaia.model.batch import Floats, Int64s, Tags
from atalaia.model.errors import RuleInvalid
from atalaia.model.ids import DAY_US, SECOND_US, Micros, SensorNo, SeriesNo, TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import EngineStore, SensorRow, SeriesRow, TenantImage
from atalaia.rules.language import parse_rule
from atalaia.rules.reorder import Reorder
from atalaia.rules.tenant_state import ActiveRule, TenantRules

log = structlog.get_logger()

T = TypeVar("T")
LeftOut = dict[UUID, list[str]]

TURN = 256  # names or series: a millisecond or two, during which nobody else is served
TURN_US = 3_000  # of what it takes to add sensors
RULES_PER_TURN = 16  # to parse
SAMPLED = 256  # series
SPANS_US = [SECOND_US * 8**n for n in range(6)] + [DAY_US]
"""How far back a pace is looked for: at most 8 times as many readings as are wanted are read."""

NS_TO_WARM = 100  # per row of a window


async def recover(
    store: EngineStore,
    tenant_no: TenantNo,
    threads: Threads,
    rates: SeriesTable | None,
    most_bytes: int,
) -> tuple[TenantState, TenantImage]:
    """Load the image, rebuild the windows from stored readings, restore the rule states, and
    let the readings wait that were stored and not judged yet.

    Raises StoreUnavailable; no rule that is stored makes it fail. Memory: one chunk of window rows
    beside the state itself, whose windows are left incomplete beyond most_bytes: such a tenant
    judges nothing until its rules are changed. rates: the table of the life before, which knows how
    often readings come.
    """
    image = await store.load_tenant(tenant_no)
    rules: list[ActiveRule] = []
    for some in in_turns(image.rules, RULES_PER_TURN):
        rules += active_rules(some)
        await trio.lowlevel.checkpoint()
    heard: Mapping[SensorNo, Micros] = {}
    if any(rule.spec.silence for rule in rules):
        heard = await store.last_heard(tenant_no, image)
    state = TenantState(
        tenant_no=tenant_no,
        rules=TenantRules(image.tenant_id, rules),
        last_received=image.last_received,
        deltas=image.deltas,
        most_bytes=most_bytes,
        lateness_us=image.lateness_us,
        reorder=Reorder() if _may_wait(image) else None,
    )
    state.rules.take_turns(max(1, TURN_NS // state.ns_per_row), threads.let_others)
    await add_sensors(state, image.sensors, heard)
    await add_series(state, image.series, image.newest, image.judged)
    await _warm(store, state, threads)
    if rates is not None:
        state.table.adopt(rates)
    for _ in state.rules.restore_in_parts(image.rule_states):
        await trio.lowlevel.checkpoint()
    if state.reorder is not None:
        await _wait_again(store, state, state.reorder)
    return state, image


def _may_wait(image: TenantImage) -> bool:
    """Whether readings of any sensor wait, or of one that may yet be registered."""
    return image.lateness_us > 0 or any(sensor.lateness_us for sensor in image.sensors)


def active_rules(rules: Sequence[StoredRule]) -> list[ActiveRule]:
    """The enabled ones, compiled. A text that no longer parses is left out, loudly."""
    active = []
    for rule in rules:
        if not rule.enabled:
            continue
        try:
            spec = parse_rule(rule.text)
        except RuleInvalid as error:
            log.error("stored_rule_invalid", rule_id=str(rule.rule_id), detail=error.detail)
            continue
        active.append(ActiveRule(rule.rule_no, rule.rule_id, rule.version, spec))
    return active


@attrs.define(eq=False)
class Turns:
    """Lets others be served while sensors are added: not by their number, since a sensor may be
    watched by a thousand rules.
    """

    rules: TenantRules
    _began: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.rules.spent_us

    async def pause_when_long(self) -> None:
        """A checkpoint if some milliseconds of work were done since the last one."""
        if self.rules.spent_us - self._began >= TURN_US:
            self._began = self.rules.spent_us
            await trio.lowlevel.checkpoint()


async def add_sensors(
    state: TenantState,
    sensors: Sequence[SensorRow],
    heard: Mapping[SensorNo, Micros],
) -> None:
    """Add sensors; say loudly which rules some of them leave out, being too many together.

    A checkpoint every few milliseconds; cancelled, it leaves a state that must be given up.
    """
    left_out: LeftOut = {}
    turns = Turns(state.rules)
    for some in in_turns(sensors):
        for sensor in some:
            state.add_sensor(sensor, heard.get(sensor.sensor_no, sensor.registered_at))
            for rule in state.left_out(sensor):
                left_out.setdefault(rule.rule_id, []).append(sensor.name)
            await turns.pause_when_long()
        await trio.lowlevel.checkpoint()
    _say_left_out(left_out)


async def add_series(
    state: TenantState,
    series: Sequence[SeriesRow],
    newest: Mapping[SeriesNo, Micros],
    judged: Mapping[SeriesNo, Micros],
) -> None:
    """Add series, whose sensors are there. Checkpoints as `add_sensors` does."""
    for some in in_turns(series):
        for row in some:
            last = newest.get(row.series_no)
            done = judged.get(row.series_no, last)
            state.add_series(row, last, None if done == NEVER else done)
        await trio.lowlevel.checkpoint()


async def joining_bytes(
    state: TenantState, names: Collection[str], tags: Mapping[str, Tags]
) -> int:
    """What sensors of these names, which are not there yet, take at least. Checkpoints so, too."""
    total = 0
    turns = Turns(state.rules)
    for some in in_turns(list(names)):
        for name in some:
            total += state.rules.foresight.joining_bytes(name, tags.get(name, {}))
            await turns.pause_when_long()
        await trio.lowlevel.checkpoint()
    return total


def _say_left_out(left_out: LeftOut) -> None:
    for rule_id, names in left_out.items():
        log.error("rule_left_out", rule_id=str(rule_id), sensors=len(names), first=names[0])


def in_turns(items: Sequence[T], size: int = TURN) -> Iterator[Sequence[T]]:
    """Some at a time, so that others are served between."""
    return (items[start : start + size] for start in range(0, len(items), size))


async def _warm(store: EngineStore, state: TenantState, threads: Threads) -> None:
    table = state.table
    newest = table.newest if state.reorder is None else state.reorder.judged
    seen = np.flatnonzero(newest != NEVER)
    reach = state.rules.windows_us(seen)
    wanted = seen[reach > 0]
    until = newest[wanted]
    rows = _rows(store, state, wanted, until - reach[reach > 0], until)
    async with aclosing(rows):
        async for slots, ts, value in rows:
            if len(ts):
                last = np.flatnonzero(np.append(slots[1:] != slots[:-1], True))
                table.observe(slots[last], last, ts)
            await threads.run(NS_TO_WARM * len(ts), state.rules.warm, slots, ts, value)
            if state.is_full:
                return


async def learn_pace(store: EngineStore, state: TenantState) -> None:
    """Before memory is foreseen: see in what is stored how often readings come, where this life has
    not seen enough of them. Once: for some hundred series, which the others are like.

    Raises StoreUnavailable.
    """
    table = state.table
    slots = table.untold()
    if table.asked or not len(slots):
        return
    table.asked = True
    slots = slots[:: -(-len(slots) // SAMPLED)]
    for span_us in SPANS_US:
        newest = table.newest[slots]
        first, counts = newest.copy(), np.zeros(len(slots), np.int64)
        rows = _rows(store, state, slots, newest - span_us, newest)
        async with aclosing(rows):
            async for some, ts, _ in rows:
                places = np.searchsorted(slots, some)
                np.minimum.at(first, places, ts)
                np.add.at(counts, places, 1)
        told = counts > TELLING
        table.learn(slots[told], first[told], counts[told] - 1)
        slots = slots[~told]


async def _wait_again(store: EngineStore, state: TenantState, reorder: Reorder) -> None:
    table = state.table
    wanted = np.flatnonzero(reorder.judged != table.newest)
    # What is stored and neither judged nor late waits; it is not older than the lateness.
    since = np.maximum(reorder.judged[wanted], reorder.oldest(table.sensor[wanted]) - 1)
    async for slots, ts, value in _rows(store, state, wanted, since, table.newest[wanted]):
        reorder.restore(table.sensor[slots].astype(np.int64), slots, ts, value)


async def _rows(
    store: EngineStore, state: TenantState, wanted: Int64s, since: Int64s, until: Int64s
) -> AsyncGenerator[tuple[Int64s, Int64s, Floats]]:
    """Rows that were not late with since < ts <= until of the series in these slots, in chunks."""
    if not len(wanted):
        return
    chunks = store.window_rows(state.tenant_no, state.table.series_no[wanted], since, until)
    order = np.argsort(state.table.series_no, kind="stable")
    numbers = state.table.series_no[order]
    async with aclosing(chunks):
        async for series, ts, value in chunks:
            yield order[np.searchsorted(numbers, series)], ts, value
