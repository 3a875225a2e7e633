"""One connection's life as a consumer: deliveries to lanes, what is done to acknowledgements.

A delivery is done when its readings are committed, or when a dead letter of it is confirmed. It is
never handed back while the process lives: whatever fails for the world's fault is held and tried
again, and comes anew after a lost connection.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from uuid import UUID

import attrs
import structlog
import trio

from atalaia.amqp.backlog import Backlog
from atalaia.amqp.done import LAST_ACKS_S, Done
from atalaia.amqp.feed import Feed
from atalaia.amqp.lane import Lane
from atalaia.amqp.later import Later
from atalaia.amqp.letters import Letters
from atalaia.amqp.limits import AmqpLimits, backoff_s
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, told
from atalaia.amqp.messages import Delivery, Fault, fault_of, parse_address, tenant_of
from atalaia.amqp.outlet import Outlet
from atalaia.amqp.poison import LetterShare, PoisonCount
from atalaia.amqp.tenants import Tenants
from atalaia.amqp.turn import wait_for_turn
from atalaia.amqp.watch import watch_queues
from atalaia.bridge import Bridge
from atalaia.engine.clock import WallClock
from atalaia.engine.gate import Gate
from atalaia.model.errors import Invalid
from atalaia.model.ids import TenantNo
from atalaia.ports import StoreRefused, StoreUnavailable, TenantGone

log = structlog.get_logger()


class End(Enum):
    """Why a session is over."""

    LOST = "lost"  # the connection, or a queue
    OUTAGE = "outage"  # the store has been away for too long to hold on
    POISON = "poison"
    LEFT = "left"  # we are leaving


@attrs.define(eq=False)
class Session:
    """Made for one feed; `run` is its life."""

    bridge: Bridge
    feed: Feed
    letters: Outlet
    later: Later
    gate: Gate
    tenants: Tenants
    clock: WallClock
    limits: AmqpLimits
    poison: PoisonCount
    share: LetterShare
    _left: trio.Event = attrs.field(factory=trio.Event)
    _end: End = End.LEFT
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _beside: trio.Nursery = attrs.field(init=False)
    _lanes: dict[TenantNo, Lane] = attrs.field(factory=dict)
    _backlogs: dict[TenantNo, Backlog] = attrs.field(factory=dict)
    _holding: set[TenantNo] = attrs.field(factory=set)
    _done: Done = attrs.field(init=False)
    _letters: Letters = attrs.field(init=False)
    _troubles: dict[object, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._done = Done(self.bridge, self.feed, self.end_lost)
        self._letters = Letters(
            self.bridge, self.letters, self.clock, self.limits, self.share, self.end_lost
        )

    @property
    def holding(self) -> bool:
        return bool(self._holding)

    @property
    def trouble(self) -> str | None:
        """For readiness: why something is not consumed, and what to do about it."""
        return self._letters.trouble or next(iter(self._troubles.values()), None)

    def complain(self, who: object, trouble: str | None) -> None:
        """None: it has passed."""
        if trouble is None:
            self._troubles.pop(who, None)
        else:
            self._troubles[who] = trouble

    async def run(self) -> End:
        """Until the connection is lost, an outage lasts, poison floods, or `leave`."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._done.run)
                nursery.start_soon(self._letters.run)
                nursery.start_soon(self._watch)
                async with trio.open_nursery() as lanes:
                    self._beside = lanes
                    with self._reading:
                        await self._begin()
                        await self._read()
                    lanes.cancel_scope.deadline = trio.current_time() + self.limits.drain_s
                self._scope.cancel()
        if self._end is not End.LOST:
            with trio.move_on_after(LAST_ACKS_S):
                await self._letters.finish()
            await self._done.send()
        return self._end

    @property
    def leaving(self) -> bool:
        return self._left.is_set()

    async def sleep(self, seconds: float) -> None:
        """Or until we leave."""
        with trio.move_on_after(seconds):
            await self._left.wait()

    def leave(self) -> None:
        """Take no more; what the engine has is waited for and acknowledged."""
        self._left.set()
        self._reading.cancel()

    def end(self, why: End) -> None:
        self._end = why
        self._scope.cancel()

    def give_up(self) -> None:
        """The store has been away for too long."""
        self.end(End.OUTAGE)

    def end_lost(self) -> None:
        self.end(End.LOST)

    def start_soon(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Beside the lanes."""
        self._beside.start_soon(work, *args)

    def wake(self, backlog: Backlog) -> Lane:
        """The tenant's lane, begun when there is none."""
        lane = self._lanes.get(backlog.tenant_no)
        if lane is None:
            lane = self._lanes[backlog.tenant_no] = Lane(self, backlog.tenant_no, backlog)
            self.start_soon(self._live, lane)
        return lane

    async def give_back(self, backlog: Backlog, deliveries: list[Delivery]) -> bool:
        """To the tenant's queue, whose oldest they are; False: not now."""
        await self._done.send()
        tags = [delivery.tag for delivery in deliveries]
        try:
            if not await self.bridge.call(self.feed.give_back_aio, backlog.tenant_id, tags):
                return False
        except (BrokerUnavailable, OSError) as error:
            log.warning("broker_lost", error=told(error))
            self.end(End.LOST)
        backlog.given_back(deliveries)
        return True

    def hold(self, tenant_no: TenantNo, *, held: bool) -> None:
        """Whether a tenant's messages wait for the store."""
        (self._holding.add if held else self._holding.discard)(tenant_no)

    def done(self, delivery: Delivery, result: str) -> None:
        """Nothing of it, or of a part of it, is left to do: acknowledge it when all is done."""
        self._done.add(delivery, result)

    def split(self, delivery: Delivery) -> None:
        """One more thing is to be done of it."""
        self._done.split(delivery)

    async def bury(
        self, delivery: Delivery, fault: Fault, done: Callable[[], None] | None = None
    ) -> None:
        """Done when a dead letter is confirmed, which is not waited for.

        Ends the session when there is too much of it.
        """
        await trio.lowlevel.checkpoint()  # not after the end
        message, tenant_id = delivery.message, tenant_of(delivery.message)
        done = done or partial(self.done, delivery, "poison")
        await self._letters.bury(message, fault, tenant_id, delivery.before + 1, done)
        if self.poison.add(tenant_id, fault.reason, trio.current_time()):
            log.error(
                "consumer_stopped",
                advice="most messages cannot be read: look at atalaia dlq list",
                again_in_s=self.limits.poison_pause_s,
            )
            self.end(End.POISON)

    async def _watch(self) -> None:
        try:
            await watch_queues(self)
        except (BrokerUnavailable, BrokerRefused, OSError) as error:
            log.warning("broker_lost", error=told(error))
            self.end(End.LOST)

    async def _begin(self) -> None:
        """What was put off in an earlier life goes before what comes now."""
        try:
            await wait_for_turn(self)
            found = await self.bridge.call(self.later.find_aio)
        except (BrokerUnavailable, BrokerRefused, OSError) as error:
            log.warning("broker_lost", error=told(error))
            self.end(End.LOST)
            return
        for tenant_id, stored in found.items():
            with suppress(Invalid, TenantGone):  # nobody asks for it
                backlog = self._backlog(tenant_id, await self._tenant(tenant_id))
                backlog.stored, backlog.made = stored, True
                self.wake(backlog)

    def _backlog(self, tenant_id: UUID, tenant_no: TenantNo) -> Backlog:
        backlog = self._backlogs.get(tenant_no)
        if backlog is None:
            backlog = self._backlogs[tenant_no] = Backlog(self, tenant_id, tenant_no)
        return backlog

    async def _read(self) -> None:
        while True:
            try:
                deliveries = await self.bridge.call(self.feed.take_aio)
            except (BrokerUnavailable, OSError) as error:
                log.warning("broker_lost", error=str(error))
                self.end(End.LOST)
                return
            for delivery in deliveries:
                lane = await self._lane(delivery)
                if lane is not None:
                    lane.add(delivery)

    async def _lane(self, delivery: Delivery) -> Lane | None:
        """Its tenant's lane, begun when there is none; None when it was buried, or thrown away."""
        try:
            tenant_id = parse_address(delivery.message.routing_key).tenant_id
            tenant_no = await self._tenant(tenant_id)
        except Invalid as error:
            await self.bury(delivery, fault_of(error, "parse"))
            return None
        except TenantGone:  # nothing of it is kept, nor in a letter
            self.done(delivery, "refused")
            return None
        return self.wake(self._backlog(tenant_id, tenant_no))

    async def _tenant(self, tenant_id: UUID) -> TenantNo:
        """Raises Invalid for an unknown one, TenantGone. Holds on while the store is away."""
        tries, began = 0, trio.current_time()
        while True:
            try:
                found = await self.tenants.find(tenant_id)
                break
            except TenantGone:
                raise
            except (StoreUnavailable, StoreRefused) as error:
                tries += 1
                log.warning("tenant_not_looked_up", error=str(error))
                if trio.current_time() - began > self.limits.hold_s:
                    self.end(End.OUTAGE)
                await trio.sleep(
                    backoff_s(tries, self.limits.first_retry_s, self.limits.last_retry_s)
                )
        if found is None:
            raise Invalid(f"There is no tenant {tenant_id}.", code="unknown_tenant")
        return found

    async def _live(self, lane: Lane) -> None:
        try:
            await lane.run()
        finally:
            del self._lanes[lane.tenant_no]
            self._holding.discard(lane.tenant_no)
            if not lane.backlog.used:
                self._backlogs.pop(lane.tenant_no, None)
