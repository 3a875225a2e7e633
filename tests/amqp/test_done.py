"""Acknowledgements on their way, with a broker that takes them when the test says so."""

from collections.abc import Sequence
from typing import Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from atalaia.amqp.done import Done
from atalaia.amqp.feed import Feed
from atalaia.amqp.messages import Delivery, Message
from atalaia.bridge import Bridge

MESSAGE = Message("t", b"", "application/json", "identity", {})
ASIDE = 7  # a hand


def delivery(tag: int, hand: int = 0) -> Delivery:
    return Delivery(tag, MESSAGE, hand=hand)


class Direct:
    """A bridge to where we are."""

    async def call(self, fn: Any, *args: Any) -> Any:
        return await fn(*args)


@attrs.define
class Broker:
    """A feed whose acknowledgements leave when they may: those of queues for later first, as the
    real one's do. Fails as RabbitMQ does for one that it does not know (any more)."""

    open: trio.Event = attrs.field(factory=trio.Event)
    unknown: set[int] = attrs.field(factory=set)
    fetched: list[tuple[int, int]] = attrs.field(factory=list)

    async def ack_aio(
        self, acks: Sequence[tuple[int, bool]], fetched: Sequence[tuple[int, int]]
    ) -> list[int]:
        if fetched:
            await self.open.wait()
            self.fetched += fetched
        for tag, multiple in acks:
            assert tag not in self.unknown, "PRECONDITION_FAILED: unknown delivery tag"
            self.unknown |= set(range(tag + 1)) if multiple else {tag}
        return []


@pytest.fixture
def broker() -> Broker:
    return Broker()


def made(broker: Broker) -> tuple[Done, list[str]]:
    lost: list[str] = []
    done = Done(
        cast("Bridge", Direct()), cast("Feed", broker), lambda: lost.append("the connection")
    )
    return done, lost


async def test_one_lot_never_overtakes_another(broker: Broker) -> None:
    """Else a lane that gives back closes everybody's channel: what it acknowledges many with has
    left before what the first lot acknowledges."""
    done, lost = made(broker)
    async with trio.open_nursery() as nursery:
        for tag in (1, 2, 3):
            done.add(delivery(tag), "stored")
        done.add(delivery(1, ASIDE), "stored")
        nursery.start_soon(done.send)
        await wait_all_tasks_blocked()  # the fetched one is under way, and three behind it
        done.add(delivery(4), "stored")
        done.add(delivery(5), "stored")
        nursery.start_soon(done.send)
        await wait_all_tasks_blocked()
        assert broker.unknown == set()
        broker.open.set()
    assert broker.unknown == set(range(6))
    assert (broker.fetched, lost) == ([(ASIDE, 1)], [])


async def test_what_the_broker_does_not_take_ends_the_session(
    broker: Broker, autojump_clock: MockClock
) -> None:
    """Nobody knows which it has: they come again, and are not forgotten in silence."""
    done, lost = made(broker)
    done.add(delivery(1, ASIDE), "stored")
    await done.send()
    assert lost == ["the connection"]


async def test_the_end_of_a_session_cuts_no_acknowledgement_short(broker: Broker) -> None:
    """Those on their way, and those that wait behind them."""
    done, lost = made(broker)
    async with trio.open_nursery() as nursery:
        done.add(delivery(1, ASIDE), "stored")
        nursery.start_soon(done.run)
        await wait_all_tasks_blocked()
        done.add(delivery(1), "stored")
        nursery.start_soon(done.send)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        broker.open.set()
    assert (broker.fetched, broker.unknown, lost) == ([(ASIDE, 1)], {0, 1}, [])


@pytest.mark.parametrize("parts", [1, 2])
async def test_a_delivery_is_acknowledged_when_all_of_it_is_done(
    broker: Broker, parts: int
) -> None:
    """A letter of some of its rows, say, and the commit of the others; whichever comes first."""
    done, _ = made(broker)
    for _ in range(parts):
        done.split(delivery(1))
    for _ in range(parts):
        done.add(delivery(1), "stored")
        await done.send()
        assert broker.unknown == set()
    done.add(delivery(1), "stored")
    await done.send()
    assert broker.unknown == {0, 1}
