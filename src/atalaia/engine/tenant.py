"""The actor of one tenant: the only task that touches its state.

Takes messages from its inbox in order, judges, and hands works to the flusher. Its memory may
run ahead of the commit; nothing visible leaves before it. Ends when its inbox closes, when it
has been idle long enough, or when a commit of it failed for good.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import numpy as np
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.inbox import Inbox
from atalaia.engine.judge import TenantState, check_times, judge, refuse, rule_states
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import DEAF_S, Listening
from atalaia.engine.messages import (
    Incarnation,
    Message,
    RuleRequest,
    Submission,
    TagsRequest,
    Work,
)
from atalaia.engine.receipt import Answer, Receipt
from atalaia.engine.recover import add_sensors, recover
from atalaia.engine.rule_edits import Edited, apply_edit, check_metrics, too_many_metrics
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, Floats, Int32s, Int64s, Reject
from atalaia.model.errors import AtalaiaError, NotFound, Overloaded, Unavailable
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import CommitItem, EngineStore, RuleWrite, TagsWrite, TenantImage
from atalaia.rules.absence import GRID_US

log = structlog.get_logger()

BUSY_S = 5.0
"""So long after its time a tick goes before the messages that wait: they may be endless."""


@attrs.define(eq=False)
class TenantActor:
    """Everything one incarnation needs. `run` is its life."""

    tenant_no: TenantNo
    inbox: Inbox
    store: EngineStore
    clock: WallClock
    limits: EngineLimits
    works: trio.MemorySendChannel[Work]
    listening: Listening
    recoveries: trio.CapacityLimiter
    incarnation: Incarnation = attrs.field(factory=Incarnation)
    current: Message | None = None
    """The message being worked on and not yet handed over; whoever buries us fails it."""

    async def run(self) -> None:
        """Serve until the inbox is closed and empty, or idle: then nothing is left in memory.

        Raises StoreUnavailable when the state cannot be loaded. After cancellation (a commit
        failed) the caller rebuilds; messages still in the inbox are untouched.
        """
        while True:
            async with self.recoveries:
                state, image = await recover(self.store, self.tenant_no)
            if not await self._serve(state, image):
                return

    async def _serve(self, state: TenantState, image: TenantImage) -> bool:
        """True when the state must be rebuilt from storage, False at the end of this life."""
        while True:
            self.current = None
            try:
                with trio.fail_after(self._patience_s(state)):
                    self.current = await self.inbox.receive()
            except trio.TooSlowError:
                if state.rules.waits:
                    await self._tick(state)
                elif await self._retire(state):
                    return False
                continue
            except trio.EndOfChannel:
                return False
            match self.current:
                case Submission() as submission:
                    if submission.after is not None and submission.after.failed:
                        submission.receipt.fail(Unavailable())
                    else:
                        await self._admit(state, submission)
                case RuleRequest() as request:
                    if await self._edit_rule(state, image, request):
                        return True
                case TagsRequest() as request:
                    if await self._tag(state, request):
                        return True
            if state.rules.waits and self._overdue_s(state) > BUSY_S:
                await self._tick(state)

    def _overdue_s(self, state: TenantState) -> float:
        return (self.clock.now_us() - state.rules.next_tick()) / 1e6

    def _patience_s(self, state: TenantState) -> float:
        """How long to wait for a message; what has arrived goes before what is due."""
        if state.rules.waits and self.listening.deaf:
            return DEAF_S
        if not state.rules.waits or not self.inbox.empty():
            return self.limits.idle_s
        return min(max(0.0, -self._overdue_s(state)), self.limits.idle_s)

    async def _tick(self, state: TenantState) -> None:
        """Commit the alerts of silence that are due now, if any."""
        if self.listening.deaf:
            return
        state.rules.listen_from(self.listening.since)
        arrived = state.next_arrival(self.clock.now_us())
        line = Micros(arrived // GRID_US * GRID_US)
        transitions = state.rules.tick(line, arrived)
        if not transitions:
            return
        item = self._bare_item(
            arrived, rule_states=rule_states(state.rules, snapshot=False), transitions=transitions
        )
        state.deltas += 1
        await self._hand_over(item, Receipt(), lambda _: None)

    async def _admit(self, state: TenantState, submission: Submission) -> None:
        batch = submission.batch
        arrived = state.next_arrival(self.clock.now_us())
        batch = check_times(
            batch,
            oldest=self.limits.oldest(arrived),
            newest=arrived + self.limits.future_skew_us,
        )
        try:
            batch = await self._cover(batch)
        except Overloaded as error:
            submission.receipt.fail(error)
            return
        batch, slots = await self._register(state, batch)
        if not len(batch):
            rejects = tuple(sorted(batch.rejects, key=lambda reject: reject.index))
            submission.receipt.settle(Answer(0, 0, 0, rejects))
            return
        snapshot = state.deltas >= self.limits.snapshot_every
        judged = judge(state, batch, slots, arrived, snapshot=snapshot)
        state.deltas = 0 if snapshot else state.deltas + 1
        await self._hand_over(
            judged.item,
            submission.receipt,
            partial(_answer, submission.receipt, judged.item, judged.rejects),
        )

    async def _cover(self, batch: Batch) -> Batch:
        """Make the partitions these times need; refuse for now what is beyond a request's share.

        Raises Overloaded when the tenant's share of new ones is used up and nothing is left.
        """
        missing = self.store.uncovered(batch.ts)
        if not len(missing):
            return batch
        try:
            now = self.clock.now_us()
            await self.store.ensure_partitions(self.tenant_no, batch.ts[missing], now)
        except Overloaded:
            if len(self.store.uncovered(batch.ts)) == len(batch):
                raise
        keep = np.ones(len(batch), np.bool_)
        keep[self.store.uncovered(batch.ts)] = False
        return refuse(
            batch,
            keep,
            "retry_later",
            "these rows need more new days or months than may be opened now; send them again",
        )

    async def _register(self, state: TenantState, batch: Batch) -> tuple[Batch, Int64s]:
        """Register unknown series; refuse rows whose series the tenant's quota has no room for.

        Returns what is left of the batch, and the slot of each row's series.
        """
        named = state.table.slots(batch.names)
        if -1 not in named:
            return batch, named[batch.idx]
        used = np.unique(batch.idx).tolist()
        unknown = [batch.names[i] for i in used if batch.names[i] not in state.table]
        if unknown:
            sensors, series = await self.store.register(
                self.tenant_no, unknown, self.clock.now_us()
            )
            add_sensors(state, sensors, {})
            for row in series:
                state.add_series(row, None)
        slots = state.table.slots(batch.names)[batch.idx]
        batch = refuse(
            batch,
            slots >= 0,
            "too_many_series",
            "the tenant's limit of series is reached; ask for more room",
        )
        return batch, slots[slots >= 0]

    async def _edit_rule(
        self, state: TenantState, image: TenantImage, request: RuleRequest
    ) -> bool:
        """Commit the edit after everything before it; True when it was made."""
        await self.incarnation.settled()
        arrived = state.next_arrival(self.clock.now_us())
        try:
            edited = apply_edit(image.rules, image.next_rule_no, request.edit, arrived)
            if edited.write.rule.enabled and edited.write.rule.active_from == arrived:
                check_metrics(state.rules, edited.write.rule)
        except AtalaiaError as error:
            request.receipt.fail(error)
            return False
        item = self._edit_item(state, edited, arrived)
        rule = edited.write.rule
        await self._hand_over(item, request.receipt, lambda _: request.receipt.settle(rule))
        await self.incarnation.settled()
        log.info("rule_committed", rule_id=str(rule.rule_id), revision=rule.revision)
        return True

    def _edit_item(self, state: TenantState, edited: Edited, arrived: Micros) -> CommitItem:
        rule = edited.write.rule
        closings: list[Transition] = []
        if edited.closes is not None:
            closings = state.rules.close(rule.rule_no, arrived=arrived, reason=edited.closes)
        return self._bare_item(
            arrived,
            rule_states=rule_states(state.rules, snapshot=False),
            transitions=closings,
            rule_write=edited.write,
        )

    async def _tag(self, state: TenantState, request: TagsRequest) -> bool:
        """Commit the tags after everything before them; True when they were changed."""
        await self.incarnation.settled()
        found = state.find_sensor(request.sensor)
        if found is None:
            request.receipt.fail(NotFound(f'There is no sensor named "{request.sensor}".'))
            return False
        sensor_no, slot = found
        if state.rules.crowds(slot, request.tags):
            request.receipt.fail(too_many_metrics(request.sensor))
            return False
        arrived = state.next_arrival(self.clock.now_us())
        closings = state.rules.leave(slot, request.tags, arrived=arrived, reason="rule_changed")
        item = self._bare_item(
            arrived,
            rule_states=rule_states(state.rules, snapshot=False),
            transitions=closings,
            tags_write=TagsWrite(sensor_no, request.tags),
        )
        await self._hand_over(item, request.receipt, lambda _: request.receipt.settle(None))
        await self.incarnation.settled()
        return True

    async def _retire(self, state: TenantState) -> bool:
        """Leave a snapshot; False when a message came meanwhile and life goes on."""
        if state.deltas:
            everything = state.table.seen()
            item = self._bare_item(
                state.next_arrival(self.clock.now_us()),
                rule_states=rule_states(state.rules, snapshot=True),
                touched=state.table.series_no[everything],
                newest=state.table.newest[everything],
                snapshot=True,
            )
            await self._hand_over(item, Receipt(), lambda _: None)
            state.deltas = 0
        await self.incarnation.settled()
        return self.inbox.close_if_empty()

    def _bare_item(
        self,
        arrived: Micros,
        *,
        rule_states: bytes,
        touched: Int32s | None = None,
        newest: Int64s | None = None,
        transitions: list[Transition] | None = None,
        rule_write: RuleWrite | None = None,
        tags_write: TagsWrite | None = None,
        snapshot: bool = False,
    ) -> CommitItem:
        """An item without readings."""
        no_series: Int32s = np.empty(0, np.int32)
        no_times: Int64s = np.empty(0, np.int64)
        no_values: Floats = np.empty(0, np.float64)
        return CommitItem(
            tenant_no=self.tenant_no,
            received_at=arrived,
            fresh_series=no_series,
            fresh_ts=no_times,
            fresh_value=no_values,
            old_series=no_series,
            old_ts=no_times,
            old_value=no_values,
            touched=no_series if touched is None else touched,
            newest=no_times if newest is None else newest,
            rule_states=rule_states,
            transitions=transitions or [],
            rule_write=rule_write,
            tags_write=tags_write,
            snapshot=snapshot,
        )

    async def _hand_over(
        self, item: CommitItem, receipt: Receipt[Any], settle: Callable[[int], None]
    ) -> None:
        self.incarnation.began()
        try:
            await self.works.send(Work(item, receipt, settle, self.incarnation))
        except BaseException:
            self.incarnation.ended()  # it never left
            raise
        self.current = None


def _answer(
    receipt: Receipt[Answer], item: CommitItem, rejects: tuple[Reject, ...], late: int
) -> None:
    """Settle a batch's receipt after its commit: late of the old rows were new."""
    duplicates = len(item.old_ts) - late
    receipt.settle(Answer(len(item.fresh_ts) + late, duplicates, late, rejects))
