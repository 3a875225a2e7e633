"""The task that keeps rollups right, beside everything else and never before it.

A step takes a moment of one core, and then as long a rest: whatever is behind catches up slowly,
and a question about it reads the readings themselves meanwhile.
"""

from contextlib import AbstractAsyncContextManager

import structlog
import trio

from atalaia.engine.beside import beside
from atalaia.engine.clock import WallClock
from atalaia.ports import Rollups, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import EXPIRED, ROLLED_UP

log = structlog.get_logger()

LOOK_S = 20.0
TURN_STEPS = 50  # of one tenant, while others wait


def rolling_up(
    rollups: Rollups, clock: WallClock, keep_us: int | None
) -> AbstractAsyncContextManager[None]:
    """Roll up while inside. keep_us: how long cells are kept; None: for ever."""
    return beside(run_rollups, rollups, clock, keep_us)


async def run_rollups(rollups: Rollups, clock: WallClock, keep_us: int | None) -> None:
    """Look for what is due, again and again, for ever. What fails is tried at the next look."""
    while True:
        try:
            await roll_up(rollups, clock, keep_us)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("rollups_failed", error=str(error))
        await trio.sleep(LOOK_S)


async def roll_up(rollups: Rollups, clock: WallClock, keep_us: int | None) -> None:
    """Do all that is due, the tenants in turns."""
    waiting = list(await rollups.due())
    keep_since = 0 if keep_us is None else clock.now_us() - keep_us
    while waiting:
        left = []
        for tenant_no in waiting:
            packs, deleted, steps, more = 0, 0, 0, True
            while more and steps < TURN_STEPS:
                began = trio.current_time()
                step = await rollups.step(tenant_no, keep_since)
                packs, deleted = packs + step.packs, deleted + step.deleted
                steps, more = steps + 1, step.more
                ROLLED_UP.inc(step.packs)
                EXPIRED.inc(step.deleted)
                await trio.sleep(trio.current_time() - began)
            log.debug(
                "rolled_up", tenant_no=tenant_no, packs=packs, readings_deleted=deleted, steps=steps
            )
            if more:
                left.append(tenant_no)
        waiting = left
