"""The engine under faults, on a mock clock: what is answered, what is kept, who is hurt."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import (
    Closing,
    Invalid,
    NotFound,
    Overloaded,
    RuleInvalid,
    TenantErased,
    Unavailable,
)
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import Fenced, StoreRefused, StoreUnavailable, TenantGone
from atalaia.telemetry.metrics import REGISTRY
from tests.engine.store import FaultyStore

ONE, TWO = TenantNo(1), TenantNo(2)
DOWN = StoreUnavailable("down")


class Ticks:
    """A clock that stands still."""

    def now_us(self) -> Micros:
        return Micros(1_000_000_000)


_times = itertools.count(1)


BAD = 6.66


def batch(rows: int = 1, sensor: str = "s", value: float = 1.0) -> Batch:
    ts = np.array([next(_times) for _ in range(rows)], np.int64)
    return Batch(
        names=(SeriesName(sensor, "t"),), idx=np.zeros(rows, np.int32), ts=ts,
        value=np.full(rows, value), row=np.arange(rows, dtype=np.int32), rejects=(), sent=rows,
    )  # fmt: skip


@asynccontextmanager
async def engine(store: FaultyStore, **limits: object) -> AsyncIterator[Gate]:
    async with open_engine(store, Ticks(), EngineLimits(**limits)) as gate:  # type: ignore[arg-type]
        yield gate


async def test_an_unknown_outcome_is_retried_and_stored_once(autojump_clock: MockClock) -> None:
    """The commit went through, its answer was lost: the same answer comes from the retry."""
    store = FaultyStore(faults=[DOWN, DOWN], after_commit=True)
    async with engine(store) as gate:
        assert (await gate.submit(ONE, batch(3)).wait()).accepted == 3
    assert len(store.tenant(ONE).rows) == 3


async def test_a_commit_that_fails_once_or_twice_is_waited_for(autojump_clock: MockClock) -> None:
    """A deadlock or a broken connection: nobody notices but by the delay."""
    store = FaultyStore(faults=[DOWN] * 2)
    async with engine(store) as gate:
        assert (await gate.submit(ONE, batch()).answer()).accepted == 1


async def test_an_outage_lets_nobody_in_and_keeps_nobody_waiting(
    autojump_clock: MockClock,
) -> None:
    """Both are told to send it again; what waited is stored all the same and counts once."""
    store, sent = FaultyStore(faults=[DOWN] * 5), batch()
    async with engine(store) as gate:
        waiting = gate.submit(ONE, sent)
        with pytest.raises(Unavailable), trio.fail_after(0.5):
            await waiting.answer()
        assert not gate.commits
        with pytest.raises(Unavailable):
            gate.submit(TWO, batch())
        while not gate.commits:
            await trio.sleep(0.1)
        assert (await gate.submit(TWO, batch()).answer()).accepted == 1
        again = await gate.submit(ONE, sent).answer()
        assert (again.accepted, again.duplicates) == (0, 1)


async def test_a_long_outage_fails_every_uncommitted_batch_and_memory_is_rebuilt(
    autojump_clock: MockClock,
) -> None:
    """503 for all; sending the same again afterwards stores all, none as duplicate."""
    store = FaultyStore(faults=[DOWN] * 30)
    batches = [batch(), batch(), batch()]
    async with engine(store) as gate:
        receipts = [gate.submit(ONE, b) for b in batches]
        for receipt in receipts:
            with pytest.raises(Unavailable):
                await receipt.wait()
        await trio.sleep(EngineLimits().commit_retry_s + 2)
        store.faults.clear()
        answers = [await gate.submit(ONE, b).wait() for b in batches]
        assert [(a.accepted, a.duplicates) for a in answers] == [(1, 0)] * 3
    assert store.loads > 1


async def test_nothing_is_loaded_while_a_lost_commit_may_still_land(
    autojump_clock: MockClock,
) -> None:
    """The flusher gave up on it; the actor is rebuilt only when it has stored all or nothing."""
    store = FaultyStore(faults=[DOWN] * 30)
    async with engine(store) as gate:
        lost, store.landed = batch(3), trio.Event()
        with pytest.raises(Unavailable):
            await gate.submit(ONE, lost).wait()
        await trio.sleep(EngineLimits().commit_retry_s + 2)
        store.faults.clear()
        loads, again = store.loads, gate.submit(ONE, lost)
        await trio.sleep(5)
        assert (store.loads, again.settled) == (loads, False)
        store.landed.set()
        assert (await again.wait()).accepted == 3
        assert store.loads > loads


async def test_a_poisoned_batch_is_buried_and_hurts_nobody_else(autojump_clock: MockClock) -> None:
    """The refused group is tried in halves; the culprit gets a dead letter with its reason."""
    store = FaultyStore(faults=[DOWN], poison={BAD: StoreRefused("22P05 no such character")})
    async with engine(store) as gate:
        first = gate.submit(TenantNo(3), batch())  # the others gather while it is retried
        good, bad = gate.submit(ONE, batch()), gate.submit(TWO, batch(value=BAD))
        assert (await first.wait()).accepted == (await good.wait()).accepted == 1
        with pytest.raises(Invalid) as caught:
            await bad.wait()
        assert caught.value.code == "dead_lettered"
        assert store.buried == ["22P05 no such character"]
        assert (await gate.submit(TWO, batch()).wait()).accepted == 1


@pytest.mark.parametrize("place", range(5))
async def test_a_poisoned_batch_takes_no_good_one_of_its_tenant_with_it(
    autojump_clock: MockClock, place: int
) -> None:
    """Those before it are committed, those after it are to be sent again."""
    store = FaultyStore(faults=[DOWN], poison={BAD: StoreRefused("22P05 no such character")})
    batches = [batch(value=BAD if n == place else 1.0) for n in range(5)]
    async with engine(store) as gate:
        first = gate.submit(TWO, batch())
        receipts = [gate.submit(ONE, b) for b in batches]
        await first.wait()
        for n, receipt in enumerate(receipts):
            if n < place:
                assert (await receipt.wait()).accepted == 1
                continue
            with pytest.raises(Invalid if n == place else Unavailable):
                await receipt.wait()
        for late in batches[place + 1 :]:
            assert (await gate.submit(ONE, late).wait()).accepted == 1
    assert len(store.buried) == 1
    assert len(store.tenant(ONE).rows) == 4


async def test_a_lost_lease_ends_the_process(autojump_clock: MockClock) -> None:
    """Loudly, and after everybody who waits was told to send it again."""
    store = FaultyStore(faults=[Fenced("epoch 1")])
    told = []
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the body is what is cancelled
        async with engine(store, drain_s=1.0) as gate:
            receipts = [gate.submit(TenantNo(n % 3 + 1), batch()) for n in range(9)]
            for receipt in receipts:
                with pytest.raises(Closing):
                    await receipt.wait()
                told.append(receipt)
            with pytest.raises(Closing):
                gate.submit(ONE, batch())
            await trio.sleep_forever()
    assert caught.group_contains(Fenced)
    assert len(told) == 9


async def test_a_full_inbox_refuses_with_a_delay_and_frees_itself(
    autojump_clock: MockClock,
) -> None:
    """One tenant's share first (429), the whole process's then (503)."""
    store = FaultyStore(faults=[DOWN] * 2)
    async with engine(store, inbox_rows=10, total_rows=15) as gate:
        first = gate.submit(ONE, batch(8))
        with pytest.raises(Overloaded) as mine:
            gate.submit(ONE, batch(3))
        assert mine.value.retry_after_s > 0
        with pytest.raises(Unavailable) as ours:
            gate.submit(TWO, batch(8))
        assert ours.value.code == "saturated"
        await first.wait()
        assert (await gate.submit(ONE, batch(10)).wait()).accepted == 10


async def test_a_single_batch_beyond_the_share_still_passes(autojump_clock: MockClock) -> None:
    """Else it could never be sent."""
    async with engine(FaultyStore(), inbox_rows=10) as gate:
        assert (await gate.submit(ONE, batch(30)).wait()).accepted == 30


async def test_what_arrives_during_a_commit_is_the_next_one(autojump_clock: MockClock) -> None:
    """Group commit."""
    store = FaultyStore(faults=[DOWN])
    async with engine(store) as gate:
        receipts = [gate.submit(TenantNo(n), batch()) for n in range(1, 6)]
        for receipt in receipts:
            await receipt.wait()
    assert max(store.sizes) > 1


async def test_an_idle_actor_leaves_a_snapshot_and_returns(autojump_clock: MockClock) -> None:
    """Nothing of it stays in memory; its state is loaded again."""
    store = FaultyStore()
    async with engine(store, idle_s=5.0) as gate:
        await gate.submit(ONE, batch()).wait()
        await trio.sleep(20)
        gate.observe()
        assert gate._tenants == {}
        assert store.snapshots == 1
        again = await gate.submit(ONE, batch()).wait()
        assert again.accepted == 1
        assert store.loads == 2


async def test_snapshots_bound_what_recovery_reads(autojump_clock: MockClock) -> None:
    """One for every so many commits."""
    store = FaultyStore()
    async with engine(store, snapshot_every=3) as gate:
        for _ in range(9):
            await gate.submit(ONE, batch()).wait()
    assert store.snapshots == 2
    assert store.tenant(ONE).deltas <= 3


async def test_a_crashing_actor_is_rebuilt_then_quarantined_alone(
    autojump_clock: MockClock,
) -> None:
    """Callers get 503 at once; the others go on; after the pause it is tried again."""

    def quarantined() -> float:
        return REGISTRY.get_sample_value("atalaia_tenants_quarantined") or 0.0

    before = quarantined()
    store = FaultyStore(load_faults=[RuntimeError("a bug of customer 42")] * 3)
    async with engine(store, crashes=3, quarantine_s=100.0) as gate:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await gate.submit(ONE, batch()).wait()
            await trio.sleep(1)
        with pytest.raises(Unavailable) as caught:
            gate.submit(ONE, batch())
        assert caught.value.code == "quarantined"
        assert 0 < caught.value.retry_after_s <= 120
        assert "RuntimeError" in caught.value.detail
        seen = gate.status(ONE)
        assert (seen.reason, seen.retry_after_s) == ("RuntimeError", caught.value.retry_after_s)
        assert quarantined() == before + 1
        assert gate.status(TWO).reason is None
        assert (await gate.submit(TWO, batch()).wait()).accepted == 1
        await trio.sleep(120)
        assert gate.status(ONE).reason is None
        assert quarantined() == before
        assert (await gate.submit(ONE, batch()).wait()).accepted == 1


async def test_many_that_crash_together_do_not_come_back_together(
    autojump_clock: MockClock,
) -> None:
    """Each pause is longer by a share of its own, and none is shorter."""
    store = FaultyStore(load_faults=[RuntimeError("a bug of a release")] * 3)
    async with engine(store, crashes=1, quarantine_s=100.0) as gate:
        tenants = [TenantNo(n) for n in range(1, 4)]
        for tenant_no in tenants:
            with pytest.raises(Unavailable):
                await gate.submit(tenant_no, batch()).wait()
        await trio.sleep(1)
        lefts = [gate.status(tenant_no).retry_after_s or 0 for tenant_no in tenants]
        assert min(lefts) >= 100 - 2
        assert max(lefts) <= 120
        assert max(lefts) - min(lefts) > 5


async def test_who_is_erased_is_told_so_and_not_to_try_again(autojump_clock: MockClock) -> None:
    """Everybody who waits, for a commit or for the state; it is no crash, there is no letter, and
    nothing stays in memory."""
    store = FaultyStore(faults=[DOWN], poison={BAD: TenantGone("erased")})
    async with engine(store, crashes=1) as gate:
        first = gate.submit(TWO, batch())  # the other gathers while it is retried
        lost = gate.submit(ONE, batch(value=BAD))
        assert (await first.wait()).accepted == 1
        with pytest.raises(TenantErased):
            await lost.wait()
        gate.forget(ONE)
        await trio.sleep(1)
        store.load_faults = [TenantGone("erased")]
        receipts = [gate.submit(ONE, batch()) for _ in range(3)]
        for receipt in receipts:
            with pytest.raises(TenantErased):
                await receipt.wait()
        assert (store.buried, gate.status(ONE).reason) == ([], None)
        assert set(gate._tenants) == {TWO}
        assert (await gate.submit(TWO, batch()).wait()).accepted == 1


async def test_closing_does_not_wait_for_a_quarantine(autojump_clock: MockClock) -> None:
    """A paused tenant ends with the engine."""
    store = FaultyStore(load_faults=[RuntimeError("bug")])
    async with engine(store, crashes=1, quarantine_s=1000.0) as gate:
        with pytest.raises(Unavailable):
            await gate.submit(ONE, batch()).wait()
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began < 10


async def test_what_comes_while_a_tenant_is_forgotten_takes_no_room(
    autojump_clock: MockClock,
) -> None:
    """Its inbox is closed at once, and it lives until a commit under way has ended."""
    store = FaultyStore(commit_s=1.0)
    async with engine(store) as gate:
        under_way = gate.submit(ONE, batch())
        await trio.sleep(0.5)
        gate.forget(ONE)
        with pytest.raises(Closing):
            gate.submit(ONE, batch(1_000))
        with pytest.raises(Closing):
            gate.edit_rule(ONE, CreateRule("rule hot on sensors when t > 1"))
        await under_way.wait()
        assert gate._budget.rows == 0
        assert not gate._outage._waiting


async def test_closing_during_a_crashs_pause_answers_who_waits(autojump_clock: MockClock) -> None:
    """What arrived between the crash and the next try is to be sent again."""
    store = FaultyStore(load_faults=[RuntimeError("bug")])
    async with engine(store) as gate:
        with pytest.raises(Unavailable):
            await gate.submit(ONE, batch()).wait()
        receipt = gate.submit(ONE, batch())
    with pytest.raises(Closing), trio.fail_after(1):
        await receipt.wait()


async def test_leaving_commits_what_is_inside_and_refuses_the_rest(
    autojump_clock: MockClock,
) -> None:
    """The drain: every submitted batch is settled, none is lost."""
    store = FaultyStore(faults=[DOWN, None, DOWN])
    async with engine(store) as gate:
        receipts = [gate.submit(TenantNo(n % 3 + 1), batch()) for n in range(30)]
    assert [(await receipt.wait()).accepted for receipt in receipts] == [1] * 30
    with pytest.raises(Closing):
        gate.submit(ONE, batch())


async def test_a_cancelled_caller_does_not_cancel_the_commit(autojump_clock: MockClock) -> None:
    """The wait is dropped, the work is the actor's."""
    store = FaultyStore(faults=[DOWN] * 3)
    async with engine(store) as gate:
        receipt = gate.submit(ONE, batch())
        with trio.move_on_after(0.01):
            await receipt.wait()
        assert not receipt.settled
    assert len(store.tenant(ONE).rows) == 1


