"""Dead letters on their way: confirmed before their message is acknowledged, many at once, and
nobody waits for them but that message.

While their queue takes none they wait here, unacknowledged. A tenant's letters that nobody was
promised anything of (no face has answered for them) have a share of the queue's growth, and of what
waits; beyond it they are dropped, counted, and said in the log.
"""

from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
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

AT_ONCE = 256

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
    """A letter that is not confirmed. done: what is to be done when it is. promised: a face has
    answered for it.
    """

    letter: Message
    fault: Fault
    tenant_id: UUID | None
    done: Callable[[], None]
    promised: bool


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
    _moved: trio.Event = attrs.field(factory=trio.Event)
    crossings: int = 0
    _why: Fate | None = None  # some of the last were not confirmed

    @property
    def trouble(self) -> str | None:
        """For readiness: why letters wait, and what to do about it."""
        return None if self._why is None else _STATE[self._why]

    async def bury(
        self,
        message: Message,
        fault: Fault,
        tenant_id: UUID | None,
        attempts: int,
        done: Callable[[], None],
    ) -> None:
        """Waits for nothing but room; `done` is called when it is confirmed, or dropped."""
        letter = to_letter(message, fault, attempts, self.clock.now_us())
        each = Waiting(letter, fault, tenant_id, done, message.headers.get(PAID) is True)
        size, now = len(letter.body), trio.current_time()
        if not each.promised and not self.share.allows(tenant_id, size, now):
            self._drop(each, "its tenant has had its share of an hour")
            return
        while self._why is None and len(self._waiting) >= AT_ONCE:
            await self._moved.wait()
        if self._why is not None and self._is_beyond(each, self._kept[tenant_id]):
            self._drop(each, _ADVICE[self._why])
            return
        self._kept[tenant_id] += 1
        self._waiting.append(each)
        self._some.set()

    async def run(self) -> None:
        """Send what waits, oldest first and many at once, until cancelled."""
        tries = 0
        while True:
            if not self._waiting:
                tries, self._some = 0, trio.Event()
                await self._some.wait()
            await self._publish()
            self._moved.set()
            self._moved = trio.Event()
            if self._why is None:
                tries = 0
                continue
            log.error("dead_letter_not_taken", fate=self._why.value, advice=_ADVICE[self._why],
                      waiting=len(self._waiting))  # fmt: skip
            tries += 1
            await trio.sleep(backoff_s(tries, self.limits.first_retry_s, self.limits.last_retry_s))

    async def finish(self) -> None:
        """Send what waits, as long as it is taken: after `run`."""
        while self._waiting and self._why is None:
            await self._publish()

    async def _publish(self) -> None:
        """What is not confirmed stays in its place, as far as it may."""
        some = list(islice(self._waiting, AT_ONCE))
        letters = [each.letter for each in some]
        self.crossings += 1
        with trio.CancelScope(shield=True):  # what has left would be sent again
            fates = await self.bridge.call(self.outlet.publish_aio, letters, self.limits.publish_s)
        for _ in some:
            self._waiting.popleft()
        self._why = next((fate for fate in fates if fate is not Fate.CONFIRMED), None)
        if self._why is not None and self.outlet.lost:
            self.lost()
        again = []
        for each, fate in zip(some, fates, strict=True):
            if fate is Fate.CONFIRMED:
                DEAD_LETTERS.labels(each.fault.stage).inc()
                log.warning("message_dead_lettered", **_said(each))
                self._kept[each.tenant_id] -= 1
                each.done()
            else:
                again.append(each)
        self._waiting.extendleft(reversed(again))
        if self._why is not None:
            self._drop_beyond(_ADVICE[self._why])
        self._kept += Counter()  # without what is at zero

    def _drop_beyond(self, why: str) -> None:
        """When none is taken, only a few of each tenant's wait."""
        kept, self._kept = self._waiting, Counter()
        self._waiting = deque()
        for each in kept:
            if self._is_beyond(each, self._kept[each.tenant_id]):
                self._drop(each, why)
            else:
                self._kept[each.tenant_id] += 1
                self._waiting.append(each)

    def _is_beyond(self, each: Waiting, kept: int) -> bool:
        return not each.promised and kept >= self.limits.letters_kept

    def _drop(self, each: Waiting, why: str) -> None:
        LETTERS_DROPPED.labels(each.fault.stage).inc()
        log.error("dead_letter_dropped", why=why, **_said(each))
        each.done()


def _said(each: Waiting) -> dict[str, str]:
    return {
        "message_id": each.letter.message_id,
        "tenant_id": str(each.tenant_id),
        "reason": each.fault.reason,
        "stage": each.fault.stage,
    }
