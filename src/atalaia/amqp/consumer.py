"""The consumer: from RabbitMQ's queues to the engine, for as long as the process lives.

Comes back by itself after a lost connection and after an outage of the store. Stops for a while
when too many messages are poison: somebody must look.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import structlog
import trio

from atalaia.amqp.feed import open_feed_aio
from atalaia.amqp.later import Later, open_later_aio
from atalaia.amqp.limits import AmqpLimits, backoff_s
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, told
from atalaia.amqp.outlet import open_outlet_aio
from atalaia.amqp.poison import LetterShare, PoisonCount
from atalaia.amqp.session import End, Session
from atalaia.amqp.tenants import Tenants
from atalaia.amqp.topology import DEAD
from atalaia.bridge import Bridge
from atalaia.engine.clock import WallClock
from atalaia.engine.gate import Gate
from atalaia.people import Erasures
from atalaia.ports import Queries, StoreRefused, StoreUnavailable

log = structlog.get_logger()

CLOSE_S = 5.0
TAKES_NOTHING = "database_takes_nothing: look at its disk and the log"


@attrs.define(eq=False)
class Consumer:
    """`run` is its life."""

    bridge: Bridge
    url: str = attrs.field(repr=False)
    gate: Gate
    queries: Queries
    erasures: Erasures
    clock: WallClock
    limits: AmqpLimits = attrs.field(factory=AmqpLimits)
    _state: Literal["connecting", "consuming", "waiting", "stopped"] = "connecting"
    _session: Session | None = None
    _tries: int = 0
    _said: str = ""
    _poison: PoisonCount = attrs.field(init=False)
    _share: LetterShare = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Not the session's: poison goes on counting over a lost connection.
        limits = self.limits
        self._poison = PoisonCount(
            limits.poison_per_minute, limits.poison_per_tenant, limits.poison_share
        )
        self._share = LetterShare(limits.letters_per_hour, limits.letter_bytes_per_hour)

    def check(self) -> str:
        """For readiness: "ok", or why nothing is consumed."""
        match self._state:
            case "consuming":
                trouble = None if self._session is None else self._session.trouble
                return trouble or "ok"
            case "waiting":
                return TAKES_NOTHING
            case "stopped":
                return "stopped"
            case _:
                return "unavailable"

    @property
    def holding(self) -> bool:
        """Whether messages are held because the store does not take them."""
        return self._state == "waiting" or (self._session is not None and self._session.holding)

    async def run(self, shutdown: trio.Event) -> None:
        """Consume until `shutdown`; then finish what the engine has, and return."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, shutdown, nursery.cancel_scope)
            while not shutdown.is_set():
                try:
                    end = await self._consume()
                except (BrokerUnavailable, BrokerRefused, OSError) as error:
                    self._complain(told(error))
                    end = End.LOST
                except Exception:
                    log.exception("consumer_crashed")
                    end = End.LOST
                if not shutdown.is_set():  # nobody wakes us twice
                    await self._recover(end)
            nursery.cancel_scope.cancel()

    async def _watch(self, shutdown: trio.Event, everything: trio.CancelScope) -> None:
        await shutdown.wait()
        if self._session is None:
            everything.cancel()
        else:
            self._session.leave()

    async def _consume(self) -> End:
        async with self._open_session() as session:
            log.info("consuming", shards=session.feed.shards)
            self._session, self._state, self._said, self._tries = session, "consuming", "", 0
            try:
                return await session.run()
            finally:
                self._session, self._state = None, "connecting"

    @asynccontextmanager
    async def _open_session(self) -> AsyncIterator[Session]:
        letters = await self.bridge.call(open_outlet_aio, self.url, DEAD, "dead letters")
        later: Later | None = None
        try:
            later = await self.bridge.call(open_later_aio, self.url)
            feed = await self.bridge.call(open_feed_aio, self.url, self.limits)
            try:
                yield Session(
                    bridge=self.bridge,
                    feed=feed,
                    letters=letters,
                    later=later,
                    gate=self.gate,
                    tenants=Tenants(self.queries, self.erasures),
                    clock=self.clock,
                    limits=self.limits,
                    poison=self._poison,
                    share=self._share,
                )
            finally:
                with trio.move_on_after(CLOSE_S, shield=True):
                    await self.bridge.call(feed.close_aio)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await self.bridge.call(letters.close_aio)
                if later is not None:
                    await self.bridge.call(later.close_aio)

    async def _recover(self, end: End) -> None:
        """Wait for what ended the session to pass."""
        match end:
            case End.LEFT:
                return
            case End.LOST:
                self._state = "connecting"
                self._tries += 1
                first_s, last_s = self.limits.first_retry_s, self.limits.reconnect_s
                await trio.sleep(backoff_s(self._tries, first_s, last_s))
            case End.OUTAGE:
                self._state = "waiting"
                log.error("consumer_waits_for_the_database", after_s=self.limits.hold_s)
                await self._store_takes()
            case End.POISON:
                self._state = "stopped"
                await trio.sleep(self.limits.poison_pause_s)
                self._poison.forget()
                log.warning("consumer_tries_again")

    async def _store_takes(self) -> None:
        """Wait until it does. One that only answers would have everything come back at once, and
        use up the deliveries of what is good.
        """
        tries = 0
        while True:
            try:
                await self.gate.probe()
                return
            except (StoreUnavailable, StoreRefused):
                tries += 1
                first_s, last_s = self.limits.first_retry_s, self.limits.reconnect_s
                await trio.sleep(backoff_s(tries, first_s, last_s))

    def _complain(self, error: str) -> None:
        """Once for each cause, however often it is tried."""
        if error != self._said:
            log.error("broker_unavailable", error=error)
            self._said = error
