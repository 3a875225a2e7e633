"""Dead letters on their way: confirmed before their message is acknowledged, and nobody waits for
them but that message.

While their queue takes none they wait here, unacknowledged. A tenant's letters that nobody was
promised anything of (no face has answered for them) have a share of the queue's growth, and of what
waits; beyond it they are dropped, counted, and said in the log.
"""

from collections import Counter, deque
from collections.abc import Callable
from uuid import UUID

import attrs
import structlog
import trio

from atalaia.amqp.limits import AmqpLimits, backoff_s
from atalaia.amqp.messages import PAID, Fault, Message, to_letter
from atalaia.amqp.outlet import Fate, Outlet
from atalaia.amqp.poison import LetterShare
from atalaia.bridge import Bridge
from atalaia.engine.clock import WallClock
from atalaia.telemetry.metrics import DEAD_LETTERS, LETTERS_DROPPED

log = structlog.get_logger()

_ADVICE = {
    Fate.REFUSED: "the queue atalaia.dead is full: atalaia dlq list, then replay or drop",
    Fate.RETURNED: "there is no queue atalaia.dead: run atalaia broker setup",
    Fate.UNKNOWN: "the broker does not confirm",
}
_STATE = {
    Fate.REFUSED: "dead_letters_full: atalaia dlq list, then replay or drop",
    Fate.RETURNED: "dead_letters_missing: run atalaia broker setup",
    Fate.UNKNOWN: "dead_letters_unconfirmed: see the broker's alarms",
}


@attrs.frozen(eq=False)
class Waiting:
    """A letter that is not confirmed. done: what is to be done when it is."""

    letter: Message
    fault: Fault
    tenant_id: UUID | None
    done: Callable[[], None]


@attrs.define(eq=False)
class Letters:
    """Of one session; `run` is its life. lost: called when the connection is."""

    bridge: Bridge
    outlet: Outlet
    clock: WallClock
    limits: AmqpLimits
    share: LetterShare
    lost: Callable[[], None]
    _waiting: deque[Waiting] = attrs.field(factory=deque)
    _kept: Counter[UUID | None] = attrs.field(factory=Counter)
    _some: trio.Event = attrs.field(factory=trio.Event)
    _why: Fate = Fate.UNKNOWN  # the last was not confirmed

    @property
    def trouble(self) -> str | None:
        """For readiness: why letters wait, and what to do about it."""
        return _STATE[self._why] if self._waiting else None

    async def bury(
        self,
        message: Message,
        fault: Fault,
        tenant_id: UUID | None,
        attempts: int,
        done: Callable[[], None],
    ) -> None:
        """Confirmed, waiting or dropped on return; `done` is called unless it waits."""
        letter = to_letter(message, fault, attempts, self.clock.now_us())
        promised = message.headers.get(PAID) is True
        if not promised and not self.share.allows(tenant_id, len(letter.body), trio.current_time()):
            self._drop(letter, fault, tenant_id, "its tenant has had its share of an hour")
            done()
            return
        each = Waiting(letter, fault, tenant_id, done)
        if not self._waiting and await self._publish(each):
            return
        if not promised and self._kept[tenant_id] >= self.limits.letters_kept:
            self._drop(letter, fault, tenant_id, _ADVICE[self._why])
            done()
            return
        self._kept[tenant_id] += 1
        self._waiting.append(each)
        self._some.set()

    async def run(self) -> None:
        """Send what waits, oldest first, until cancelled."""
        tries = 0
        while True:
            if not self._waiting:
                tries, self._some = 0, trio.Event()
                await self._some.wait()
            first = self._waiting[0]
            if await self._publish(first):
                self._waiting.popleft()
                self._kept[first.tenant_id] -= 1
                self._kept += Counter()  # without what is at zero
                tries = 0
                continue
            log.error("dead_letter_not_taken", fate=self._why.value, advice=_ADVICE[self._why],
                      waiting=len(self._waiting))  # fmt: skip
            tries += 1
            await trio.sleep(backoff_s(tries, self.limits.first_retry_s, self.limits.last_retry_s))

    async def _publish(self, each: Waiting) -> bool:
        """Whether it is confirmed."""
        (fate,) = await self.bridge.call(
            self.outlet.publish_aio, [each.letter], self.limits.publish_s
        )
        if fate is not Fate.CONFIRMED:
            self._why = fate
            if self.outlet.lost:
                self.lost()
            return False
        DEAD_LETTERS.labels(each.fault.stage).inc()
        log.warning("message_dead_lettered", **_said(each.letter, each.fault, each.tenant_id))
        each.done()
        return True

    def _drop(self, letter: Message, fault: Fault, tenant_id: UUID | None, why: str) -> None:
        LETTERS_DROPPED.labels(fault.stage).inc()
        log.error("dead_letter_dropped", why=why, **_said(letter, fault, tenant_id))


def _said(letter: Message, fault: Fault, tenant_id: UUID | None) -> dict[str, str]:
    return {
        "message_id": letter.message_id,
        "tenant_id": str(tenant_id),
        "reason": fault.reason,
        "stage": fault.stage,
    }