async def test_rule_edits_keep_their_place_among_batches(autojump_clock: MockClock) -> None:
    """A rule sees the readings after it, with its windows warm from those before."""
    store = FaultyStore()
    async with engine(store) as gate:
        before = gate.submit(ONE, batch(2))
        edit = gate.edit_rule(ONE, CreateRule("rule r on sensors when count(t, 1h) >= 3"))
        after = gate.submit(ONE, batch(1))
        assert (await before.wait()).accepted == 2
        assert (await edit.wait()).version == 1
        assert (await after.wait()).accepted == 1
        with pytest.raises(NotFound):
            await gate.set_tags(ONE, {"nobody": {}}).wait()
    assert any(store.tenant(ONE).states)


async def test_pending_edits_are_bounded_and_answered_in_time(autojump_clock: MockClock) -> None:
    """429 beyond the bound, 503 at the deadline; room returns when they are done."""
    store = FaultyStore(commit_s=15.0)
    async with engine(store, inbox_edits=3) as gate:
        edits = [
            gate.edit_rule(ONE, CreateRule(f"rule r{n} on sensors when t > 1")) for n in range(2)
        ]
        tags = gate.set_tags(ONE, {"nobody": {}})
        with pytest.raises(Overloaded):
            gate.edit_rule(ONE, CreateRule("rule r on sensors when t > 1"))
        with pytest.raises(Overloaded):
            gate.set_tags(ONE, {"nobody": {}})
        gate.edit_rule(TWO, CreateRule("rule r on sensors when t > 1"))
        began = trio.current_time()
        with pytest.raises(Unavailable, match="look before you send it again"):
            await edits[0].answer()
        assert trio.current_time() - began == 10
        assert [(await edit.wait()).name for edit in edits] == ["r0", "r1"]
        with pytest.raises(NotFound):
            await tags.wait()
        gate.set_tags(ONE, {"nobody": {}})


