"""The line before a used-up quota, on a mock clock."""

from functools import partial
from uuid import UUID

import attrs
import pytest
import trio
from trio.testing import MockClock

from atalaia.engine.quota import BURST_S, Quotas
from atalaia.http import turnstile
from atalaia.http.turnstile import HOLD_S, MOST_HELD, SLOW_S, Turnstile
from atalaia.model.errors import Closing, QuotaUsedUp
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal
from atalaia.model.quota import NO_QUOTA, Quota

RATE = 1_000


@attrs.define(eq=False)
class Door:
    """A turnstile before real buckets, and what became of those who came."""

    quotas: Quotas = attrs.field(factory=lambda: Quotas(NO_QUOTA))
    admitted: list[int] = attrs.field(factory=list)
    refused: int = 0
    closing: bool = False
    turnstile: Turnstile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.turnstile = Turnstile(self.ask)

    def ask(self, who: Principal) -> None:
        if self.closing:
            raise Closing
        self.quotas.check(who.tenant_no, who.quota, trio.current_time())

    def pay(self, rows: int, who: Principal) -> None:
        self.quotas.pay(who.tenant_no, who.quota, trio.current_time(), readings=rows)

    async def come(self, rows: int, who: Principal, *, body_s: float = 0.0, name: int = 0) -> bool:
        try:
            async with self.turnstile.passed(who):
                await trio.sleep(body_s)
        except QuotaUsedUp:
            self.refused += 1
            return False
        self.pay(rows, who)
        self.admitted.append(name or rows)
        return True


def tenant(no: int = 1, rate: int | None = RATE) -> Principal:
    quota = Quota(readings_per_s=rate)
    return Principal(TenantNo(no), UUID(int=no), "key", frozenset(), quota)


async def spin(door: Door, who: Principal, rows: int, seconds: float) -> None:
    """Send again at once, whatever is answered."""
    with trio.move_on_after(seconds):
        while True:
            await door.come(rows, who)


@pytest.mark.parametrize("connections", [1, 8])
async def test_whoever_sends_one_after_the_other_gets_all_of_its_quota(
    autojump_clock: MockClock, connections: int
) -> None:
    """And hardly a refusal: but for what all of them sent at first, the line is short."""
    door = Door()
    async with trio.open_nursery() as nursery:
        for _ in range(connections):
            nursery.start_soon(spin, door, tenant(), 100, 20.0)
    assert 20 * RATE <= sum(door.admitted) <= 20 * RATE + BURST_S * RATE + 100 * connections
    assert door.refused < connections


async def test_whoever_never_waits_is_made_to(autojump_clock: MockClock) -> None:
    """A connection that is refused costs a request a second."""
    door, who = Door(), tenant(rate=1)
    await door.come(100_000, who)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(spin, door, who, 1, 20.0)
    assert len(door.admitted) == 1
    assert door.refused <= 10 * 20 / HOLD_S


async def test_those_who_waited_do_not_rush_in_together(autojump_clock: MockClock) -> None:
    """Each finds what the one before it has left, in the order in which they came."""
    door, who = Door(), tenant()
    await door.come(RATE // 2, who)
    async with trio.open_nursery() as nursery:
        for n in range(1, 6):
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(door.come, 400, who, body_s=0.01, name=n))
    assert door.admitted == [RATE // 2, 1, 2]
    assert door.refused == 3


async def test_a_slow_body_is_not_waited_for(autojump_clock: MockClock) -> None:
    """The next one goes in although it has not been counted."""
    door, who = Door(), tenant()
    await door.come(RATE // 2, who)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(door.come, 1, who, body_s=30.0, name=1))
        await trio.testing.wait_all_tasks_blocked()
        assert await door.come(1, who, name=2)
        assert trio.current_time() < 1.0 + SLOW_S
        nursery.cancel_scope.cancel()
    assert await door.come(1, who, name=3)


async def test_nobody_else_stands_in_that_line(autojump_clock: MockClock) -> None:
    """Another tenant goes straight in; when none waits, nothing is kept."""
    door, who = Door(), tenant()
    await door.come(100 * RATE, who)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.come, 1, who)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert await door.come(1, tenant(2))
        assert trio.current_time() == began
    assert door.turnstile._lines == {}


async def test_the_line_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it the refusal is at once."""
    assert MOST_HELD >= 10
    monkeypatch.setattr(turnstile, "MOST_HELD", 3)
    door, who = Door(), tenant()
    await door.come(100 * RATE, who)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(door.come, 1, who)
        await trio.testing.wait_all_tasks_blocked()
        assert not await door.come(1, who)
        assert trio.current_time() == began


async def test_whoever_waits_is_told_of_the_end(autojump_clock: MockClock) -> None:
    """The service closes meanwhile: that is the answer, not the quota."""
    door, who = Door(), tenant()
    await door.come(100 * RATE, who)

    async def close() -> None:
        await trio.sleep(0.5)
        door.closing = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        with pytest.raises(Closing):
            async with door.turnstile.passed(who):
                pass
