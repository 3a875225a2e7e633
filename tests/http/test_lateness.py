"""Lateness over real sockets and a real Postgres: set, answered, flagged, kept over restarts."""

from random import Random
from typing import Any

import pytest

from atalaia.engine.limits import EngineLimits
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

RULE = "rule hot on sensors when avg(t, 10s) > 5 for 2s clear when avg(t, 10s) < 4"


async def set_lateness(stack: Stack, path: str, lateness: object) -> dict[str, Any]:
    response = await stack.client.patch(path, json={"lateness": lateness})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


async def counts(stack: Stack, rows: list[dict[str, Any]]) -> tuple[int, int, int]:
    """What was accepted, late among them, and known; all that was sent is in the account."""
    answer = (await stack.send(rows)).json()
    total = answer["accepted"] + answer["duplicates"] + answer["rejected_count"]
    assert total == len(rows)
    return answer["accepted"], answer["late"], answer["duplicates"]


def shown(alerts: list[dict[str, Any]], sensor: str) -> list[tuple[object, ...]]:
    return sorted(
        (a["opened_at"], a["opened_value"], a["cleared_at"], a["cleared_value"], a["severity"])
        for a in alerts
        if a["sensor"] == sensor
    )


async def test_lateness_is_set_for_all_sensors_and_for_one(stack: Stack) -> None:
    """The tenant's goes for sensors that have none of their own."""
    assert (await stack.client.get("/v1/settings")).json() == {"lateness": "0s"}
    await stack.send([row(START_MS, 1)])
    path = "/v1/sensors/s"
    assert (await stack.client.get(path)).json()["lateness"] is None
    assert await set_lateness(stack, "/v1/settings", "90s") == {"lateness": "1m30s"}
    assert (await stack.client.get("/v1/settings")).json() == {"lateness": "1m30s"}
    assert (await set_lateness(stack, path, "0s"))["lateness"] == "0s"
    (listed,) = (await stack.client.get("/v1/sensors")).json()["data"]
    assert listed["lateness"] == "0s"
    await stack.send([row(START_MS + 10_000, 1)])
    assert await counts(stack, [row(START_MS + 5_000, 1)]) == (1, 1, 0)
    assert (await set_lateness(stack, path, None))["lateness"] is None
    await stack.send([row(START_MS + 20_000, 1)])
    assert await counts(stack, [row(START_MS + 15_000, 1)]) == (1, 0, 0)
    missing = await stack.client.patch("/v1/sensors/none", json={"lateness": "1s"})
    assert missing.status_code == 404  # known from its first reading on, as the reference says
    await stack.send([row(START_MS, 1, sensor="none")])
    assert (await set_lateness(stack, "/v1/sensors/none", "1s"))["lateness"] == "1s"


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/settings", "required field missing"),
        ("/v1/sensors/s", "expected a field to change"),
    ],
)
async def test_a_body_that_changes_nothing_is_refused(stack: Stack, path: str, detail: str) -> None:
    """It says what was expected."""
    response = await stack.client.patch(path, json={})
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")
    assert [p["detail"] for p in response.json()["problems"]] == [detail]


