"""The actor of one tenant: the only task that touches its state.

Takes messages from its inbox in order, judges, and hands works to the flusher. Its memory may
run ahead of the commit; nothing visible leaves before it. Ends when its inbox closes, when it
has been idle long enough, or when a commit of it failed for good.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.inbox import Inbox
from atalaia.engine.judge import NS_PER_STEP, check_times, judge, refuse, rule_states
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import DEAF_S, Hearing, Listening
from atalaia.engine.messages import (
    Incarnation,
    LatenessRequest,
    Message,
    OutlookRequest,
    RuleRequest,
    Submission,
    TagsRequest,
    Work,
)
from atalaia.engine.outcomes import Outcomes
from atalaia.engine.receipt import Answer, Receipt
from atalaia.engine.recover import add_sensors, add_series, joining_bytes, learn_pace, recover
from atalaia.engine.rule_edits import (
    Edited,
    apply_edit,
    apply_write,
    at_work,
    check_lateness,
    check_rules,
    check_tags,
    foresee,
)
from atalaia.engine.series_table import SeriesTable
from atalaia.engine.state import TenantState
from atalaia.engine.threads import Threads
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, Int64s, Reject
from atalaia.model.errors import AtalaiaError, Conflict, NotFound, Overloaded, Unavailable
from atalaia.model.ids import Micros, RuleNo, TenantNo
from atalaia.ports import (
    CommitItem,
    EngineStore,
    LatenessWrite,
    TagsWrite,
    TenantImage,
)
from atalaia.rules.absence import GRID_US
from atalaia.rules.forecast import Forecast, cures, mib

log = structlog.get_logger()

BUSY_S = 5.0
"""So long after its time a tick goes before the messages that wait: they may be endless."""

LINGER_S = 0.05
"""So long after an edit of a rule another one is waited for: files of rules come one by one."""

BYTES_PER_ROW = 16  # of a reading that waits, at least

FULL_RETRY_S = 60  # somebody has to change a rule


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
    """The message being worked on and not yet handed over; whoever buries us fails it."""
    _full: dict[bool, Forecast] = attrs.field(factory=dict)
    """What takes most while the tenant holds more memory than it may; True: with new sensors."""
    hearing: Hearing = attrs.field(init=False)
    took_at: float = attrs.field(factory=trio.current_time)
    """When it took what it is working on: what came since has not been heard."""

    def __attrs_post_init__(self) -> None:
        self.hearing = self.listening.of(self.tenant_no)

    async def run(self) -> None:
        """Serve until the inbox is closed and empty, or idle: then nothing is left in memory.

        Raises StoreUnavailable when the state cannot be loaded. After cancellation (a commit
        failed) the caller rebuilds; messages still in the inbox are untouched.
        """
        rates: SeriesTable | None = None
        while True:
            self.hearing.own.begin(trio.current_time() + DEAF_S)
            async with self.recoveries:
                await self.outcomes.settle()
                state, image = await recover(
                    self.store, self.tenant_no, self.threads, rates, self.limits.tenant_bytes
                )
            self._full.clear()
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
            match self.current:
                case Submission() as submission:
                    if submission.after is not None and submission.after.failed:
                        submission.receipt.fail(Unavailable())
                    else:
                        await self._admit(state, submission)
                case RuleRequest() as request:
                    edited = await self._edit_rule(state, image, request)
                    if edited is not None:
                        changed = at_work(edited.rules) != at_work(image.rules)
                        image = edited
                        if changed and stale_since is None:
                            stale_since = trio.current_time()
                case TagsRequest() as request:
                    if await self._tag(state, request):
                        return True
                case LatenessRequest() as request:
                    if await self._set_lateness(state, request):
                        return True
                case OutlookRequest() as request:
                    await self._foresee(state, image, request)
            self.current = None
            if stale_since is None and state.rules.waits and self._overdue_s(state) > BUSY_S:
                await self._tick(state)

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
        while transitions := state.rules.tick(line, arrived, self.limits.item_steps):
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

    def _check_room(self, state: TenantState, joining: int = 0) -> None:
        """Raises Overloaded when the tenant holds what it may: only an edit of its rules or
        lateness helps.

        joining: bytes of sensors that are to be added; those that are there go on without them.
        """
        limit, held = state.most_bytes, state.held_bytes + joining
        if held <= limit:
            return
        if not joining:
            self.hearing.own.begin(trio.current_time())
        found = self._full.get(joining > 0)
        if found is None:
            found = self._full[joining > 0] = state.forecast()
            log.warning("tenant_memory_full", held_bytes=held, waiting_bytes=state.waiting_bytes,
                        limit_bytes=limit, costliest=str(found))  # fmt: skip
        parts = "The windows and states of this tenant's rules"
        if state.waiting_bytes:
            parts += f", and readings that wait for their lateness ({mib(state.waiting_bytes)}),"
        if joining:
            parts += " with the sensors that are new in this batch"
        then = "nothing more is taken until they take less"
        if joining:
            then = "a batch with new sensors is taken when they take less, others are as before"
        most = f" Most of it: {found}." if found.costliest else ""
        raise Overloaded(
            f"{parts} take {mib(held)}, and may take {mib(limit)}: {then}.{most} "
            f"{cures(held, state.waiting_bytes).capitalize()}, or ask for more "
            "(ATALAIA_TENANT_MEMORY); then send the same batch again.",
            code="too_much_memory",
            retry_after_s=FULL_RETRY_S,
        )

    async def _admit(self, state: TenantState, submission: Submission) -> None:
        batch = submission.batch
        try:
            self._check_room(state)
            arrived = state.next_arrival(self.clock.now_us())
            batch = check_times(
                batch,
                oldest=self.limits.oldest(arrived),
                newest=arrived + self.limits.future_skew_us,
            )
            batch = await self._cover(batch)
            batch, slots = await self._register(state, batch)
        except Overloaded as error:
            self.hearing.refuse(submission.batch.sensors)
            submission.receipt.fail(error)
            return
        if not len(batch):
            submission.receipt.settle(Answer(0, 0, 0, _in_order(batch.rejects)))
            return
        await self._judge(state, batch, slots, arrived, submission.receipt)

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
        ns = state.ns_per_row * len(batch) + state.rules.ns_to_prepare(batch.ts)
        part = await self.threads.run(ns, next, parts)
        fresh = len(part.item.fresh_ts)
        while not part.last:
            state.deltas += 1
            await self._send(part.item, receipt, lambda _: None)
            await self.incarnation.eased(self.limits.unsettled_steps)
            part = await self.threads.run(NS_PER_STEP * self.limits.item_steps, next, parts)
            fresh += len(part.item.fresh_ts)
        state.deltas = 0 if part.item.snapshot else state.deltas + 1
        old = len(part.item.old_ts)
        await self._hand_over(
            part.item, receipt, partial(_answer, receipt, fresh, old, _in_order(batch.rejects))
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

        Returns what is left of the batch, and the slot of each row's series. Raises Overloaded when
        new sensors would take more memory than the tenant may.
        """
        named = state.table.slots(batch.names)
        if -1 not in named:
            return batch, named[batch.idx]
        used = np.unique(batch.idx).tolist()
        unknown = [batch.names[i] for i in used if batch.names[i] not in state.table]
        if unknown:
            strangers = {name.sensor for name in unknown if not state.knows_sensor(name.sensor)}
            self._check_room(state, await joining_bytes(state, strangers))
            sensors, series = await self.store.register(
                self.tenant_no, unknown, self.clock.now_us()
            )
            await add_sensors(state, sensors, {})
            await add_series(state, series, {}, {})
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
    ) -> TenantImage | None:
        """Commit the edit after everything before it; the image with it when it was made."""
        await self.incarnation.settled()
        arrived = state.next_arrival(self.clock.now_us())
        try:
            edited = apply_edit(
                image.rules, image.next_rule_no, request.edit, arrived, most=request.most
            )
            rule, rules = edited.write.rule, apply_write(image.rules, edited.write)
            if rule.enabled and rule.active_from == arrived:
                await learn_pace(self.store, state)
                await self.threads.run(
                    state.rules.ns_to_foresee, check_rules, state, image.rules, rules
                )
        except AtalaiaError as error:
            request.receipt.fail(error)
            return None
        item = self._edit_item(state, edited, arrived)
        await self._hand_over(item, request.receipt, lambda _: request.receipt.settle(rule))
        await self.incarnation.settled()
        log.info("rule_committed", rule_id=str(rule.rule_id), revision=rule.revision)
        next_no = max(image.next_rule_no, RuleNo(rule.rule_no + 1))
        return attrs.evolve(image, rules=rules, next_rule_no=next_no)

    def _edit_item(self, state: TenantState, edited: Edited, arrived: Micros) -> CommitItem:
        rule = edited.write.rule
        closings: list[Transition] = []
        if edited.closes is not None:
            closings = state.rules.close(rule.rule_no, arrived=arrived, reason=edited.closes)
        return CommitItem(
            self.tenant_no,
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
        try:
            await self.threads.run(state.rules.ns_to_foresee, check_tags, state, slot, request.tags)
        except Conflict as error:
            request.receipt.fail(error)
            return False
        arrived = state.next_arrival(self.clock.now_us())
        closings = state.rules.leave(slot, request.tags, arrived=arrived, reason="rule_changed")
        item = CommitItem(
            self.tenant_no,
            arrived,
            rule_states=rule_states(state.rules, snapshot=False),
            transitions=closings,
            tags_write=TagsWrite(sensor_no, request.tags),
        )
        await self._hand_over(item, request.receipt, lambda _: request.receipt.settle(None))
        await self.incarnation.settled()
        return True

    async def _set_lateness(self, state: TenantState, request: LatenessRequest) -> bool:
        """Judge what waits there, and commit the lateness with it; True when it was changed.

        So nothing waits under one lateness and is judged, or not, under another.
        """
        await self.incarnation.settled()
        found = None if request.sensor is None else state.find_sensor(request.sensor)
        if request.sensor is not None and found is None:
            request.receipt.fail(NotFound(f'There is no sensor named "{request.sensor}".'))
            return False
        sensor_no, slot = found or (None, None)
        if request.lateness_us == state.lateness_of(sensor_no):
            request.receipt.settle(None)
            return False
        if state.rules.held_bytes > state.most_bytes:  # nobody can judge by windows left incomplete
            request.receipt.fail(
                Conflict(
                    "Change a rule first: its windows take too much memory.", code="too_much_memory"
                )
            )
            return False
        await learn_pace(self.store, state)
        try:
            await self.threads.run(
                state.rules.ns_to_foresee, check_lateness, state, sensor_no, request.lateness_us
            )
        except Conflict as error:
            request.receipt.fail(error)
            return False
        arrived = state.next_arrival(self.clock.now_us())
        most = 0 if state.reorder is None else state.reorder.used_bytes // BYTES_PER_ROW
        transitions, touched = await self.threads.run(
            state.ns_per_row * most, state.judge_waiting, slot, arrived
        )
        item = CommitItem(
            self.tenant_no,
            arrived,
            rule_states=rule_states(state.rules, snapshot=False),
            touched=state.table.series_no[touched],
            newest=state.table.newest[touched],
            transitions=transitions,
            lateness_write=LatenessWrite(sensor_no, request.lateness_us),
        )
        await self._hand_over(item, request.receipt, lambda _: request.receipt.settle(None))
        await self.incarnation.settled()
        return True

    async def _foresee(
        self, state: TenantState, image: TenantImage, request: OutlookRequest
    ) -> None:
        """In a thread: a text may hold hundreds of rules, a tenant thousands of sensors."""
        await learn_pace(self.store, state)
        found = await self.threads.run(
            state.rules.ns_to_foresee * (1 + len(request.specs)),
            foresee, state, image.rules, request.specs,
        )  # fmt: skip
        request.receipt.settle(found)
        self.current = None

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
            await self._hand_over(item, Receipt(), lambda _: None)
            state.deltas = 0
        await self.incarnation.settled()
        return self.inbox.close_if_empty()

    async def _hand_over(
        self, item: CommitItem, receipt: Receipt[Any], settle: Callable[[int], None]
    ) -> None:
        """As `_send`; nothing more is to be done for the message being worked on."""
        await self._send(item, receipt, settle)
        self.current = None

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
