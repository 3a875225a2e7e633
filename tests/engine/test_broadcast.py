"""Followers of commits: told in order, bounded, and of no weight when there are none."""

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from atalaia.engine import broadcast
from atalaia.engine.broadcast import Broadcast, Follower
from atalaia.engine.limits import EngineLimits
from atalaia.model.errors import Unavailable
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import CommitItem
from tests.engine.store import FaultyStore
from tests.engine.test_engine import DOWN, ONE, batch, engine


def item(tenant: int, rows: int, received: int = 1, old: int = 0) -> CommitItem:
    return CommitItem(
        TenantNo(tenant), Micros(received), b"",
        fresh_series=np.ones(rows, np.int32), fresh_ts=np.arange(rows), fresh_value=np.ones(rows),
        old_series=np.ones(old, np.int32), old_ts=np.arange(old), old_value=np.ones(old),
    )  # fmt: skip


async def test_a_follower_is_told_of_its_tenant_alone() -> None:
    """In the order of the commits; repeats are no news."""
    hub, mine, other = Broadcast(), Follower(readings=True), Follower(readings=True)
    with hub.followed(TenantNo(1), mine), hub.followed(TenantNo(2), other):
        hub.tell([item(1, 2, 5), item(2, 1, 6), item(1, 0, 7, old=3), item(1, 1, 8)], [0, 0, 0, 0])
        await mine.news()
    found = [mine.take(), mine.take(), mine.take()]
    assert [part and part.received_at for part in found] == [5, 8, None]
    assert (other.take() or pytest.fail("nothing")).received_at == 6
    assert other.take() is None


async def test_nobody_is_told_after_leaving() -> None:
    """And nothing of it is kept."""
    hub, mine = Broadcast(), Follower(readings=True)
    with hub.followed(TenantNo(1), mine):
        pass
    hub.tell([item(1, 2)], [0])
    assert mine.take() is None
    assert hub._followers == {}


async def test_nobody_is_told_of_what_is_not_committed(autojump_clock: MockClock) -> None:
    """While commits fail there is nothing to hear; then everything, once."""
    store = FaultyStore(faults=[DOWN] * 30)
    mine = Follower(readings=True)
    async with engine(store) as gate:
        with gate.broadcast.followed(ONE, mine):
            with pytest.raises(Unavailable):
                await gate.submit(ONE, batch(3)).wait()
            assert mine.take() is None
            await trio.sleep(EngineLimits().commit_retry_s + 2)
            store.faults.clear()
            await gate.submit(ONE, batch(3)).wait()
        assert len(mine.take() or ()) == 3
        assert mine.take() is None


async def test_who_does_not_keep_up_is_dropped_and_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By rows and by parts; others go on."""
    monkeypatch.setattr(broadcast, "MOST_ROWS", 10)
    monkeypatch.setattr(broadcast, "MOST_PARTS", 3)
    hub, slow, quick = Broadcast(), Follower(readings=True), Follower(readings=True)
    with hub.followed(TenantNo(1), slow), hub.followed(TenantNo(1), quick):
        for n in range(4):
            hub.tell([item(1, 1, n)], [0])
            assert quick.take() is not None
        assert (slow.dropped, quick.dropped) == (True, False)
        assert slow.take() is None
        hub.tell([item(1, 11)], [0])
        assert quick.dropped


async def test_after_a_commit_that_was_given_up_the_next_is_not_taken_to_follow(
    autojump_clock: MockClock,
) -> None:
    """It may stand after all, and nobody was told of it; what comes after the next one follows."""
    store = FaultyStore()
    mine = Follower(readings=True)
    async with engine(store) as gate:
        with gate.broadcast.followed(ONE, mine):
            await gate.submit(ONE, batch(1)).wait()
            store.faults[:] = [DOWN] * 200
            with pytest.raises(Unavailable):
                await gate.submit(ONE, batch(2)).wait()
            await trio.sleep(EngineLimits().commit_retry_s + 2)
            store.faults.clear()
            for number in (3, 4):
                await gate.submit(ONE, batch(number)).wait()
    parts = [mine.take(), mine.take(), mine.take()]
    assert [part and part.follows for part in parts] == [True, False, True]
