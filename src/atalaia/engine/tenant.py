"""The actor of one tenant: the only task that touches its state.

Takes messages from its inbox in order, judges, and hands works to the flusher. Its memory may
run ahead of the commit; nothing visible leaves before it. Ends when its inbox closes, when it
has been idle long enough, or when a commit of it failed for good.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from atalaia.engine.admission import Admission
from atalaia.engine.clock import WallClock
from atalaia.engine.editor import Editor
from atalaia.engine.inbox import Inbox
from atalaia.engine.judge import judge, rule_states
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import DEAF_S, Hearing, Listening
from atalaia.engine.messages import (
    Incarnation,
    LatenessRequest,
    Message,
    OutlookRequest,
    RegisterRequest,
    RemovalRequest,
    RuleRequest,
    StepRequest,
    Submission,
    TagsRequest,
    Work,
)
from atalaia.engine.outcomes import Outcomes
from atalaia.engine.receipt import Answer, Receipt
from atalaia.engine.recover import recover
from atalaia.engine.registrar import Registrar
from atalaia.engine.rule_edits import (
    at_work,
)
from atalaia.engine.series_table import SeriesTable
from atalaia.engine.state import TenantState
from atalaia.engine.threads import Threads
from atalaia.model.batch import Batch, Int64s, Reject
from atalaia.model.errors import AtalaiaError, Unavailable
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import (
    CommitItem,
    EngineStore,
    TenantImage,
)
from atalaia.rules.absence import GRID_US
from atalaia.rules.tenant_state import NS_PER_STEP

log = structlog.get_logger()

BUSY_S = 5.0
"""So long after its time a tick goes before the messages that wait: they may be endless."""

LINGER_S = 0.05
"""So long after an edit of a rule another one is waited for: files of rules come one by one."""


@attrs.define(eq=False)
class TenantActor:
    """Everything one incarnation needs. `run` is its life."""

    tenant_no: TenantNo
    inbox: Inbox
    store: EngineStore
    outcomes: Outcomes
    clock: WallClock
    limits: EngineLimits
    works: trio.MemorySendChannel[Work]
    listening: Listening
    recoveries: trio.CapacityLimiter
    threads: Threads
    incarnation: Incarnation = attrs.field(factory=Incarnation)
    current: Message | None = None
    """The message being worked on; whoever buries us fails it."""
    hearing: Hearing = attrs.field(init=False)
    admission: Admission = attrs.field(init=False)
    editor: Editor = attrs.field(init=False)
    registrar: Registrar = attrs.field(init=False)
    took_at: float = attrs.field(factory=trio.current_time)
    """When it took what it is working on: what came since has not been heard."""

    def __attrs_post_init__(self) -> None:
        self.hearing = self.listening.of(self.tenant_no)
        self.admission = Admission(
            self.tenant_no, self.store, self.clock, self.limits, self.hearing
        )
        self.editor = Editor(
            self.tenant_no,
            self.store,
            self.clock,
            self.threads,
            self.incarnation,
            self.limits,
            self._send,
        )
        self.registrar = Registrar(self.editor)

    async def run(self) -> None:
        """Serve until the inbox is closed and empty, or idle: then nothing is left in memory.

        Raises StoreUnavailable and TenantGone when the state cannot be loaded. After cancellation
        (a commit failed) the caller rebuilds; messages still in the inbox are untouched.
        """
        rates: SeriesTable | None = None
        while True:
            self.hearing.own.begin(trio.current_time() + DEAF_S)
            async with self.recoveries:
                await self.outcomes.settle()
                state, image = await recover(
                    self.store, self.tenant_no, self.threads, rates, self.limits.tenant_bytes
                )
            self.admission.begin()
            if not state.is_full:
                self.hearing.own.end()
            if not await self._serve(state, image):
                return
            rates = state.table
            del state, image  # one at a time in memory

    async def _serve(self, state: TenantState, image: TenantImage) -> bool:
        """True when the state must be rebuilt from storage, False at the end of this life.

        Edits of rules that follow one another are made on the rules as they are to stand, and the
        state is rebuilt once for all of them: before anything else is done, which waits in
        `current` then.
        """
        stale_since: float | None = None
        while True:
            if self.current is None:
                patience_s = self._patience_s(state) if stale_since is None else LINGER_S
                try:
                    with trio.fail_after(patience_s):
                        self.current = await self.inbox.receive()
                        self.took_at = trio.current_time()
                except trio.TooSlowError:
                    self.took_at = trio.current_time()
                    if stale_since is not None:
                        return True
                    if state.rules.waits:
                        await self._tick(state)
                    elif await self._retire(state):
                        return False
                    continue
                except trio.EndOfChannel:
                    return False
            if stale_since is not None and (
                not isinstance(self.current, RuleRequest)
                or state.is_full
                or trio.current_time() - stale_since > BUSY_S
            ):
                return True
            after = await self._handle(self.current, state, image)
            self.current = None
            if after is None:
                return True
            if after is not image and at_work(after.rules) != at_work(image.rules):
                stale_since = trio.current_time() if stale_since is None else stale_since
            image = after
            if stale_since is None and state.rules.waits and self._overdue_s(state) > BUSY_S:
                await self._tick(state)

    async def _handle(
        self, message: Message, state: TenantState, image: TenantImage
    ) -> TenantImage | None:
        """The image, with the rules as they are to stand; None: the state must be rebuilt now."""
        try:
            match message:
                case Submission():
                    await self._admit(state, message)
                case RuleRequest():
                    return await self.editor.edit_rule(state, image, message)
                case StepRequest():
                    await self.incarnation.settled()
                    await message.first()
                    message.receipt.settle(None)
                case RegisterRequest():
                    if await self.registrar.register(state, message):
                        return None
                case TagsRequest():
                    if await self.registrar.tag(state, message):
                        return None
                case RemovalRequest():
                    await self.registrar.remove(state, message)
                    return None
                case LatenessRequest():
                    if await self.editor.set_lateness(state, message):
                        return None
                case OutlookRequest():
                    await self.editor.foresee(state, image, message)
        except AtalaiaError as error:
            message.receipt.fail(error)
        return image

    def _overdue_s(self, state: TenantState) -> float:
        return (self.clock.now_us() - state.rules.next_tick()) / 1e6

    def _patience_s(self, state: TenantState) -> float:
        """How long to wait for a message; what has arrived goes before what is due."""
        if state.rules.waits and (self.hearing.deaf or state.is_full):
            return DEAF_S / 2  # the next commit may stall too, but not at once
        if not state.rules.waits or not self.inbox.empty():
            return self.limits.idle_s
        return min(max(0.0, -self._overdue_s(state)), self.limits.idle_s)

    async def _tick(self, state: TenantState) -> None:
        """Commit the alerts of silence that are due now, if any."""
        if self.hearing.deaf or state.is_full:
            return
        state.rules.listen_from(self.hearing.since)
        if self.hearing.refused:
            state.rules.listen_to(*state.slots_of(self.hearing.refused))
        state.rules.pass_over(self.hearing.spans())
        arrived = state.next_arrival(self.clock.now_us())
        line = Micros(arrived // GRID_US * GRID_US)
        due = await self.threads.run(state.rules.ns_to_look, state.rules.due, line)
        for start in range(0, len(due), self.limits.item_steps):
            if start and not self.inbox.empty():
                return  # the rest is due still, and comes after what has arrived
            some = due[start : start + self.limits.item_steps]
            transitions = state.rules.tick(some, line, arrived)
            item = CommitItem(
                self.tenant_no,
                arrived,
                rule_states=rule_states(state.rules, snapshot=False),
                transitions=transitions,
            )
            state.deltas += 1
            await self._send(item, Receipt(), lambda _: None)
            await self.incarnation.eased(self.limits.unsettled_steps)
            arrived = state.next_arrival(arrived)

    async def _admit(self, state: TenantState, submission: Submission) -> None:
        """Raises Overloaded, Unavailable."""
        if submission.after is not None and submission.after.failed:
            self.hearing.refuse(submission.batch.sensors)
            raise Unavailable
        batch, slots, arrived = await self.admission.admit(state, submission.batch)
        if len(batch):
            await self._judge(state, batch, slots, arrived, submission.receipt)
        else:
            submission.receipt.settle(Answer(0, 0, 0, _in_order(batch.rejects)))

    async def _judge(
        self,
        state: TenantState,
        batch: Batch,
        slots: Int64s,
        arrived: Micros,
        receipt: Receipt[Answer],
    ) -> None:
        """Judge a batch and hand it over; many alerts in parts, so that others come between."""
        parts = judge(
            state,
            batch,
            slots,
            arrived,
            snapshot=state.deltas >= self.limits.snapshot_every,
            most_steps=self.limits.item_steps,
        )
        await self.incarnation.eased(self.limits.unsettled_steps)
        part = await self.threads.run(state.ns_to_judge(batch.ts), next, parts)
        fresh = len(part.item.fresh_ts)
        while not part.last:
            state.deltas += 1
            await self._send(part.item, receipt, lambda _: None)
            await self.incarnation.eased(self.limits.unsettled_steps)
            part = await self.threads.run(NS_PER_STEP * self.limits.item_steps, next, parts)
            fresh += len(part.item.fresh_ts)
        state.deltas = 0 if part.item.snapshot else state.deltas + 1
        old = len(part.item.old_ts)
        await self._send(
            part.item, receipt, partial(_answer, receipt, fresh, old, _in_order(batch.rejects))
        )

    async def _retire(self, state: TenantState) -> bool:
        """Leave a snapshot; False when a message came meanwhile and life goes on."""
        if state.deltas:
            everything = state.table.seen()
            item = CommitItem(
                self.tenant_no,
                state.next_arrival(self.clock.now_us()),
                rule_states=rule_states(state.rules, snapshot=True),
                touched=state.table.series_no[everything],
                newest=state.table.newest[everything],
                judged=state.judged_of(everything),
                snapshot=True,
            )
            await self._send(item, Receipt(), lambda _: None)
            state.deltas = 0
        await self.incarnation.settled()
        return self.inbox.close_if_empty()

    async def _send(
        self, item: CommitItem, receipt: Receipt[Any], settle: Callable[[int], None]
    ) -> None:
        self.incarnation.began(item)
        try:
            await self.works.send(Work(item, receipt, settle, self.incarnation))
        except BaseException:
            self.incarnation.ended(item)  # it never left
            raise


def _answer(
    receipt: Receipt[Answer], fresh: int, old: int, rejects: tuple[Reject, ...], late: int
) -> None:
    """Settle a batch's receipt after its commit: late of the old rows were new."""
    receipt.settle(Answer(fresh + late, old - late, late, rejects))


def _in_order(rejects: Sequence[Reject]) -> tuple[Reject, ...]:
    return tuple(sorted(rejects, key=lambda reject: reject.index))
