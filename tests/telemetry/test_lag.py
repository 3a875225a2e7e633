"""Whatever holds the event loop is seen."""

import time

import trio
from structlog.testing import capture_logs

from atalaia.telemetry.lag import STALL_S, watch_loop
from atalaia.telemetry.metrics import LOOP_LAG_SECONDS


def _seen(name: str) -> float:
    (metric,) = LOOP_LAG_SECONDS.collect()
    return sum(sample.value for sample in metric.samples if sample.name.endswith(name))


async def test_a_stall_is_measured_and_said() -> None:
    """And nothing is said of a loop that turns."""
    shutdown, before = trio.Event(), _seen("_sum")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_loop, shutdown)
            await trio.sleep(0.25)
            quiet = len(logs)
            time.sleep(2 * STALL_S)  # noqa: ASYNC251 - the fault
            await trio.testing.wait_all_tasks_blocked()
            shutdown.set()
    stalls = [line for line in logs[quiet:] if line["event"] == "event_loop_stalled"]
    assert len(stalls) == 1
    assert stalls[0]["lag_ms"] >= 1e3 * STALL_S
    assert _seen("_sum") - before >= STALL_S
