"""What was fetched of the queues for later and is not acknowledged, bounded in bytes over all of
them. Runs on the asyncio thread.

Each is fetched over a channel of its own, and given back by closing it: then the queue takes back
all of it at once, in order. One that is cancelled first and handed back after may give its next
message to nobody in between, and that one comes back before those that were before it.
"""

import asyncio
from collections.abc import Collection, Sequence

import attrs
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from atalaia.amqp.messages import Delivery
from atalaia.amqp.window import OFTEN
from atalaia.amqp.wiring import incoming

SHARE = 4  # a tenant may have so much of the room: whoever waits for a quota keeps what it has


@attrs.define(eq=False)
class Basket:
    """limit: in bytes of bodies, over all tenants; one message is always held."""

    limit: int
    held: int = 0

    @property
    def full(self) -> bool:
        return self.held >= self.limit

    def has_room(self, size: int, has: int) -> bool:
        """For one more of a tenant that has so much."""
        fits = not has or has + size <= self.limit // SHARE
        return not self.held or (fits and self.held + size <= self.limit)


@attrs.define(eq=False)
class Fetched:
    """What has come of one tenant's queue for later.

    number: of the channel, in its deliveries. What there is no room for is let go, and everything
    behind it too: it is with the channel until that is closed. fitted: how many messages there was
    room for.
    """

    number: int
    channel: AbstractChannel
    basket: Basket
    fitted: int = 1
    some: asyncio.Event = attrs.field(factory=asyncio.Event)
    _held: int = 0
    _open: dict[int, int] = attrs.field(factory=dict)  # bytes, by tag: taken or not
    _waiting: list[Delivery] = attrs.field(factory=list)
    _let_go: bool = False

    async def receive_aio(self, message: AbstractIncomingMessage) -> None:
        delivery = attrs.evolve(incoming(message), hand=self.number)
        size = len(delivery.message.body)
        kept = delivery.before >= OFTEN or self.basket.has_room(size, self._held)
        if self._let_go or not kept:
            self._let_go = True
        else:
            self._open[delivery.tag] = size
            self._held += size
            self.basket.held += size
            self._waiting.append(delivery)
            self.fitted = len(self._waiting)
        self.some.set()

    @property
    def idle(self) -> bool:
        """Nothing of it is open."""
        return not self._open and not self._let_go

    @property
    def stuck(self) -> bool:
        """Nothing waits, and something was let go."""
        return self._let_go and not self._waiting

    def take(self) -> list[Delivery]:
        taken, self._waiting = self._waiting, []
        self.some.clear()
        return taken

    def is_all(self, tags: Collection[int]) -> bool:
        """Whether nothing is open but these and what nobody has taken."""
        return self._open.keys() <= {*tags, *(each.tag for each in self._waiting)}

    async def ack_aio(self, tags: Sequence[int]) -> None:
        driver = await self.channel.get_underlay_channel()
        for tag in tags:
            await driver.basic_ack(tag, wait=tag == tags[-1])  # the last one has left then
            self._gone(tag)

    async def close_aio(self) -> None:
        """What is open goes back to its queue, in its place, at one of its deliveries."""
        self._waiting.clear()
        for tag in list(self._open):
            self._gone(tag)
        await self.channel.close()

    def _gone(self, tag: int) -> None:
        size = self._open.pop(tag, 0)
        self._held -= size
        self.basket.held -= size
