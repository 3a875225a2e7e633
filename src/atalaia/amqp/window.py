"""What is held of one queue, bounded in bytes. Pure.

RabbitMQ bounds what it delivers in messages alone. What would be too much of it is let go on
arrival, but for its tag, and everything behind it too; it is given back, oldest first, as room
appears, and comes again before anything else. That costs a message one of its deliveries.
"""

from collections import Counter, deque

import attrs

from atalaia.amqp.messages import Delivery
from atalaia.amqp.topology import DELIVERY_LIMIT

OFTEN = DELIVERY_LIMIT * 4 // 5  # delivered so often it is kept: the broker would soon give it up


@attrs.frozen(eq=False)
class _LetGo:
    tag: int
    size: int
    message_id: str
    kept: Delivery | None


@attrs.define(eq=False)
class Window:
    """limit: in bytes of bodies; one message is always held, whatever its size."""

    limit: int
    held: int = 0
    arrived: int = 0  # messages, ever
    _sizes: dict[int, int] = attrs.field(factory=dict)
    _let_go: deque[_LetGo] = attrs.field(factory=deque)
    _asked: Counter[str] = attrs.field(factory=Counter)

    def arrive(self, delivery: Delivery) -> list[Delivery]:
        """What is to be handled now: this one, none, or those that waited for it, too."""
        self.arrived += 1
        size, name = len(delivery.message.body), delivery.message.message_id
        if self._asked[name]:
            self._asked.subtract([name])
            self._asked += Counter()  # without what is at zero
            self._sizes[delivery.tag] = size
            return [delivery, *(self._of_kept() if not self._asked else ())]
        if self._let_go or self._asked or not self._has_room(size):
            kept = delivery if delivery.before >= OFTEN else None
            self._let_go.append(_LetGo(delivery.tag, size, name, kept))
            return []
        self._hold(delivery.tag, size)
        return [delivery]

    @property
    def idle(self) -> bool:
        """Nothing of the queue is with us."""
        return not self._sizes and not self._let_go

    def gone(self, tag: int, *, before_too: bool = False) -> None:
        """It is acknowledged or given back; before_too: and so is every one before it."""
        tags = [tag]
        if before_too:
            tags = [each for each in self._sizes if each <= tag]
        for each in tags:
            self.held -= self._sizes.pop(each, 0)

    def again(self) -> tuple[list[int], list[Delivery]]:
        """(tags to be given back now, in order; what was kept and may be handled)."""
        tags: list[int] = []
        kept: list[Delivery] = []
        while self._let_go and self._has_room(self._let_go[0].size):
            first = self._let_go[0]
            if first.kept is not None:
                if self._asked:
                    break  # they are before it
                kept += self._of_kept()
                continue
            self._let_go.popleft()
            self.held += first.size  # room for its return
            self._asked[first.message_id] += 1
            tags.append(first.tag)
        return tags, kept

    def _of_kept(self) -> list[Delivery]:
        found: list[Delivery] = []
        while self._let_go and self._has_room(self._let_go[0].size):
            delivery = self._let_go[0].kept
            if delivery is None:
                break
            self._let_go.popleft()
            self._hold(delivery.tag, len(delivery.message.body))
            found.append(delivery)
        return found

    def _has_room(self, size: int) -> bool:
        return not self.held or self.held + size <= self.limit

    def _hold(self, tag: int, size: int) -> None:
        self._sizes[tag] = size
        self.held += size
