"""Where everything for the actors enters: it is taken, or refused at once with the reason."""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any

import attrs
import trio

from atalaia.engine.broadcast import Broadcast
from atalaia.engine.clock import WallClock
from atalaia.engine.edits import TenantStatus
from atalaia.engine.inbox import Budget, Inbox
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import Hearing, Listening
from atalaia.engine.messages import (
    CreateRule,
    LatenessRequest,
    Message,
    Outlook,
    OutlookRequest,
    RegisterRequest,
    RemovalRequest,
    ReplaceRule,
    RuleEdit,
    RuleRequest,
    SensorTags,
    Step,
    StepRequest,
    Submission,
    TagsRequest,
    Work,
    nothing,
)
from atalaia.engine.outage import Outage
from atalaia.engine.outcomes import Outcomes
from atalaia.engine.parsers import Parsers
from atalaia.engine.quota import READINGS, Quotas
from atalaia.engine.receipt import Answer, Receipt
from atalaia.engine.supervise import Supervisor
from atalaia.engine.tenant import TenantActor
from atalaia.engine.threads import Threads
from atalaia.model.audit import THE_SERVICE, Actor
from atalaia.model.batch import Batch
from atalaia.model.errors import Closing, Overloaded, Unavailable
from atalaia.model.ids import SECOND_US, TenantNo
from atalaia.model.quota import MAX_RULES, NO_QUOTA, Quota
from atalaia.model.rule import StoredRule
from atalaia.ports import EngineStore, StoreUnavailable
from atalaia.rules.language import parse_rule
from atalaia.rules.syntax import RuleSpec
from atalaia.telemetry.metrics import ACTORS, UNSETTLED_ROWS


