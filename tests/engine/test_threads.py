"""Long computations run beside the event loop."""

import threading

import numpy as np
import trio

from atalaia.engine.messages import CreateRule
from atalaia.engine.threads import AT_ONCE, LONG_NS, Threads
from atalaia.model.batch import Batch, SeriesName
from tests.engine.store import FaultyStore
from tests.engine.test_engine import ONE, TWO, batch, engine

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
