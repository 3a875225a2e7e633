"""What one tenant may not send yet, as a session knows it: deliveries on their way to the tenant's
queue for later, and how many are there.

While there are any, whatever else comes of the tenant goes behind them.
"""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import attrs
import structlog
import trio

from atalaia.amqp.later import BYTES
from atalaia.amqp.limits import backoff_s
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, told
from atalaia.amqp.messages import Delivery, Fault
from atalaia.amqp.outlet import Fate
from atalaia.model.ids import TenantNo

if TYPE_CHECKING:
    from atalaia.amqp.session import Session

log = structlog.get_logger()

AT_ONCE = 64  # messages in one crossing
ROOM = BYTES - BYTES // 8  # beyond it nothing is put there: a refusal would let the next overtake


@attrs.define(eq=False)
class Backlog:
    """stored: messages in the queue that are not fetched; arriving: not confirmed there yet."""

    session: "Session"
    tenant_id: UUID
    tenant_no: TenantNo
    stored: int = 0
    arriving: deque[Delivery] = attrs.field(factory=deque)
    refused_since: float | None = None  # until when the engine took what the tenant sends
    _bytes: deque[int] = attrs.field(factory=deque)  # of those stored, the last ones
    made: bool = False  # the queue is there
    _putting: bool = False
    _said_full: bool = False

    @property
    def used(self) -> bool:
        """Whether there was anything."""
        return self.made or not self.empty

    @property
    def empty(self) -> bool:
        return not self.stored and not self.arriving

    def add(self, deliveries: list[Delivery]) -> None:
        """Behind everything else of the tenant."""
        self.arriving.extend(deliveries)
        if not self._putting:
            self._putting = True
            self.session.start_soon(self._put)

    async def fetch(self, most: int) -> list[Delivery]:
        """The oldest ones, none when none comes for a while. Raises BrokerUnavailable."""
        session = self.session
        found = await session.bridge.call(session.feed.fetch_aio, self.tenant_id, most)
        self.stored = max(0, self.stored - len(found))
        while len(self._bytes) > self.stored:
            self._bytes.popleft()
        return found

    def given_back(self, deliveries: list[Delivery]) -> None:
        """They are the oldest again."""
        self.stored += len(deliveries)
        self._bytes.extendleft(len(each.message.body) for each in reversed(deliveries))

    async def _put(self) -> None:
        """Until nothing arrives. Holds on while the broker takes nothing."""
        session, tries = self.session, 0
        while self.arriving:
            try:
                done = await self._put_some()
            except (BrokerUnavailable, BrokerRefused) as error:
                log.error("queue_for_later_not_made", error=told(error))
                session.complain(self, "queue_for_later_not_made: see the log")
                if session.later.outlet.lost:
                    session.end_lost()
                done = 0
            if done:
                tries = 0
                session.complain(self, None)
                session.wake(self)
                continue
            tries += 1
            await trio.sleep(
                backoff_s(tries, session.limits.first_retry_s, session.limits.last_retry_s)
            )
        self._putting = False

    async def _put_some(self) -> int:
        """How many are there now. Raises BrokerUnavailable, BrokerRefused."""
        session = self.session
        if not self.made:
            log.warning("tenant_put_off", tenant_id=str(self.tenant_id))
            await session.bridge.call(session.later.make_aio, self.tenant_id)
            self.made = True
        # How large the messages are that were there before nobody knows: then one at a time, so
        # that what is refused for want of room is not overtaken by the next.
        most = AT_ONCE if len(self._bytes) == self.stored else 1
        room, some = ROOM - sum(self._bytes), list[Delivery]()
        for delivery in self.arriving:
            room -= len(delivery.message.body)
            if room < 0 or len(some) == most:
                break
            some.append(delivery)
        if not some:
            return await self._bury_first()
        messages = [delivery.message for delivery in some]
        fates = await session.bridge.call(
            session.later.outlet.publish_aio, messages, session.limits.publish_s
        )
        if fates == [Fate.REFUSED]:
            return await self._bury_first()
        if set(fates) != {Fate.CONFIRMED}:  # what is there comes again, and is a duplicate
            log.warning("broker_lost", error="the queue for later did not confirm")
            session.end_lost()
            return 0
        self._said_full = False
        for delivery in some:
            self.arriving.popleft()
            self.stored += 1
            self._bytes.append(len(delivery.message.body))
            session.done(delivery, "put off")
        return len(some)

    async def _bury_first(self) -> int:
        """There is no room for it. Kept here it would hold up those that share its shard."""
        if not self._said_full:
            log.error("queue_for_later_full", tenant_id=str(self.tenant_id))
            self._said_full = True
        first = self.arriving.popleft()
        await self.session.bury(first, _FULL, partial(self.session.done, first, "no room"))
        return 1


_FULL = Fault(
    "queue_for_later_full", "deliver", "Overloaded",
    "the tenant is beyond its quota, and its queue for later is full",
)  # fmt: skip
