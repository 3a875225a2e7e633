"""One task per living tenant: runs its actor, rebuilds it after a crash, quarantines it when
crashes repeat. Nothing that happens to one tenant leaves this file, but for cancellation.
"""

import math
from collections import deque
from collections.abc import Callable

import attrs
import structlog
import trio

from atalaia.engine.inbox import Inbox
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import DEAF_S, Listening
from atalaia.engine.messages import Message, Submission
from atalaia.engine.tenant import TenantActor
from atalaia.model.errors import AtalaiaError, Closing, TenantErased, Unavailable
from atalaia.model.ids import TenantNo
from atalaia.ports import StoreUnavailable, TenantGone
from atalaia.telemetry.metrics import ACTOR_CRASHES, QUARANTINED

log = structlog.get_logger()

RESTART_DELAY_S = 0.1
JITTER = 0.2  # of a quarantine: by so much it may be longer
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples lie evenly between whole numbers


@attrs.frozen
class Quarantine:
    """Why a tenant is paused, and until when, in seconds of trio's clock."""

    reason: str
    until: float

    def left_s(self, now: float) -> int:
        """Whole seconds, at least one: what Retry-After says."""
        return max(1, math.ceil(self.until - now))


@attrs.define(eq=False)
class Supervisor:
    """Keeps one tenant's actor alive until it retires or the engine closes its inbox."""

    tenant_no: TenantNo
    inbox: Inbox
    limits: EngineLimits
    new_actor: Callable[[], TenantActor]
    listening: Listening
    quarantine: Quarantine | None = None
    gave_up: bool = False
    """Whether it ended because there was nothing to load: rules of silence may wait for nobody."""
    _actor: TenantActor | None = None
    _crashes: deque[float] = attrs.field(factory=deque)
    _closed: trio.Event = attrs.field(factory=trio.Event)

    def close(self) -> None:
        """Take no more messages and end when those inside are done; wakes a paused tenant."""
        self.inbox.close()
        self._closed.set()

    def abandon(self) -> None:
        """End the actor as it is, without a last commit; there is nothing to load another from."""
        self.close()
        if self._actor is not None:
            self._actor.incarnation.break_off()

    async def run(self) -> None:
        """Returns when nothing of the tenant is left in memory and its inbox is closed."""
        # This task was started from a request's, and says nothing in its name.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(tenant_no=self.tenant_no)
        while True:
            actor = self._actor = self.new_actor()
            try:
                with actor.incarnation.scope:
                    await actor.run()
                    self.listening.forget(self.tenant_no)
                    return
                self._fail(actor.current, Unavailable())  # a commit failed: rebuild
                await actor.incarnation.settled()
            except TenantGone as error:
                await self._give_up(actor, TenantErased(), error=str(error))
                self.listening.forget(self.tenant_no)
                self.inbox.close()  # nothing is in it
                return
            except StoreUnavailable as error:
                # Loading or registering failed: the outside world's fault, so no crash counts.
                await self._give_up(actor, Unavailable(), error=str(error))
                if self.inbox.close_if_empty():
                    self.gave_up = True
                    return
            except Exception as error:
                ACTOR_CRASHES.inc()
                log.exception("actor_crashed")
                await self._give_up(actor, Unavailable(), error=repr(error))
                await self._pause(type(error).__name__)
                if self._closed.is_set():
                    self._refuse(Closing())  # what came during the pause
                    return

    async def _give_up(self, actor: TenantActor, answer: AtalaiaError, *, error: str) -> None:
        log.warning("actor_stopped", error=error)
        # What came since is refused, and until an actor serves again nobody is heard.
        actor.hearing.own.begin(actor.took_at + DEAF_S)
        self._fail(actor.current, answer)
        await actor.incarnation.settled()
        self._refuse(answer)

    def _refuse(self, answer: AtalaiaError) -> None:
        for message in self.inbox.drain():
            self._fail(message, answer)

    def _fail(self, message: Message | None, error: AtalaiaError) -> None:
        if message is not None:
            message.receipt.fail(error)
        if isinstance(message, Submission):
            self.listening.of(self.tenant_no).refuse(message.batch.sensors)

    async def _pause(self, reason: str) -> None:
        """Between a crash and the next try; long when crashes repeat.

        reason: what kind of error it was; its text may hold what is not for the tenant's eyes.
        """
        now = trio.current_time()
        self._crashes.append(now)
        while now - self._crashes[0] > self.limits.crash_window_s:
            self._crashes.popleft()
        if len(self._crashes) < self.limits.crashes:
            with trio.move_on_after(RESTART_DELAY_S):
                await self._closed.wait()
            return
        # What makes one crash makes many: they shall not all come back, and recover, at once. By
        # their numbers, and not by chance: a simulation is to run again as it ran.
        pause_s = self.limits.quarantine_s * (1 + JITTER * (self.tenant_no * GOLDEN % 1))
        log.error("tenant_quarantined", reason=reason, s=round(pause_s))
        self.quarantine = Quarantine(reason, now + pause_s)
        self._crashes.clear()
        QUARANTINED.inc()
        try:
            with trio.move_on_at(self.quarantine.until):
                await self._closed.wait()
        finally:
            QUARANTINED.dec()
            self.quarantine = None
            log.warning("quarantine_ended")
