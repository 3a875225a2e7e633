"""One tenant's deliveries, in the order in which they came.

What waits is handed to the engine as one wave, each message after the one before it, and the wave
is waited for; when one fails for the store's fault those behind it fail too, and all of them go
first in the next wave. So a retry never overtakes.

What comes over MQTT is held to the tenant's quota here. Beyond it most of what came waits in a
queue of the tenant's (`backlog.py`), where it holds up nobody.
"""

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import attrs
import structlog
import trio

from atalaia.amqp.backlog import Backlog
from atalaia.amqp.limits import backoff_s
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, told
from atalaia.amqp.messages import (
    Delivery,
    Message,
    fault_of,
    fault_of_rows,
    parse_address,
    rest_of,
    to_body,
)
from atalaia.engine.ingest import count, parse_beside
from atalaia.engine.parsers import WRITTEN_ANEW_NS
from atalaia.engine.receipt import Answer, Receipt
from atalaia.model.batch import Batch
from atalaia.model.errors import (
    AtalaiaError,
    Overloaded,
    QuotaUsedUp,
    TenantErased,
    Unavailable,
)
from atalaia.model.ids import TenantNo
from atalaia.model.quota import Quota

if TYPE_CHECKING:
    from atalaia.amqp.session import Session

log = structlog.get_logger()


@attrs.frozen(eq=False)
class Sent:
    """What the engine has of this lane."""

    delivery: Delivery
    batch: Batch
    receipt: Receipt[Answer]


