"""Units over HTTP: said per metric, checked at every way to save a rule."""

import httpx
import pytest

from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres

HOT = "rule hot on sensors when avg(temperature, 5m) > 30 °C"


async def say(stack: Stack, metric: str, unit: str) -> None:
    response = await stack.client.put(f"/v1/metrics/{metric}", json={"unit": unit})
    assert response.status_code == 200, response.text


async def test_units_are_said_listed_and_deleted(stack: Stack) -> None:
    """By metric, whatever stands in its name; the last word counts."""
    response = await stack.client.put("/v1/metrics/flow/RMS", json={"unit": "m³/h"})
    assert response.json() == {"metric": "flow/RMS", "unit": "m³/h", "known": True}
    response = await stack.client.put("/v1/metrics/turbidity", json={"unit": "FNU"})
    assert response.json()["known"] is False
    await say(stack, "turbidity", "NTU")
    await say(stack, "a", "%")
    listed = (await stack.client.get("/v1/metrics?limit=2")).json()
    assert listed["data"] == [
        {"metric": "a", "unit": "%"}, {"metric": "flow/RMS", "unit": "m³/h"},
    ]  # fmt: skip
    more = (await stack.client.get(f"/v1/metrics?cursor={listed['next_cursor']}")).json()
    assert more == {"data": [{"metric": "turbidity", "unit": "NTU"}], "next_cursor": None}
    assert (await stack.client.delete("/v1/metrics/flow/RMS")).status_code == 204
    assert (await stack.client.delete("/v1/metrics/flow/RMS")).status_code == 404
    assert (await stack.client.delete("/v1/metrics/a%20b")).status_code == 404
    assert len((await stack.client.get("/v1/metrics")).json()["data"]) == 2


@pytest.mark.parametrize(
    ("metric", "body", "status", "code"),
    [
        ("t", {"unit": ""}, 400, "bad_body"),
        ("t", {"unit": "x" * 33}, 400, "bad_body"),
        ("t", {"unit": 'a"b'}, 400, "bad_body"),
        ("t", {"unit": "a\nb"}, 400, "bad_body"),
        ("t", {"unit": " °C"}, 400, "bad_body"),
        ("t", {"unit": 7}, 400, "bad_body"),
        ("t", {}, 400, "bad_body"),
        ("a b", {"unit": "m"}, 400, "bad_metric"),
        ("x" * 65, {"unit": "m"}, 400, "bad_metric"),
    ],
)
async def test_bad_units_are_named(
    stack: Stack, metric: str, body: dict[str, object], status: int, code: str
) -> None:
    """As elsewhere; nothing is kept."""
    response = await stack.client.put(f"/v1/metrics/{metric}", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (await stack.client.get("/v1/metrics")).json()["data"] == []


async def test_every_way_to_save_a_rule_checks_its_units(stack: Stack) -> None:
    """Create, replace, check and import; with the place, both units and the number to write."""
    made = await stack.rule(HOT)
    assert [lint["code"] for lint in made["lints"]] == ["unit_unknown", "no_sensors"][::-1]
    await say(stack, "temperature", "°C")
    wrong = HOT.replace("30 °C", "86 °F")
    file = f"rules:\n- text: |\n    {wrong}\n"
    detail = "temperature is measured in °C; write 30 °C for 86 °F."
    for answer in (
        await stack.client.post("/v1/rules", json={"text": wrong}),
        await stack.client.put(f"/v1/rules/{made['id']}", json={"text": wrong}),
        await stack.client.post("/v1/rules/check", json={"text": wrong}),
    ):
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "invalid_rule")
        assert (problem["line"], problem["column"], problem["detail"]) == (1, 49, detail)
        assert problem["caret"] == f"{wrong}\n{' ' * 48}^"
    for query in ("", "?dry_run=true"):
        answer = await stack.client.post(f"/v1/rules:import{query}", content=file)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rule_file")
        assert answer.json()["problems"] == [
            {"rule": "hot", "line": 3, "column": 53, "detail": detail}
        ]
    right = await stack.client.put(f"/v1/rules/{made['id']}", json={"text": HOT + " for 0s"})
    assert "unit_unknown" not in [lint["code"] for lint in right.json()["lints"]]


async def test_rules_that_stand_are_left_alone(stack: Stack) -> None:
    """What is said of units later changes nothing of them, and their file can still be sent."""
    await stack.send([row(START_MS, 25.0, metric="temperature")])
    made = await stack.rule(HOT)
    await say(stack, "temperature", "°F")
    await stack.send([row(START_MS + 1_000, 50.0, metric="temperature")])
    (alert,) = await stack.alerts()
    assert (alert["rule"]["version"], alert["opened_value"]) == (1, 37.5)
    exported = (await stack.client.get("/v1/rules:export")).text
    again = await stack.client.post("/v1/rules:import", content=exported)
    assert [change["action"] for change in again.json()["changes"]] == ["unchanged"]
    for switch in ("disable", "enable"):
        answer = await stack.client.post(f"/v1/rules/{made['id']}/{switch}")
        assert answer.status_code == 200


async def test_a_unit_that_is_added_closes_no_alert(stack: Stack) -> None:
    """It is not what is judged."""
    made = await stack.rule(HOT.replace(" °C", ""))
    await stack.send([row(START_MS, 35.0, metric="temperature")])
    answer = (await stack.client.put(f"/v1/rules/{made['id']}", json={"text": HOT})).json()
    assert (answer["version"], answer["revision"]) == (1, 2)
    assert len(await stack.alerts("&state=open")) == 1


async def test_units_are_each_tenants_own(stack: Stack) -> None:
    """Nobody sees another's, and keys need their scopes."""
    await say(stack, "temperature", "°F")
    headers = {"X-API-Key": await make_tenant(stack.bridge, stack.database_url, "other")}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as other:
        assert (await other.get("/v1/metrics")).json()["data"] == []
        assert (await other.delete("/v1/metrics/temperature")).status_code == 404
        assert (await other.post("/v1/rules", json={"text": HOT})).status_code == 201
    headers = {"X-API-Key": await make_tenant(stack.bridge, stack.database_url, "reader")}
    await stack.sql("UPDATE api_keys SET scopes = '{read}'")
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as other:
        assert (await other.put("/v1/metrics/t", json={"unit": "m"})).status_code == 403


async def test_units_are_bounded(stack: Stack) -> None:
    """One more is refused; the others can still be changed."""
    await stack.sql(
        "INSERT INTO metrics SELECT tenant_id, 'm' || n, 's'"
        " FROM tenants, generate_series(1, 10000) n"
    )
    response = await stack.client.put("/v1/metrics/one-more", json={"unit": "m"})
    assert (response.status_code, response.json()["code"]) == (409, "too_many_units")
    await say(stack, "m7", "bar")
