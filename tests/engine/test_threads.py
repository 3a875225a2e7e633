"""Long computations run beside the event loop."""

import itertools
import threading
import time

import numpy as np
import pytest
import trio
import trio.testing

from atalaia.engine import recover
from atalaia.engine.gate import Gate
from atalaia.engine.messages import CreateRule
from atalaia.engine.threads import AT_ONCE, LONG_NS, Threads
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.ids import TenantNo
from atalaia.rules.tenant_state import TenantRules
from tests.engine.store import FaultyStore
from tests.engine.test_engine import ONE, TWO, batch, engine

_times = itertools.count(1)

SLOW = [
    f"rule r{n} on sensors when {what}(t, {n + 1}m) > 100"
    for n, what in enumerate(["median", "anomaly", "mad", "zscore"] * 3)
]


async def test_what_is_short_stays_in_its_thread() -> None:
    """And what is long does not."""
    threads, here = Threads(), threading.get_ident()
    assert await threads.run(LONG_NS - 1, threading.get_ident) == here
    assert await threads.run(LONG_NS, threading.get_ident) != here


async def test_a_few_run_at_once() -> None:
    """The others wait for their turn."""
    threads, running, most = Threads(), 0, 0
    step = threading.Barrier(AT_ONCE, timeout=10)

    def work() -> None:
        nonlocal running, most
        running += 1
        step.wait()
        most = max(most, running)
        step.wait()
        running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(3 * AT_ONCE):
            nursery.start_soon(threads.run, LONG_NS, work)
    assert most == AT_ONCE


async def test_long_work_lets_others_go_first() -> None:
    """Every now and then, in the order in which they came; whoever has no turn is not asked."""
    threads, done = Threads(), []
    threads.let_others()

    def work(name: str, turns: int) -> None:
        for _ in range(turns):
            time.sleep(0.001)
            threads.let_others()
        done.append(name)

    async with trio.open_nursery() as nursery:
        for n in range(AT_ONCE):
            nursery.start_soon(threads.run, LONG_NS, work, f"long {n}", 1_000)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(3):
            await threads.run(LONG_NS, work, f"short {n}", 3)
    assert done[:3] == ["short 0", "short 1", "short 2"]
    assert sorted(done[3:]) == ["long 0", "long 1"]


async def test_work_that_is_cancelled_ends_with_its_turn() -> None:
    """And takes nobody's place."""
    threads, begun = Threads(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        while True:
            time.sleep(0.001)
            threads.let_others()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE + 1):
                nursery.start_soon(threads.run, LONG_NS, work)
            for _ in range(AT_ONCE + 1):
                await trio.to_thread.run_sync(begun.acquire)
            scope.cancel()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(2 * AT_ONCE):
                nursery.start_soon(threads.run, LONG_NS, threading.get_ident)


async def test_slow_rules_of_one_tenant_stall_no_other(kernel: None) -> None:
    """A second of one's evaluation: the other's batches are committed meanwhile, one by one."""
    store = FaultyStore()
    rows = 20_000
    async with engine(store) as gate:
        for text in SLOW:
            await gate.edit_rule(ONE, CreateRule(text)).wait()
        await gate.submit(TWO, batch()).wait()
        slow = gate.submit(
            ONE,
            Batch(
                names=(SeriesName("s", "t"),), idx=np.zeros(rows, np.int32),
                ts=np.arange(rows) * 40_000, value=np.linspace(0.0, 17.0, rows),
                row=np.arange(rows, dtype=np.int32), rejects=(), sent=rows,
            ),
        )  # fmt: skip
        for _ in range(20):
            await gate.submit(TWO, batch()).wait()
        assert not slow.settled
        assert (await slow.wait()).accepted == rows


async def test_slow_rules_of_as_many_tenants_as_there_are_threads(kernel: None) -> None:
    """Another one, whose batch is long too, does not wait until they have ended."""
    store, rows = FaultyStore(), 20_000
    others = [TenantNo(n) for n in range(10, 10 + AT_ONCE)]
    ts, row = np.arange(rows) * 40_000, np.arange(rows, dtype=np.int32)
    long = Batch(
        names=(SeriesName("s", "t"),), idx=np.zeros(rows, np.int32), ts=ts,
        value=np.linspace(0.0, 17.0, rows), row=row, rejects=(), sent=rows,
    )  # fmt: skip
    async with engine(store) as gate:
        for tenant_no in others:
            for text in SLOW:
                await gate.edit_rule(tenant_no, CreateRule(text)).wait()
            await gate.submit(tenant_no, batch()).wait()
        await gate.edit_rule(TWO, CreateRule("rule r on sensors when t > 100")).wait()
        await gate.submit(TWO, batch()).wait()
        slow = [gate.submit(tenant_no, long) for tenant_no in others]
        await trio.testing.wait_all_tasks_blocked()
        assert (await gate.submit(TWO, long).wait()).accepted == rows
        assert not any(receipt.settled for receipt in slow)
        for receipt in slow:
            assert (await receipt.wait()).accepted == rows


async def longest_turn(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, of: object, name: str, sent: Batch
) -> int:
    """How often something is called at most, while a batch is stored, from one turn of another
    task to its next: two turns of the actor may lie between.
    """
    called = longest = 0
    function = getattr(of, name)

    def counting(*args: object) -> object:
        nonlocal called
        called += 1
        return function(*args)

    async def compete() -> None:
        nonlocal called, longest
        while True:
            longest, called = max(longest, called), 0
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(of, name, counting)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(compete)
        await gate.submit(ONE, sent).wait()
        nursery.cancel_scope.cancel()
    return longest


def one_each(sensors: int) -> Batch:
    """A reading of each of so many sensors."""
    rows = np.arange(sensors, dtype=np.int32)
    return Batch(
        names=tuple(SeriesName(f"s{n}", "t") for n in range(sensors)), idx=rows,
        ts=np.full(sensors, next(_times)), value=np.zeros(sensors), row=rows, rejects=(),
        sent=sensors,
    )  # fmt: skip


@pytest.mark.parametrize(("rules", "most"), [(0, 620), (200, 32)])
async def test_others_are_served_while_sensors_are_added(
    monkeypatch: pytest.MonkeyPatch, rules: int, most: int
) -> None:
    """When they are new and when they are loaded: the more often, the more rules watch them."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(rules):
            await gate.edit_rule(ONE, CreateRule(f"rule r{n} on sensors when t > {n}")).wait()
        new = await longest_turn(gate, monkeypatch, TenantRules, "add_sensor", one_each(1_000))
        assert 1 <= new <= most
        assert len(store.tenant(ONE).sensors) == 1_000
    async with engine(store) as gate:
        loaded = await longest_turn(gate, monkeypatch, TenantRules, "add_sensor", batch())
        assert 1 <= loaded <= most


async def test_others_are_served_while_rules_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text takes a third of a millisecond, and a tenant may have a thousand."""
    store = FaultyStore()
    async with engine(store) as gate:
        for n in range(100):
            await gate.edit_rule(ONE, CreateRule(f"rule r{n} on sensors when t > {n}")).wait()
    async with engine(store) as gate:
        assert 1 <= await longest_turn(gate, monkeypatch, recover, "parse_rule", batch()) <= 32