@attrs.define(eq=False)
class Lane:
    """Lives while messages wait."""

    session: "Session"
    tenant_no: TenantNo
    backlog: Backlog
    waiting: deque[Delivery] = attrs.field(factory=deque)
    _tries: int = 0
    _failing_since: float | None = None
    _paying: bool = False
    _paid_off_at: float = 0.0  # when the debts of the quota will be
    _fetched_at: float = 0.0
    _not_now: bool = False  # something of the last wave was refused for now

    def add(self, delivery: Delivery) -> None:
        """Behind what waits already."""
        if not self.backlog.empty:
            self.backlog.add([delivery])
            return
        self.waiting.append(delivery)
        if self._paying:
            self._put_off()

    async def run(self) -> None:
        """Until nothing waits, or the session leaves."""
        while not self.session.leaving and await self._any_waits():
            quota = await self.session.tenants.quota(self.tenant_no)
            sent = await self._hand_over(quota)
            failed = await self._settle(sent)
            self.waiting.extendleft(reversed(failed))
            if self._not_now:
                await self._step_aside()
            elif not failed and self._paid_off_at > trio.current_time():
                await self._pay_off(quota)
            elif failed or not sent:
                await self._hold(failed=bool(failed))
            else:
                self._tries, self._failing_since = 0, None
                self.session.hold(self.tenant_no, held=False)

    async def _any_waits(self) -> bool:
        """What was put off is fetched when nothing is before it."""
        if not self.waiting and self.backlog.stored:
            try:
                self.waiting.extend(await self.backlog.fetch(self.session.limits.fetch))
                self._fetched_at = trio.current_time()
            except (BrokerRefused, BrokerUnavailable, OSError) as error:
                log.warning("broker_lost", error=told(error))
                self.session.end_lost()
        return bool(self.waiting or self.backlog.stored)

    async def _pay_off(self, quota: Quota) -> None:
        """Wait for the quota, and keep nobody else's place meanwhile."""
        limits = self.session.limits
        if self.backlog.empty:
            self._put_off()
        self._paying = True
        while not self.session.leaving and self._debt_s(quota) > 0:
            if self._is_long():
                await self._give_back()
            await trio.sleep(min(self._debt_s(quota), limits.last_retry_s))
            quota = await self.session.tenants.quota(self.tenant_no)
        self._paying = False

    async def _give_back(self) -> None:
        """The broker does not wait for ever for an acknowledgement."""
        mine = list(self.waiting)
        fetched = mine and all(each.hand for each in mine)
        if fetched and await self.session.give_back(self.backlog, mine):
            for _ in mine:
                self.waiting.popleft()

    def _put_off(self) -> None:
        """What waits goes to the tenant's queue, all of it: what went back to the shard when we are
        killed would be overtaken by what is there. So nothing may be in flight either.
        """
        if self.waiting:
            self.backlog.add(list(self.waiting))
            self.waiting.clear()

    def _is_long(self) -> bool:
        return self._paid_off_at - trio.current_time() > self.session.limits.put_off_s

    def _debt_s(self, quota: Quota) -> float:
        """Until the tenant may send again."""
        now = trio.current_time()
        try:
            self.session.gate.quotas.check(self.tenant_no, quota, now)
        except QuotaUsedUp as used_up:
            self._paid_off_at = now + used_up.wait_s
            return used_up.wait_s
        self._paid_off_at = 0.0
        return 0.0

    async def _hand_over(self, quota: Quota) -> list[Sent]:
        """What waits, as far as the engine and the quota take it."""
        sent: list[Sent] = []
        while self.waiting:
            delivery = self.waiting[0]
            await trio.lowlevel.checkpoint()  # a wave of large bodies must not stall the others
            if quota.suspended and not delivery.paid:  # what a face has answered is stored
                self.waiting.popleft()
                self.session.done(delivery, "refused")
                continue
            if not delivery.paid and self._debt_s(quota) > 0:
                return sent
            try:
                batch = await self._parse(delivery, quota)
                delivery = self.waiting[0] = attrs.evolve(delivery, paid=True)  # once is enough
            except Exception as error:  # a fault of ours, too, is not to be everybody's
                if not isinstance(error, AtalaiaError):
                    log.exception("message_failed", message_id=delivery.message.message_id)
                self.waiting.popleft()
                await self.session.bury(delivery, fault_of(error, "parse"))
                continue
            if not len(batch):
                self.waiting.popleft()
                await self.session.bury(delivery, fault_of_rows(batch.rejects, "parse"))
                continue
            after = sent[-1].receipt if sent else None
            try:
                receipt = self.session.gate.submit(self.tenant_no, batch, None, after=after)
            except (Overloaded, Unavailable) as error:
                # No room, or closing: when what was sent is settled, again.
                if error.code != "quarantined" or self._put_up_with(error):
                    return sent
                self.waiting.popleft()
                await self.session.bury(delivery, fault_of(error, "evaluate"))
                continue
            self.waiting.popleft()
            sent.append(Sent(delivery, batch, receipt))
        return sent

    async def _parse(self, delivery: Delivery, quota: Quota) -> Batch:
        """Its readings, paid for, good or bad."""
        limits, message, gate = self.session.limits, delivery.message, self.session.gate
        body = to_body(message, parse_address(message.routing_key), limits.max_rows)
        pays = None if delivery.paid else quota
        batch = await parse_beside(gate, self.tenant_no, body, limits.max_body_bytes, pays)
        if pays is not None:
            gate.pay(self.tenant_no, pays, readings=batch.sent)
        return batch

    async def _settle(self, sent: list[Sent]) -> list[Delivery]:
        """Wait for all; returns those to be tried again, in order."""
        failed: list[Delivery] = []
        for each in sent:
            again = attrs.evolve(each.delivery, before=each.delivery.before + 1)
            try:
                answer = await each.receipt.wait()
            except Unavailable as error:
                if error.code != "quarantined" or self._put_up_with(error):
                    failed.append(again)
                else:
                    await self.session.bury(each.delivery, fault_of(error, "evaluate"))
            except Overloaded as error:  # more new days than the tenant may open now, or memory
                if self._put_up_with(error):
                    failed.append(again)
                else:
                    await self.session.bury(each.delivery, fault_of(error, "validate"))
            except TenantErased:  # whatever was answered: nothing of it is kept, nor in a letter
                self.session.done(each.delivery, "refused")
            except AtalaiaError as error:
                await self.session.bury(each.delivery, fault_of(error, "store"))
            else:
                failed += await self._stored(each, answer)
        return failed

    async def _stored(self, each: Sent, answer: Answer) -> list[Delivery]:
        """Committed. Rows that the engine refused become a dead letter: nobody else is told. Those
        that it refused for now are returned, to be tried again."""
        count(answer)
        log.debug("delivery_settled", tenant_no=self.tenant_no, accepted=answer.accepted,
                  duplicates=answer.duplicates, rejected=len(answer.rejects))  # fmt: skip
        unread = {id(reject) for reject in each.batch.rejects}  # not by index: a line has more rows
        refused = tuple(reject for reject in answer.rejects if id(reject) not in unread)
        soon = {reject.index for reject in refused if reject.code == "retry_later"}
        if soon and not self._put_up_with(None):
            soon.clear()
        never = tuple(reject for reject in refused if reject.index not in soon)
        done = partial(self.session.done, each.delivery, "stored")
        if never:
            rest = await self._rest(each, {reject.index for reject in never})
            letter = attrs.evolve(each.delivery, message=rest)
            if soon:
                self.session.split(each.delivery)
            await self.session.bury(letter, fault_of_rows(never, "validate"), done)
        elif not soon:
            done()
        if not never:
            self.session.poison.good(trio.current_time())
        if not soon:
            self.backlog.refused_since = None
            return []
        return [attrs.evolve(each.delivery, message=await self._rest(each, soon))]

    async def _rest(self, sent: Sent, rows: set[int]) -> Message:
        """Its message with those rows alone."""
        write = partial(rest_of, sent.delivery.message, sent.batch, rows)
        ns = WRITTEN_ANEW_NS * len(sent.batch)
        return await self.session.gate.parsers.run(self.tenant_no, write, ns)

    def _put_up_with(self, error: AtalaiaError | None) -> bool:
        """Whether to try again what is refused for now. None: rows are, with their reasons."""
        backlog, now = self.backlog, trio.current_time()
        if backlog.refused_since is None:
            backlog.refused_since = now
            code = "retry_later" if error is None else error.code
            log.warning("deliveries_not_now", tenant_no=self.tenant_no, reason=code)
        patient = now - backlog.refused_since < self.session.limits.not_now_s
        self._not_now = self._not_now or patient
        return patient

    async def _step_aside(self) -> None:
        """What is refused for now waits where it holds up nobody, and is tried again."""
        limits = self.session.limits
        if self.backlog.empty:
            self._put_off()
        elif trio.current_time() - self._fetched_at > limits.in_hand_s:
            await self._give_back()
        self._paying = True
        pause_s = min(limits.not_now_last_s, limits.not_now_first_s * 2 ** min(self._tries, 16))
        self._tries += 1
        await self.session.sleep(pause_s)
        self._paying = self._not_now = False

    async def _hold(self, *, failed: bool) -> None:
        """Wait before the next wave; give the session up when that has lasted."""
        limits, now = self.session.limits, trio.current_time()
        self._tries += 1
        if failed:
            self.session.hold(self.tenant_no, held=True)
            if self._failing_since is None:
                self._failing_since = now
                log.warning("deliveries_held", tenant_no=self.tenant_no, held=len(self.waiting))
            elif now - self._failing_since > limits.hold_s:
                self.session.give_up()
        await trio.sleep(backoff_s(self._tries, limits.first_retry_s, limits.last_retry_s))