async def test_a_text_that_is_no_rule_takes_no_room(autojump_clock: MockClock) -> None:
    """It is refused at the gate."""
    async with engine(FaultyStore(), inbox_edits=1) as gate:
        for _ in range(2):
            with pytest.raises(RuleInvalid):
                gate.edit_rule(ONE, CreateRule("rule"))
        await gate.edit_rule(ONE, CreateRule("rule r on sensors when t > 1")).wait()


async def test_arrival_times_grow_though_the_clock_stands(autojump_clock: MockClock) -> None:
    """received_at is also the arrival sequence; the store asserts it."""
    store = FaultyStore()
    async with engine(store) as gate:
        for _ in range(5):
            await gate.submit(ONE, batch()).wait()
    assert store.tenant(ONE).last_received == 1_000_000_004


async def test_a_person_reads_one_line_a_second_at_most(autojump_clock: MockClock) -> None:
    """The sum of what was committed; nothing while nothing comes; the rest at the end."""
    with capture_logs() as lines:
        async with engine(FaultyStore()) as gate:
            for _ in range(5):
                for _ in range(10):
                    await gate.submit(ONE, batch(2)).wait()
                    await trio.sleep(0.05)
            await trio.sleep(60)
            await gate.submit(TWO, batch()).wait()
    told = [line for line in lines if line["log_level"] != "debug"]
    assert {line["event"] for line in told} == {"readings_committed"}
    assert 3 <= len(told) <= 5
    assert sum(line["rows"] for line in told) == 101
    assert [line["tenants"] for line in told] == [1] * len(told)


