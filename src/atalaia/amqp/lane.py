"""One tenant's deliveries, in the order in which they came.

What waits is handed to the engine as one wave, each message after the one before it, and the wave
is waited for; when one fails for the store's fault those behind it fail too, and all of them go
first in the next wave. So a retry never overtakes.
"""

from collections import deque
from typing import TYPE_CHECKING

import attrs
import structlog
import trio

from atalaia.amqp.limits import backoff_s
from atalaia.amqp.messages import (
    Delivery,
    Fault,
    fault_of,
    fault_of_rows,
    parse_address,
    rest_of,
    to_body,
)
from atalaia.engine.ingest import count, parse_body
from atalaia.engine.receipt import Answer, Receipt
from atalaia.model.batch import Batch
from atalaia.model.errors import AtalaiaError, Overloaded, Unavailable
from atalaia.model.ids import TenantNo

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
    waiting: deque[Delivery] = attrs.field(factory=deque)
    _tries: int = 0
    _failing_since: float | None = None

    async def run(self) -> None:
        """Until nothing waits, or the session leaves."""
        while self.waiting and not self.session.leaving:
            sent = await self._hand_over()
            failed = await self._settle(sent)
            self.waiting.extendleft(reversed(failed))
            if failed or not sent:
                await self._hold(failed=bool(failed))
            else:
                self._tries, self._failing_since = 0, None
                self.session.hold(self.tenant_no, held=False)

    async def _hand_over(self) -> list[Sent]:
        """What waits, as far as the engine takes it."""
        sent: list[Sent] = []
        while self.waiting:
            delivery = self.waiting[0]
            await trio.lowlevel.checkpoint()  # a wave of large bodies must not stall the others
            try:
                batch = self._parse(delivery)
            except AtalaiaError as error:
                self.waiting.popleft()
                await self._bury(delivery, fault_of(error, "parse"))
                continue
            if not len(batch):
                self.waiting.popleft()
                await self._bury(delivery, fault_of_rows(batch.rejects, "parse"))
                continue
            after = sent[-1].receipt if sent else None
            try:
                receipt = self.session.gate.submit(self.tenant_no, batch, after=after)
            except (Overloaded, Unavailable) as error:
                if error.code != "quarantined":
                    return sent  # no room, or closing: when what was sent is settled, again
                self.waiting.popleft()
                await self._bury(delivery, fault_of(error, "evaluate"))
                continue
            self.waiting.popleft()
            sent.append(Sent(delivery, batch, receipt))
        return sent

    def _parse(self, delivery: Delivery) -> Batch:
        limits, message = self.session.limits, delivery.message
        body = to_body(message, parse_address(message.routing_key), limits.max_rows)
        return parse_body(body, max_bytes=limits.max_body_bytes)

    async def _settle(self, sent: list[Sent]) -> list[Delivery]:
        """Wait for all; returns those to be tried again, in order."""
        failed: list[Delivery] = []
        for each in sent:
            try:
                answer = await each.receipt.wait()
            except Unavailable as error:
                if error.code == "quarantined":
                    await self._bury(each.delivery, fault_of(error, "evaluate"))
                else:
                    failed.append(attrs.evolve(each.delivery, before=each.delivery.before + 1))
            except Overloaded as error:  # more new days than the tenant may open now
                await self._bury(each.delivery, fault_of(error, "validate"))
            except AtalaiaError as error:
                await self._bury(each.delivery, fault_of(error, "store"))
            else:
                await self._stored(each, answer)
        return failed

    async def _stored(self, each: Sent, answer: Answer) -> None:
        """Committed. Rows that the engine refused become a dead letter: nobody else is told."""
        count(answer)
        unread = {reject.index for reject in each.batch.rejects}
        refused = tuple(reject for reject in answer.rejects if reject.index not in unread)
        if refused:
            rest = rest_of(each.delivery.message, each.batch, {r.index for r in refused})
            letter = attrs.evolve(each.delivery, message=rest)
            await self._write_letter(letter, fault_of_rows(refused, "validate"))
        log.debug(
            "delivery_settled",
            tenant_no=self.tenant_no,
            accepted=answer.accepted,
            duplicates=answer.duplicates,
            rejected=len(answer.rejects),
        )
        self.session.done(each.delivery, "stored")

    async def _bury(self, delivery: Delivery, fault: Fault) -> None:
        await self._write_letter(delivery, fault)
        self.session.done(delivery, "poison")

    async def _write_letter(self, delivery: Delivery, fault: Fault) -> None:
        tenant_id = parse_address(delivery.message.routing_key).tenant_id
        await self.session.bury(delivery.message, fault, tenant_id, delivery.before + 1)

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