@pytest.mark.parametrize("path", ["/v1/settings", "/v1/sensors/s"])
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {"lateness": "soon"},
            '"soon" is no duration; write one such as 500ms, 10s, 5m, 2h or 7d.',
        ),
        ({"lateness": "25h"}, "a lateness is 0s to 24h"),
        ({"lateness": 30}, 'expected a duration such as "30s"'),
    ],
)
async def test_a_bad_lateness_is_refused_in_words(
    stack: Stack, path: str, body: object, detail: str
) -> None:
    """With the place, and nothing is changed."""
    await stack.send([row(START_MS, 1)])
    response = await stack.client.patch(path, json=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")
    assert [p["detail"] for p in response.json()["problems"]] == [detail]
    assert (await stack.client.get("/v1/settings")).json() == {"lateness": "0s"}


async def test_a_tenant_has_a_lateness_and_null_is_none(stack: Stack) -> None:
    """Only a sensor can leave it to its tenant."""
    response = await stack.client.patch("/v1/settings", json={"lateness": None})
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")


async def test_whoever_may_not_administer_may_not_set_it(stack: Stack) -> None:
    """As tags: the scope admin; reading needs read."""
    await stack.send([row(START_MS, 1)])
    await stack.sql("UPDATE api_keys SET scopes = '{ingest}'")
    async with open_stack(stack.database_url, api_key=stack.api_key) as other:
        for path in ("/v1/settings", "/v1/sensors/s"):
            assert (await other.client.patch(path, json={"lateness": "1s"})).status_code == 403
            assert (await other.client.get(path)).status_code == 403


async def test_out_of_order_is_judged_in_order_and_beyond_it_is_late(stack: Stack) -> None:
    """Within the lateness neither late nor flagged; a repetition is known while it waits, too."""
    await stack.rule("rule jump on sensors when delta(t, 3s) > 4")
    await set_lateness(stack, "/v1/settings", "10s")
    at = START_MS
    await stack.send([row(at, 0), row(at + 4_000, 9)])
    assert await counts(stack, [row(at + 2_000, 1), row(at + 2_000, 7)]) == (1, 0, 1)
    assert await counts(stack, [row(at + 2_000, 3), row(at + 4_000, 3)]) == (0, 0, 2)
    assert await stack.alerts() == []
    assert await counts(stack, [row(at + 20_000, 0)]) == (1, 0, 0)
    assert await counts(stack, [row(at + 9_999, 99), row(at + 10_000, 0)]) == (2, 1, 0)
    assert await counts(stack, [row(at + 9_999, 98), row(at + 3_000, 98)]) == (1, 1, 1)
    assert await counts(stack, [row(at + 40_000, 0)]) == (1, 0, 0)
    (alert,) = await stack.alerts()
    assert alert["opened_value"] == 8.0  # from 1 at 2 s to 9 at 4 s
    late = await stack.sql("SELECT value FROM readings WHERE late ORDER BY ts")
    assert [found["value"] for found in late] == [98, 99]


async def test_what_waits_is_found_again_after_every_batch(database_url: str) -> None:
    """One life, and a life per batch with snapshots between: the same alerts, to the bit."""
    random = Random(3)
    rows = [
        row(START_MS + 1000 * n + 250 * (metric == "u"), random.choice([0, 4, 6, 9]), metric)
        for n in range(120)
        for metric in ("t", "u")
    ]
    rows.sort(key=lambda r: r["ts"] + random.choice([0, 0, 2_000, 5_000, 14_000]))
    batches = [rows[n : n + 13] for n in range(0, len(rows), 13)]
    batches += [batches[4]]

    def of(sensor: str, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [r | {"sensor": sensor} for r in batch]

    async with open_stack(database_url) as one:
        key, url = one.api_key, one.database_url
        await one.rule(RULE)
        await one.rule("rule pair on sensors when t > u and count(u, 9s) > 3 for 1s")
        await set_lateness(one, "/v1/settings", "5s")
        whole = [await counts(one, of("whole", batch)) for batch in batches]
    parts = []
    for batch in batches:
        limits = EngineLimits(snapshot_every=3)
        async with open_stack(url, api_key=key, limits=limits) as life:
            parts.append(await counts(life, of("cut", batch)))
    assert parts == whole
    assert sum(late for _, late, _ in whole) > 5
    async with open_stack(url, api_key=key) as last:
        alerts = await last.alerts()
        assert len(shown(alerts, "whole")) > 5
        assert shown(alerts, "whole") == shown(alerts, "cut")
        stored = {
            sensor: await last.sql(
                "SELECT metric, ts, value, late FROM readings JOIN series USING (series_id)"
                " JOIN sensors USING (sensor_id) WHERE name = $1 ORDER BY metric, ts",
                sensor,
            )
            for sensor in ("whole", "cut")
        }
        assert stored["whole"] == stored["cut"]
        # A change lets out what waits, and whatever came in order would have said the same.
        await set_lateness(last, "/v1/settings", "0s")
        alerts = await last.alerts()
        assert shown(alerts, "whole") == shown(alerts, "cut")
        states = await last.sql("SELECT length(judged) AS n FROM tenant_state ORDER BY received_at")
        assert states[-1]["n"] == 0
        assert max(state["n"] for state in states) > 0


async def test_a_tenant_without_lateness_stores_nothing_more(stack: Stack) -> None:
    """The new column stays empty."""
    await stack.send([row(START_MS, 1), row(START_MS + 1, 2)])
    await stack.send([row(START_MS, 1), row(START_MS + 9, 2)])
    states = await stack.sql("SELECT judged FROM tenant_state")
    assert [state["judged"] for state in states] == [b"", b""]


async def test_the_lateness_is_committed_by_the_writer_alone(stack: Stack) -> None:
    """As tags are: with the readings that it lets out."""
    rights = await stack.sql(
        "SELECT grantee, table_name FROM information_schema.column_privileges"
        " WHERE column_name = 'lateness_us' AND privilege_type = 'UPDATE'"
        " AND grantee IN ('atalaia_app', 'atalaia_writer') ORDER BY table_name"
    )
    assert [(r["grantee"], r["table_name"]) for r in rights] == [
        ("atalaia_writer", "sensors"), ("atalaia_writer", "tenants"),
    ]  # fmt: skip
