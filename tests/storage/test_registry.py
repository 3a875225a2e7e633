"""The register of sensors and series: its quota and its speed."""

import pytest
import trio

from atalaia.engine.clock import SystemClock
from atalaia.model.audit import THE_SERVICE, AuditEntry
from atalaia.model.batch import SeriesName
from atalaia.model.condition import ANY, Condition
from atalaia.model.errors import PreconditionFailed
from atalaia.model.views import Profile
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


async def test_of_two_who_have_seen_the_same_profile_one_saves_it(stack: Stack) -> None:
    """Or makes it, or deletes it: of eight at once, in the database itself."""
    tenant, audit = await stack.tenant_no(), AuditEntry(THE_SERVICE, "profile.saved", "p")
    done: list[int] = []

    async def save(n: int, only: Condition) -> None:
        profile = Profile("p", f"{n}")
        try:
            if n % 4 or only.match is None:
                await stack.queries.save_profile(tenant, profile, NOW, audit, only)
            else:
                await stack.queries.drop_profile(tenant, "p", audit, only)
            done.append(n)
        except PreconditionFailed:
            pass

    only = Condition(none_match=frozenset({ANY}))
    for turn in range(6):
        async with trio.open_nursery() as nursery:
            for n in range(8):
                nursery.start_soon(save, 10 * turn + n, only)
        assert len(done) == turn + 1
        known = await stack.queries.profile(tenant, "p")
        if known is None:
            only = Condition(none_match=frozenset({ANY}))
        else:
            assert known.description == f"{done[-1]}"
            only = Condition(match=frozenset({known.tag}))
