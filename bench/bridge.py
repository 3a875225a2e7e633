"""What crossing between trio and asyncio costs.

    .venv/bin/python bench/bridge.py [--quick] [--json FILE]

Three figures: one call of a coroutine that does nothing; calls per second from 32 trio tasks at
once; and how late a trio task wakes from a 1 ms sleep while the asyncio side encodes and sends a
COPY of 100,000 rows, compared with when it does not.

JSON keys: `headline` {call_p50_us, calls_per_s_32, wake_late_p99_ms_idle, wake_late_p99_ms_copy}.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from io import BytesIO
from pathlib import Path

import asyncpg
import numpy as np
import trio

from atalaia.bridge import Bridge, open_bridge
from atalaia.storage.binary import encode_readings
from atalaia.storage.cluster import locate
from atalaia.storage.database import prepare_aio
from atalaia.storage.embedded import start, stop

ROWS = 100_000


async def nothing() -> None:
    return


async def one_caller(bridge: Bridge, calls: int) -> float:
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        await bridge.call(nothing)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def many_callers(bridge: Bridge, calls: int) -> float:
    async def caller() -> None:
        for _ in range(calls // 32):
            await bridge.call(nothing)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(32):
            nursery.start_soon(caller)
    return calls / (time.perf_counter() - began)


async def copy_aio(url: str, times: int) -> None:
    """As a commit does it: encode the columns, then COPY."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE UNLOGGED TABLE IF NOT EXISTS bench (LIKE readings)")
    for _ in range(times):
        n = np.arange(ROWS)
        stream = encode_readings(
            n.astype(np.int32), n.astype(np.int32), n.astype(np.int64), n.astype(np.float64),
            n.astype(np.int64),
        )  # fmt: skip
        await connection.copy_to_table("bench", source=BytesIO(stream), format="binary")
        await connection.execute("TRUNCATE bench")
    await connection.close()


async def lateness_ms(bridge: Bridge, url: str, copies: int) -> float:
    """The 99th percentile of how much later than asked a 1 ms sleep ends."""
    late: list[float] = []

    async def watch(done: trio.Event) -> None:
        while not done.is_set():
            began = time.perf_counter()
            await trio.sleep(0.001)
            late.append(1000 * (time.perf_counter() - began) - 1)

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, done)
        if copies:
            await bridge.call(copy_aio, url, copies)
        else:
            await trio.sleep(2)
        done.set()
    return sorted(late)[int(0.99 * len(late))]


async def measure(url: str, quick: bool) -> dict[str, float]:
    calls = 2_000 if quick else 20_000
    async with open_bridge() as bridge:
        await bridge.call(prepare_aio, url)
        await one_caller(bridge, 500)
        return {
            "call_p50_us": await one_caller(bridge, calls),
            "calls_per_s_32": await many_callers(bridge, calls),
            "wake_late_p99_ms_idle": await lateness_ms(bridge, url, 0),
            "wake_late_p99_ms_copy": await lateness_ms(bridge, url, 5 if quick else 30),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="atl-bench-"))
    directory.chmod(0o755)
    cluster = locate(directory)
    start(cluster)
    try:
        figures = trio.run(measure, cluster.url(), options.quick)
    finally:
        stop(cluster)
        shutil.rmtree(directory)
    for name, figure in figures.items():
        print(f"{name:>24} {figure:>12,.2f}")
    if options.json:
        options.json.write_text(json.dumps({"headline": figures}, indent=2))


if __name__ == "__main__":
    main()
