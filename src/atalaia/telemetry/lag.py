"""How late the event loop is: whatever holds it holds up every tenant."""

import structlog
import trio

from atalaia.telemetry.metrics import LOOP_LAG_SECONDS

log = structlog.get_logger()

LOOK_S = 0.1
STALL_S = 0.5  # then a line in the log


async def watch_loop(shutdown: trio.Event) -> None:
    """Measure until the end how much later than asked for this task goes on."""
    while True:
        due = trio.current_time() + LOOK_S
        with trio.move_on_at(due):
            await shutdown.wait()
            return
        lag_s = trio.current_time() - due
        LOOP_LAG_SECONDS.observe(lag_s)
        if lag_s > STALL_S:
            log.warning("event_loop_stalled", lag_ms=round(1e3 * lag_s))
