"""The engine's lifetime and its gate.

`open_engine` is the parent of every actor and of the flusher. Leaving it drains: the gate
refuses, inboxes run empty, actors end, the flusher makes its last commit; then nothing is left.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.flush import Flusher
from atalaia.engine.group import Queue
from atalaia.engine.inbox import Budget, Inbox
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import Listening
from atalaia.engine.messages import (
    CreateRule,
    ReplaceRule,
    RuleEdit,
    RuleRequest,
    Submission,
    TagsRequest,
    Work,
)
from atalaia.engine.receipt import Answer, Receipt
from atalaia.engine.supervise import Supervisor
from atalaia.engine.tenant import TenantActor
from atalaia.model.batch import Batch
from atalaia.model.errors import Closing, Unavailable
from atalaia.model.ids import TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import EngineStore, Fenced, StoreRefused, StoreUnavailable
from atalaia.rules.language import parse_rule
from atalaia.telemetry.metrics import ACTORS, UNSETTLED_ROWS

log = structlog.get_logger()

WORKS_AHEAD = 1_000  # judged items waiting for a commit; their readings count as unsettled
HOUSEKEEPING_S = 60.0
LAST_ANSWERS_S = 1.0  # for the faces to send them, when the lease is lost
RETRY_S = 5.0


@attrs.define(eq=False)
class Gate:
    """Where batches and edits enter. Nothing here waits."""

    _store: EngineStore
    _clock: WallClock
    _limits: EngineLimits
    _nursery: trio.Nursery
    _works: trio.MemorySendChannel[Work]
    _budget: Budget
    _listening: Listening
    _recoveries: trio.CapacityLimiter
    _tenants: dict[TenantNo, Supervisor] = attrs.field(factory=dict)
    _closing: bool = False
    _empty: trio.Event = attrs.field(factory=trio.Event)

    @property
    def retention_us(self) -> int | None:
        """How long readings are kept; None: for ever."""
        return self._limits.retention_us

    def submit(
        self, tenant_no: TenantNo, batch: Batch, *, after: Receipt[Answer] | None = None
    ) -> Receipt[Answer]:
        """Hand a batch to its tenant's actor, which is started if it rests.

        The receipt is settled after the commit. after: of the same tenant; unless it succeeds
        this batch fails as Unavailable. Raises Overloaded, Unavailable, Closing.
        """
        supervisor = self._supervisor(tenant_no)
        rows = len(batch)
        supervisor.inbox.reserve(rows)
        receipt: Receipt[Answer] = Receipt(partial(supervisor.inbox.release, rows))
        supervisor.inbox.put(Submission(batch, receipt, after))
        return receipt

    def edit_rule(self, tenant_no: TenantNo, edit: RuleEdit) -> Receipt[StoredRule]:
        """A rule change, in order with the tenant's batches.

        Raises RuleInvalid for a text that need not wait to be refused; Overloaded, Unavailable,
        Closing.
        """
        if isinstance(edit, CreateRule | ReplaceRule):
            parse_rule(edit.text)
        inbox = self._supervisor(tenant_no).inbox
        inbox.reserve_edit()
        receipt: Receipt[StoredRule] = Receipt(inbox.release_edit)
        inbox.put(RuleRequest(edit, receipt))
        return receipt

    def set_tags(self, tenant_no: TenantNo, sensor: str, tags: dict[str, str]) -> Receipt[None]:
        """New tags for a sensor, in order with the tenant's batches.

        Raises Overloaded, Unavailable, Closing.
        """
        inbox = self._supervisor(tenant_no).inbox
        inbox.reserve_edit()
        receipt: Receipt[None] = Receipt(inbox.release_edit)
        inbox.put(TagsRequest(sensor, tags, receipt))
        return receipt

    async def wake_waiting(self) -> None:
        """Start the actors of tenants whose rules wait for silence: nobody else would.

        Raises StoreUnavailable, StoreRefused.
        """
        for tenant_no in await self._store.waiting_tenants():
            if not self._closing and tenant_no not in self._tenants:
                self._start(tenant_no)

    def observe(self) -> None:
        """Bring the gauges up to date."""
        ACTORS.set(len(self._tenants))
        UNSETTLED_ROWS.set(self._budget.rows)

    def close(self) -> None:
        """Refuse from now on; what is inside runs to its end."""
        self._closing = True
        for supervisor in self._tenants.values():
            supervisor.close()
        if not self._tenants:
            self._empty.set()

    async def emptied(self) -> None:
        """After `close`: wait until the last actor has ended."""
        await self._empty.wait()

    def _supervisor(self, tenant_no: TenantNo) -> Supervisor:
        if self._closing:
            raise Closing
        supervisor = self._tenants.get(tenant_no)
        if supervisor is None:
            supervisor = self._start(tenant_no)
        if supervisor.quarantined_until is not None:
            left_s = supervisor.quarantined_until - trio.current_time()
            raise Unavailable(
                "This tenant's processing crashed repeatedly and is paused; others are not "
                "affected. Send the same batch again after the delay.",
                code="quarantined",
                retry_after_s=max(1, int(left_s)),
            )
        return supervisor

    def _start(self, tenant_no: TenantNo) -> Supervisor:
        inbox = Inbox(self._limits.inbox_rows, self._limits.inbox_edits, self._budget)
        new_actor = partial(
            TenantActor, tenant_no, inbox, self._store, self._clock, self._limits, self._works,
            self._listening, self._recoveries,
        )  # fmt: skip
        supervisor = Supervisor(tenant_no, inbox, self._limits, new_actor, self._listening)
        self._tenants[tenant_no] = supervisor
        self._nursery.start_soon(self._live, supervisor)
        return supervisor

    async def _live(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.run()
        finally:
            # The inbox is closed by now; a submission from here on starts a new actor.
            del self._tenants[supervisor.tenant_no]
            if self._closing and not self._tenants:
                self._empty.set()


@asynccontextmanager
async def open_engine(
    store: EngineStore, clock: WallClock, limits: EngineLimits
) -> AsyncIterator[Gate]:
    """Run the flusher and the actors; leaving drains for at most `limits.drain_s`.

    A lost lease (Fenced) cancels the body and is raised, after whoever waits was told to send it
    again: the process must end.
    """
    send, receive = trio.open_memory_channel[Work](WORKS_AHEAD)
    async with trio.open_nursery() as nursery:
        listening = Listening(clock, clock.now_us())
        flusher = Flusher(store, clock, limits, receive, Queue(limits), listening)
        budget = Budget(limits.total_rows)
        recoveries = trio.CapacityLimiter(limits.recoveries)
        gate = Gate(store, clock, limits, nursery, send, budget, listening, recoveries)
        flushed = trio.Event()

        async def flush() -> None:
            try:
                await flusher.run()
            except Fenced:
                log.error("lease_lost", advice="another process serves this database now")
                gate.close()
                with trio.move_on_after(LAST_ANSWERS_S):
                    await flusher.refuse()
                    await trio.sleep_forever()
                raise
            finally:
                flushed.set()

        nursery.start_soon(flush)
        nursery.start_soon(flusher.tally.run)
        nursery.start_soon(_keep_house, gate, store, clock, limits)
        try:
            yield gate
        finally:
            with trio.move_on_after(limits.drain_s, shield=True) as drain:
                gate.close()
                await gate.emptied()
                await send.aclose()
                await flushed.wait()
            if drain.cancelled_caught:
                log.error("drain_cut_short", after_s=limits.drain_s)
            nursery.cancel_scope.cancel()


async def _keep_house(
    gate: Gate, store: EngineStore, clock: WallClock, limits: EngineLimits
) -> None:
    while True:
        try:
            await gate.wake_waiting()
            await trio.sleep(HOUSEKEEPING_S)
            await store.housekeep(clock.now_us(), limits.keep_groups_us)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("housekeeping_failed", error=str(error))
            await trio.sleep(RETRY_S)
