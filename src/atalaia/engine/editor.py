"""Edits of rules and lateness, and questions about rules that may be saved: each after every batch
before it, committed as an item of its own.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import attrs
import structlog

from atalaia.engine.clock import WallClock
from atalaia.engine.judge import rule_states
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import (
    Incarnation,
    LatenessRequest,
    OutlookRequest,
    RuleRequest,
)
from atalaia.engine.receipt import Receipt
from atalaia.engine.recover import learn_pace
from atalaia.engine.rule_edits import (
    Edited,
    apply_edit,
    apply_write,
    check_lateness,
    check_rules,
    foresee,
    lateness_entry,
    rule_entry,
)
from atalaia.engine.state import TenantState
from atalaia.engine.threads import Threads
from atalaia.model.alert import Transition
from atalaia.model.errors import Conflict, NotFound
from atalaia.model.ids import Micros, RuleNo, SensorNo, TenantNo
from atalaia.ports import CommitItem, EngineStore, LatenessWrite, TenantImage

log = structlog.get_logger()

Send = Callable[[CommitItem, Receipt[Any], Callable[[int], None]], Awaitable[None]]


@attrs.frozen(eq=False)
class Editor:
    """Of one life of a tenant's actor, which alone calls it and answers the errors.

    Raises AtalaiaError for what is refused, StoreUnavailable.
    """

    tenant_no: TenantNo
    store: EngineStore
    clock: WallClock
    threads: Threads
    incarnation: Incarnation
    limits: EngineLimits
    send: Send

    async def edit_rule(
        self, state: TenantState, image: TenantImage, request: RuleRequest
    ) -> TenantImage:
        """Commit the edit after everything before it; returns the image with it."""
        await self.incarnation.settled()
        arrived = state.next_arrival(self.clock.now_us())
        edited = apply_edit(
            image.rules, image.next_rule_no, request.edit, arrived, most=request.most
        )
        rule, rules = edited.write.rule, apply_write(image.rules, edited.write)
        if rule.enabled and rule.active_from == arrived:
            await learn_pace(self.store, state)
            await self.threads.run(
                state.rules.foresight.cost_ns, check_rules, state, image.rules, rules
            )
        await self._send_edit(state, edited, arrived, request)
        await self.incarnation.settled()
        log.info("rule_committed", rule_id=str(rule.rule_id), revision=rule.revision)
        next_no = max(image.next_rule_no, RuleNo(rule.rule_no + 1))
        return attrs.evolve(image, rules=rules, next_rule_no=next_no)

    async def _send_edit(
        self, state: TenantState, edited: Edited, arrived: Micros, request: RuleRequest
    ) -> None:
        """With the alerts that it closes; of many some go before it."""
        rule, most, receipt = edited.write.rule, self.limits.item_steps, request.receipt
        closings: list[Transition] = []
        while edited.closes is not None:
            closings = state.rules.close(
                rule.rule_no, arrived=arrived, reason=edited.closes, most=most
            )
            if len(closings) < most:
                break
            await self.send_part(state, self.item(state, arrived, transitions=closings), receipt)
            arrived = state.next_arrival(arrived)
        entry = rule_entry(request.edit, rule, request.by)
        item = self.item(state, arrived, transitions=closings, rule_write=edited.write, audit=entry)
        await self.send(item, receipt, lambda _: receipt.settle(rule))

    async def send_part(self, state: TenantState, item: CommitItem, receipt: Receipt[Any]) -> None:
        """Of an edit; the next is made when few steps wait for their commit."""
        state.deltas += 1
        await self.send(item, receipt, lambda _: None)
        await self.incarnation.eased(self.limits.unsettled_steps)

    def item(self, state: TenantState, arrived: Micros, **columns: Any) -> CommitItem:
        states = rule_states(state.rules, snapshot=False)
        return CommitItem(self.tenant_no, arrived, states, **columns)

    async def set_lateness(self, state: TenantState, request: LatenessRequest) -> bool:
        """Judge what waits there, and commit the lateness with it; True when it was changed.

        So nothing waits under one lateness and is judged, or not, under another.
        """
        await self.incarnation.settled()
        sensor_no, slot = None, None
        if request.sensor is not None:
            sensor_no, slot = find_sensors(state, [request.sensor])[request.sensor]
        if request.lateness_us == state.lateness_of(sensor_no):
            await request.first()
            request.receipt.settle(None)
            return False
        if state.rules.held_bytes > state.most_bytes:  # nobody can judge by windows left incomplete
            raise Conflict(
                "Change a rule first: its windows take too much memory.", code="too_much_memory"
            )
        await learn_pace(self.store, state)
        await self.threads.run(
            state.rules.foresight.cost_ns, check_lateness, state, sensor_no, request.lateness_us
        )
        await request.first()
        write = LatenessWrite(sensor_no, request.lateness_us)
        entry = lateness_entry(request.sensor, request.lateness_us, request.by)
        arrived = state.next_arrival(self.clock.now_us())
        drained = state.drain(slot)
        ns = drained.ns_to_judge
        while True:
            steps, touched = await self.threads.run(
                ns, drained.judge, arrived, self.limits.item_steps
            )
            item = self.item(
                state,
                arrived,
                transitions=steps,
                touched=state.table.series_no[touched],
                newest=state.table.newest[touched],
                judged=drained.judged_of(touched),
                lateness_write=None if len(drained) else write,
                audit=None if len(drained) else entry,
            )
            if not len(drained):
                break
            await self.send_part(state, item, request.receipt)
            arrived = state.next_arrival(arrived)
        await self.send(item, request.receipt, lambda _: request.receipt.settle(None))
        await self.incarnation.settled()
        return True

    async def foresee(
        self, state: TenantState, image: TenantImage, request: OutlookRequest
    ) -> None:
        """In a thread: a text may hold hundreds of rules, a tenant thousands of sensors."""
        await learn_pace(self.store, state)
        found = await self.threads.run(
            state.rules.foresight.cost_ns * (1 + len(request.specs)),
            foresee, state, image.rules, request.specs,
        )  # fmt: skip
        request.receipt.settle(found)


def find_sensors(state: TenantState, names: Collection[str]) -> Mapping[str, tuple[SensorNo, int]]:
    """Number and slot of each. Raises NotFound for the first that is not there."""
    known = state.sensors_named(names)
    for name in names:
        if name not in known:
            raise NotFound(f'There is no sensor named "{name}".')
    return known
