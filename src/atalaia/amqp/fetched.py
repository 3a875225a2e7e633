"""What was fetched of the queues for later and is not acknowledged, bounded in bytes over all of
them. Runs on the asyncio thread."""

import asyncio

import attrs
from aio_pika.abc import AbstractIncomingMessage

from atalaia.amqp.messages import Delivery
from atalaia.amqp.window import OFTEN
from atalaia.amqp.wiring import incoming

SHARE = 4  # a tenant may have so much of the room: whoever waits for a quota keeps what it has


@attrs.define(eq=False)
class Basket:
    """limit: in bytes of bodies, over all tenants; one message is always held."""

    limit: int
    held: int = 0
    _sizes: dict[int, tuple[int, "Fetched"]] = attrs.field(factory=dict)

    @property
    def full(self) -> bool:
        return self.held >= self.limit

    def has_room(self, size: int, store: "Fetched") -> bool:
        fits = not store.held or store.held + size <= self.limit // SHARE
        return not self.held or (fits and self.held + size <= self.limit)

    def put(self, tag: int, size: int, store: "Fetched") -> None:
        self._sizes[tag] = size, store
        self.held += size
        store.held += size

    def gone(self, tag: int, *, before_too: bool = False) -> None:
        """It is acknowledged or given back; before_too: and so is every one before it."""
        for each in [each for each in self._sizes if each <= tag] if before_too else [tag]:
            if each in self._sizes:
                size, store = self._sizes.pop(each)
                self.held -= size
                store.held -= size


@attrs.define(eq=False)
class Fetched:
    """What has come of a tenant's queue for later and nobody has taken yet.

    What there is no room for is let go, but for its tag, and everything behind it too. It is given
    back when all before it is done with: a queue puts what comes back behind what came back before.
    fitted: how many messages there was room for.
    """

    basket: Basket
    held: int = 0  # bytes, taken or not
    fitted: int = 1
    consumer: str = ""
    some: asyncio.Event = attrs.field(factory=asyncio.Event)
    _waiting: list[Delivery] = attrs.field(factory=list)
    _let_go: list[int] = attrs.field(factory=list)

    async def receive_aio(self, message: AbstractIncomingMessage) -> None:
        delivery = attrs.evolve(incoming(message), fetched=True)
        size = len(delivery.message.body)
        kept = delivery.before >= OFTEN or self.basket.has_room(size, self)
        if self._let_go or not kept:
            self._let_go.append(delivery.tag)
        else:
            self.basket.put(delivery.tag, size, self)
            self._waiting.append(delivery)
            self.fitted = len(self._waiting)
        self.some.set()

    @property
    def stuck(self) -> bool:
        """Nothing waits, and something was let go."""
        return bool(self._let_go) and not self._waiting

    def take(self) -> list[Delivery]:
        taken, self._waiting = self._waiting, []
        self.some.clear()
        return taken

    def let_go(self) -> list[int]:
        """The tags of what is to be given back now, oldest first."""
        tags, self._let_go = self._let_go, []
        return tags
