"""The engine's lifetime.

`open_engine` is the parent of every actor and of the flusher. Leaving it drains: the gate
refuses, inboxes run empty, actors end, the flusher makes its last commit; then nothing is left.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio

from atalaia.engine.broadcast import Broadcast
from atalaia.engine.clock import WallClock
from atalaia.engine.flush import Flusher
from atalaia.engine.gate import Gate
from atalaia.engine.group import Queue
from atalaia.engine.inbox import Budget
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import Listening
from atalaia.engine.messages import (
    Work,
)
from atalaia.engine.outage import Outage
from atalaia.engine.outcomes import Outcomes
from atalaia.engine.quota import Quotas
from atalaia.engine.threads import Threads
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.ports import EngineStore, Fenced, StoreRefused, StoreUnavailable

log = structlog.get_logger()

WORKS_AHEAD = 1_000  # judged items waiting for a commit; their readings count as unsettled
HOUSEKEEPING_S = 60.0
LAST_ANSWERS_S = 1.0  # for the faces to send them, when the lease is lost
RETRY_S = 5.0


@asynccontextmanager
async def open_engine(
    store: EngineStore, clock: WallClock, limits: EngineLimits, defaults: Quota = NO_QUOTA
) -> AsyncIterator[Gate]:
    """Run the flusher and the actors; leaving drains for at most `limits.drain_s`.

    defaults: the quota of tenants and keys without one of their own.

    A lost lease (Fenced) cancels the body and is raised, after whoever waits was told to send it
    again: the process must end.
    """
    send, receive = trio.open_memory_channel[Work](WORKS_AHEAD)
    async with trio.open_nursery() as nursery:
        listening = Listening(clock, clock.now_us())
        outage, outcomes = Outage(), Outcomes(store)
        broadcast = Broadcast()
        flusher = Flusher(
            store, outcomes, clock, limits, receive, Queue(limits), listening, outage, broadcast
        )
        budget = Budget(limits.total_rows)
        recoveries = trio.CapacityLimiter(limits.recoveries)
        gate = Gate(
            store, outcomes, clock, limits, nursery, send, budget, listening, recoveries, Threads(),
            outage, Quotas(defaults), broadcast,
        )  # fmt: skip
        flushed = trio.Event()

        async def flush() -> None:
            try:
                await flusher.run()
            except Fenced:
                log.error("lease_lost", advice="another process serves this database now")
                gate.close()
                with trio.move_on_after(LAST_ANSWERS_S):
                    await flusher.refuse()
                    await trio.sleep_forever()
                raise
            finally:
                flushed.set()

        nursery.start_soon(flush)
        nursery.start_soon(flusher.tally.run)
        nursery.start_soon(_look_for_waiting, gate)
        nursery.start_soon(_keep_house, gate, store, clock, limits)
        try:
            yield gate
        finally:
            with trio.move_on_after(limits.drain_s, shield=True) as drain:
                gate.close()
                await gate.emptied()
                await send.aclose()
                await flushed.wait()
            if drain.cancelled_caught:
                log.error("drain_cut_short", after_s=limits.drain_s)
            nursery.cancel_scope.cancel()


async def _look_for_waiting(gate: Gate) -> None:
    """At the start, every minute, and when an actor gave up, until the database answers again."""
    while True:
        until = trio.current_time() + HOUSEKEEPING_S
        try:
            await gate.wake_waiting()
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("waking_failed", error=str(error))
            until = trio.current_time()
        await trio.sleep(RETRY_S)
        with trio.move_on_at(until):
            await gate.lost()


async def _keep_house(
    gate: Gate, store: EngineStore, clock: WallClock, limits: EngineLimits
) -> None:
    while True:
        await trio.sleep(HOUSEKEEPING_S)
        try:
            gate.quotas.forget_full(trio.current_time())
            now = clock.now_us()
            await store.housekeep(now, limits.keep_groups_us, limits.oldest(now))
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("housekeeping_failed", error=str(error))