@attrs.define(eq=False)
class Gate:
    """Where batches and edits enter. Nothing here waits."""

    _store: EngineStore
    _outcomes: Outcomes
    _clock: WallClock
    _limits: EngineLimits
    _nursery: trio.Nursery
    _works: trio.MemorySendChannel[Work]
    _budget: Budget
    _listening: Listening
    _recoveries: trio.CapacityLimiter
    _threads: Threads
    _outage: Outage
    quotas: Quotas
    broadcast: Broadcast
    parsers: Parsers = attrs.field(factory=Parsers)
    _tenants: dict[TenantNo, Supervisor] = attrs.field(factory=dict)
    _closing: bool = False
    _empty: trio.Event = attrs.field(factory=trio.Event)
    _lost: trio.Event = attrs.field(factory=trio.Event)
    """Set when an actor ended that nobody meant to end."""

    def max_rules(self, quota: Quota) -> int:
        """How many rules a tenant may have."""
        wanted = self.quotas.in_force(quota).max_rules
        return MAX_RULES if wanted is None else min(wanted, MAX_RULES)

    @property
    def retention_us(self) -> int | None:
        """How long readings are kept; None: for ever."""
        return self._limits.retention_us

    def hearing(self, tenant_no: TenantNo) -> Hearing:
        """From when silence counts, and whether the tenant is heard at all just now."""
        return self._listening.look(tenant_no)

    def admit(self, tenant_no: TenantNo, quota: Quota = NO_QUOTA) -> None:
        """Whether a batch may come, asked before it is read and parsed: a refusal is to be cheap.

        quota: of the sender, where it has one of its own. Raises Overloaded, Unavailable, Closing.
        """
        self._check_open(self._tenants.get(tenant_no))
        self.quotas.check(tenant_no, quota, trio.current_time())

    def pay(
        self, tenant_no: TenantNo, quota: Quota = NO_QUOTA, *, readings: int = 0, size: int = 0
    ) -> None:
        """For bytes that were parsed, and for readings that are not submitted, all being bad."""
        self.quotas.pay(tenant_no, quota, trio.current_time(), readings=readings, size=size)

    def submit(
        self,
        tenant_no: TenantNo,
        batch: Batch,
        quota: Quota | None = NO_QUOTA,
        *,
        after: Receipt[Answer] | None = None,
    ) -> Receipt[Answer]:
        """Hand a batch to its tenant's actor, which is started if it rests.

        The receipt is settled after the commit. after: of the same tenant; unless it succeeds
        this batch fails as Unavailable. quota: None when it was paid elsewhere. Raises Overloaded,
        Unavailable, Closing.
        """
        inbox = self._supervisor(tenant_no).inbox
        rows, now = len(batch), trio.current_time()
        try:
            if quota is not None:
                self.quotas.check(tenant_no, quota, now, (READINGS,))  # bytes are paid for already
            inbox.reserve(rows)
        except (Overloaded, Unavailable):
            self._listening.of(tenant_no).refuse(batch.sensors)
            raise
        if quota is not None:
            self.quotas.pay(tenant_no, quota, now, readings=batch.sent)
        receipt: Receipt[Answer] = self._receipt(partial(inbox.release, rows))
        _put(inbox, Submission(batch, receipt, after))
        return receipt

    def edit_rule(
        self,
        tenant_no: TenantNo,
        edit: RuleEdit,
        quota: Quota = NO_QUOTA,
        by: Actor = THE_SERVICE,
    ) -> Receipt[StoredRule]:
        """A rule change, in order with the tenant's batches. by: whom the audit names.

        Raises RuleInvalid for a text that need not wait to be refused; Overloaded, Unavailable,
        Closing.
        """
        if isinstance(edit, CreateRule | ReplaceRule):
            parse_rule(edit.text)
        most = self.max_rules(quota)
        return self._request(tenant_no, partial(RuleRequest, edit, most=most, by=by))

    def register(
        self, tenant_no: TenantNo, sensors: SensorTags, by: Actor = THE_SERVICE
    ) -> Receipt[Sequence[str]]:
        """Sensors before their first reading, in order with the tenant's batches.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(tenant_no, partial(RegisterRequest, sensors, by=by))

    def do(self, tenant_no: TenantNo, first: Step) -> Receipt[None]:
        """A step that judges nothing, in order with the tenant's batches and edits.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(tenant_no, partial(StepRequest, first))

    def set_tags(
        self,
        tenant_no: TenantNo,
        tags: SensorTags,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
        about: Set[str] | None = None,
    ) -> Receipt[Sequence[str]]:
        """New tags for sensors, in order with the tenant's batches. first: done before it. about:
        the tags that are meant, where it is not all of them. Answered with those that changed.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(tenant_no, partial(TagsRequest, tags, by=by, first=first, about=about))

    def remove(
        self,
        tenant_no: TenantNo,
        sensor: str,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]:
        """An end of a sensor, in order with its tenant's batches. first: done before it.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(tenant_no, partial(RemovalRequest, sensor, by=by, first=first))

    def set_lateness(
        self,
        tenant_no: TenantNo,
        sensor: str | None,
        lateness_us: int | None,
        by: Actor = THE_SERVICE,
        first: Step = nothing,
    ) -> Receipt[None]:
        """A new lateness for a sensor or, without one, for the tenant, in order with its batches.
        first: done before it, unless it is refused.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(
            tenant_no, partial(LatenessRequest, sensor, lateness_us, by=by, first=first)
        )

    def foresee(self, tenant_no: TenantNo, specs: Sequence[RuleSpec]) -> Receipt[Outlook]:
        """What rules would do if they were saved now, by what is known of the tenant's readings.

        Raises Overloaded, Unavailable, Closing.
        """
        return self._request(tenant_no, partial(OutlookRequest, specs))

    def _request(
        self, tenant_no: TenantNo, about: Callable[[Receipt[Any]], Message]
    ) -> Receipt[Any]:
        """Take room for an edit or a question, and hand it to the tenant's actor."""
        inbox = self._supervisor(tenant_no).inbox
        inbox.reserve_edit()
        receipt = self._receipt(inbox.release_edit)
        _put(inbox, about(receipt))
        return receipt

    def _receipt(self, release: Callable[[], None]) -> Receipt[Any]:
        def settled() -> None:
            release()
            self._outage.forget(receipt)

        receipt: Receipt[Any] = Receipt(settled)
        self._outage.watch(receipt)
        return receipt

    async def wake_waiting(self) -> None:
        """Start the actors of tenants whose rules wait for silence: nobody else would.

        Who is suspended can send nothing, and so is not silent; of it nobody is started.

        Raises StoreUnavailable, StoreRefused.
        """
        self._lost = trio.Event()
        try:
            waiting = await self._store.waiting_tenants()
        except StoreUnavailable:
            self._listening.unanswered()
            raise
        self._listening.answered()
        for tenant_no in waiting.awake:
            if tenant_no in self._tenants:
                self._listening.of(tenant_no).suspended.end()
            elif not self._closing:
                self._start(tenant_no)
        for tenant_no, suspended_us in waiting.suspended_us.items():
            if tenant_no in self._tenants:
                since = trio.current_time() - suspended_us / SECOND_US
                self._listening.of(tenant_no).suspended.begin(since)

    def forget(self, tenant_no: TenantNo) -> None:
        """Drop what is in memory of a tenant that is being erased: whoever waits is told to send
        it again, and is then told that the tenant is erased.
        """
        supervisor = self._tenants.get(tenant_no)
        if supervisor is not None:
            supervisor.abandon()
        else:
            self._listening.forget(tenant_no)

    async def lost(self) -> None:
        """Wait until there may be somebody to wake who was awake at the last look."""
        await self._lost.wait()

    def status(self, tenant_no: TenantNo) -> TenantStatus:
        """What there is to say of a tenant's processing."""
        supervisor = self._tenants.get(tenant_no)
        if supervisor is None:
            return TenantStatus()
        rows, quarantine = supervisor.inbox.rows, supervisor.quarantine
        if quarantine is None:
            return TenantStatus(rows)
        return TenantStatus(rows, quarantine.reason, quarantine.left_s(trio.current_time()))

    async def probe(self) -> None:
        """Whether a commit could be stored now. Raises StoreUnavailable, StoreRefused."""
        await self._store.probe()

    @property
    def commits(self) -> bool:
        """Whether commits go through, as far as is known."""
        return not self._outage.lasts

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
        supervisor = self._tenants.get(tenant_no)
        self._check_open(supervisor)
        return self._start(tenant_no) if supervisor is None else supervisor

    def _check_open(self, supervisor: Supervisor | None) -> None:
        """Raises Closing, or Unavailable while nothing is committed or the tenant is paused."""
        if self._closing:
            raise Closing
        self._outage.admit()
        quarantine = None if supervisor is None else supervisor.quarantine
        if quarantine is not None:
            raise Unavailable(
                f"This tenant's processing crashed repeatedly ({quarantine.reason}) and is paused; "
                "others are not affected. Send the same batch again after the delay.",
                code="quarantined",
                retry_after_s=quarantine.left_s(trio.current_time()),
            )

    def _start(self, tenant_no: TenantNo) -> Supervisor:
        inbox = Inbox(self._limits.inbox_rows, self._limits.inbox_edits, self._budget)
        new_actor = partial(
            TenantActor, tenant_no, inbox, self._store, self._outcomes, self._clock, self._limits,
            self._works, self._listening, self._recoveries, self._threads,
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
            if supervisor.gave_up:
                self._lost.set()
            if self._closing and not self._tenants:
                self._empty.set()


def _put(inbox: Inbox, message: Message) -> None:
    """Raises Closing, with the room given back: the actor ends, and the tenant is erased."""
    try:
        inbox.put(message)
    except Closing as error:
        message.receipt.fail(error)
        raise
