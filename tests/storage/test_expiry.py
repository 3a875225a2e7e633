"""A tenant's own retention: its old readings go, in bounded steps, and nothing else does."""

from typing import Any

import pytest

from atalaia.engine.clock import SystemClock
from atalaia.model.ids import DAY_US, TenantNo
from atalaia.ports import StoreRefused
from atalaia.storage import expiry
from atalaia.storage.rolling import PostgresRollups
from tests.stack import Stack, make_tenant, row
from tests.storage.test_postgres import as_tenant
from tests.storage.test_rollups import HOUR_MS, NOW, TODAY_MS, roll, send

pytestmark = pytest.mark.postgres
DAY_MS = 24 * HOUR_MS


async def fill(stack: Stack, days: int, **headers: str) -> None:
    """A reading every three hours, of two sensors, up to now."""
    rows = [
        row(at, at % 1000, sensor=sensor)
        for sensor in ("a", "b")
        for at in range(TODAY_MS - days * DAY_MS, NOW // 1000 - 1000, 3 * HOUR_MS)
    ]
    await send(stack, rows)


async def keep(stack: Stack, days: int | None) -> None:
    response = await stack.client.put("/v1/settings/retention", json={"days": days})
    assert response.status_code == 200, response.text
    assert response.json() == {"days": days}
    assert (await stack.client.get("/v1/settings/retention")).json() == {"days": days}


async def oldest_days(stack: Stack) -> list[int]:
    """How many days ago each day lies that has readings, by what is stored."""
    rows = await stack.sql(
        "SELECT DISTINCT extract(epoch FROM date_trunc('day', ts AT TIME ZONE 'UTC'))::int8 AS day"
        " FROM readings ORDER BY day"
    )
    return [(TODAY_MS // 1000 - r["day"]) // 86_400 for r in rows]


async def days_of_rollups(stack: Stack, name: str = "a") -> list[int]:
    path = f"/v1/sensors/{name}/readings?metric=t&bucket=1d&agg=count"
    response = await stack.client.get(f"{path}&from={TODAY_MS - 20 * DAY_MS}")
    return response.json()["data"][0]["count"]  # type: ignore[no-any-return]


async def test_old_readings_go_and_their_sums_stay(stack: Stack) -> None:
    """By whole days that lie before the retention; aggregates are those of before."""
    await fill(stack, 12)
    before = await days_of_rollups(stack)
    await roll(stack)
    await keep(stack, 5)
    await roll(stack)
    assert await oldest_days(stack) == [5, 4, 3, 2, 1, 0]
    assert await days_of_rollups(stack) == before
    assert len(before) == 13


async def test_steps_are_bounded(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and few series at a time, until all are gone."""
    monkeypatch.setattr(expiry, "STEP_ROWS", 3)
    monkeypatch.setattr(expiry, "STEP_SERIES", 1)
    await fill(stack, 9)
    await roll(stack)
    await keep(stack, 5)
    rollups, tenant = PostgresRollups(stack.database), await stack.tenant_no()
    counts = []
    more = True
    while more:
        step = await rollups.step(tenant, 0)
        more = step.more
        counts.append(step.deleted)
    assert max(counts) == 3
    assert sum(counts) == 4 * 8 * 2
    assert await oldest_days(stack) == [5, 4, 3, 2, 1, 0]


async def test_what_comes_for_deleted_days_goes_and_changes_no_sum(stack: Stack) -> None:
    """A reading from before the retention does not make an hour of what is left of it."""
    await fill(stack, 12)
    await keep(stack, 5)
    await roll(stack)
    before = await days_of_rollups(stack)
    await send(stack, [row(TODAY_MS - 9 * DAY_MS + 60_000 * n, 1e9, sensor="a") for n in range(5)])
    assert await days_of_rollups(stack) == before
    await roll(stack)
    assert await days_of_rollups(stack) == before
    assert await oldest_days(stack) == [5, 4, 3, 2, 1, 0]


async def test_another_tenants_readings_stay(stack: Stack) -> None:
    """Whatever the one wants, in the same days."""
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    key, stack.client.headers["X-API-Key"] = stack.client.headers["X-API-Key"], other
    await fill(stack, 9)
    stack.client.headers["X-API-Key"] = key
    await fill(stack, 9)
    await keep(stack, 1)
    await roll(stack)
    left = await stack.sql(
        "SELECT tenant_id, count(*) AS n FROM readings GROUP BY tenant_id ORDER BY n"
    )
    assert [r["n"] > 9 * 16 for r in left] == [False, True]


async def test_the_application_can_delete_nothing_else(stack: Stack) -> None:
    """Not what its retention covers, not without one, and no reading of another tenant."""
    await fill(stack, 9)
    tenant = await stack.tenant_no()
    (stored,) = await stack.sql("SELECT count(*) AS n FROM readings")
    everything = (
        "SELECT delete_expired(ARRAY(SELECT series_id FROM series), '1970-01-01', {until}, 100000)"
    )

    async def try_until(until: str) -> int:
        await as_tenant(stack, tenant, everything.format(until=until))
        (left,) = await stack.sql("SELECT count(*) AS n FROM readings")
        return int(stored["n"]) - int(left["n"])

    assert await try_until("now() - interval '8 days'") == 0
    await keep(stack, 7)
    assert await try_until("now() - interval '6 days'") == 0
    with pytest.raises(StoreRefused, match="42501"):
        await as_tenant(stack, tenant, "DELETE FROM readings")
    assert await try_until("now() - interval '8 days'") > 0


async def test_no_series_of_another_tenant_is_deleted(stack: Stack) -> None:
    """Though its number is given, and it is old enough."""
    await fill(stack, 9)
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    headers = {"X-API-Key": key}
    done = await stack.client.put("/v1/settings/retention", json={"days": 1}, headers=headers)
    assert done.status_code == 200
    other = TenantNo(await stack.tenant_no() + 1)
    numbers = await stack.sql("SELECT array_agg(series_id) AS all FROM series")
    before = await stack.sql("SELECT count(*) AS n FROM readings")
    deleted = await as_tenant(
        stack,
        other,
        f"SELECT delete_expired('{{{','.join(map(str, numbers[0]['all']))}}}', '1970-01-01',"
        " now() - interval '2 days', 100000)",
    )
    assert deleted == 0
    assert await stack.sql("SELECT count(*) AS n FROM readings") == before


async def test_a_clock_that_leaps_forward_deletes_nothing(stack: Stack) -> None:
    """What the newest arrival says is not enough: the database's clock must say so too."""
    await fill(stack, 9)
    await roll(stack)
    await keep(stack, 5)
    before = await oldest_days(stack)
    await stack.sql("UPDATE tenant_state SET received_at = received_at + $1", 3 * DAY_US)
    await stack.sql("UPDATE rollup_marks SET until = until + interval '3 days'")
    await roll(stack)
    assert await oldest_days(stack) == [day for day in before if day <= 5]


async def test_without_a_retention_everything_stays(stack: Stack) -> None:
    """And again once it is taken back."""
    await fill(stack, 9)
    await roll(stack)
    assert len(await oldest_days(stack)) == 10
    await keep(stack, 5)
    await keep(stack, None)
    await roll(stack)
    assert len(await oldest_days(stack)) == 10


@pytest.mark.parametrize("body", [{}, {"days": 0}, {"days": 1.5}, {"days": "5"}, {"days": 10**6}])
async def test_a_bad_retention_is_refused(stack: Stack, body: dict[str, Any]) -> None:
    """With what it may be."""
    response = await stack.client.put("/v1/settings/retention", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")
    assert SystemClock().now_us() > NOW
