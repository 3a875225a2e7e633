"""The register of sensors and series: its quota and its speed."""

import pytest
import trio

from atalaia.engine.clock import SystemClock
from atalaia.model.batch import SeriesName
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres
NOW = SystemClock().now_us()


async def test_a_quota_of_series_is_kept(stack: Stack) -> None:
    """Names beyond it are rejected row by row, the others stored."""
    await stack.sql("UPDATE tenants SET max_series = 2")
    answer = (await stack.send([row(START_MS, 1, sensor=f"s{n}") for n in range(4)])).json()
    assert answer["accepted"] == 2
    assert [r["code"] for r in answer["rejected"]] == ["too_many_series"] * 2


async def test_many_new_series_are_registered_in_time(stack: Stack) -> None:
    """Each body is larger than what the planner has seen; a nested loop would take minutes."""
    tenant = await stack.tenant_no()
    with trio.fail_after(15):
        for size in (1_000, 5_000, 25_000):
            names = [SeriesName(f"{size}-{n}", "t") for n in range(size)]
            for _ in range(2):
                sensors, rows = await stack.store.register(tenant, names, NOW)
                assert (len(sensors), len(rows)) == (size, size)
    assert [row.series_no for row in rows] == sorted(row.series_no for row in rows)
