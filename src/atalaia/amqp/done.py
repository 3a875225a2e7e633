"""What is done of one session's deliveries, and its acknowledgements on their way.

One lot of them at a time: the broker closes the channel, and so everybody's, over the
acknowledgement of one delivery that comes behind one of many that says the same.
"""

from collections import Counter
from collections.abc import Callable

import attrs
import structlog
import trio

from atalaia.amqp.acks import Acks
from atalaia.amqp.feed import Feed
from atalaia.amqp.link import BrokerUnavailable, told
from atalaia.amqp.messages import Delivery
from atalaia.bridge import Bridge
from atalaia.telemetry.metrics import DELIVERIES

log = structlog.get_logger()

LAST_ACKS_S = 2.0


@attrs.define(eq=False)
class Done:
    """`run` is its life. lost: called when the connection is."""

    bridge: Bridge
    feed: Feed
    lost: Callable[[], None]
    _waiting: list[tuple[int, int]] = attrs.field(factory=list)  # (hand, tag)
    _parts: Counter[tuple[int, int]] = attrs.field(factory=Counter)
    _acks: Acks = attrs.field(factory=Acks)
    _some: trio.Event = attrs.field(factory=trio.Event)
    _sending: trio.Lock = attrs.field(factory=trio.Lock)

    def split(self, delivery: Delivery) -> None:
        """One more thing is to be done of it before it is acknowledged."""
        self._parts[delivery.hand, delivery.tag] += 1

    def add(self, delivery: Delivery, result: str) -> None:
        """It is done, or a part of it; acknowledged when all of it is."""
        key = delivery.hand, delivery.tag
        if self._parts[key]:
            self._parts.subtract([key])
            self._parts += Counter()  # without what is at zero
            return
        DELIVERIES.labels(result).inc()
        self._waiting.append(key)
        self._some.set()

    async def run(self) -> None:
        """Acknowledge what is done, until cancelled."""
        while True:
            await self._some.wait()
            self._some = trio.Event()
            await self.send()

    async def send(self) -> None:
        """Acknowledge what is done now, behind what is on its way.

        Not cut short by the session's end: what is done would come again. What the broker does not
        take in time ends the session: nobody knows which it has.
        """
        try:
            with trio.move_on_after(LAST_ACKS_S, shield=True) as scope:
                async with self._sending:
                    await self._send()
        except (BrokerUnavailable, OSError) as error:
            log.warning("broker_lost", error=told(error))
            self.lost()
        if scope.cancelled_caught:
            log.warning("broker_lost", error="it does not take acknowledgements")
            self.lost()

    async def _send(self) -> None:
        done, self._waiting = self._waiting, []
        if not done:
            return
        acks = self._acks.done([tag for hand, tag in done if not hand])
        fetched = [(hand, tag) for hand, tag in done if hand]
        given_back = await self.bridge.call(self.feed.ack_aio, acks, fetched)
        self._acks.gone(given_back)