async def test_an_actor_says_nothing_in_the_name_of_a_request(autojump_clock: MockClock) -> None:
    """Its lines carry the tenant, not the request whose task happened to start it."""
    store = FaultyStore(load_faults=[RuntimeError("bug")])
    with (
        structlog.contextvars.bound_contextvars(request_id="r"),
        capture_logs([structlog.contextvars.merge_contextvars]) as lines,
    ):
        async with engine(store) as gate:
            with pytest.raises(Unavailable):
                await gate.submit(ONE, batch()).wait()
    (crashed,) = [line for line in lines if line["event"] == "actor_crashed"]
    assert crashed["tenant_no"] == ONE
    assert "request_id" not in crashed


async def test_committed_transitions_are_counted(autojump_clock: MockClock) -> None:
    """By kind, after the commit."""

    def opened() -> float:
        labels = {"kind": "opened"}
        return REGISTRY.get_sample_value("atalaia_alert_transitions_total", labels) or 0.0

    before = opened()
    async with engine(FaultyStore()) as gate:
        await gate.edit_rule(ONE, CreateRule("rule r on sensors when t > 0")).wait()
        await gate.submit(ONE, batch(3)).wait()
        assert opened() == before + 1


async def test_a_crowd_that_returns_is_rebuilt_a_few_at_a_time(autojump_clock: MockClock) -> None:
    """And everybody is answered."""
    store = FaultyStore(load_s=1.0)
    async with engine(store, recoveries=3) as gate:
        receipts = [gate.submit(TenantNo(n), batch()) for n in range(1, 11)]
        for receipt in receipts:
            assert (await receipt.wait()).accepted == 1
    assert store.most_loading == 3
