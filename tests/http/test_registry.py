"""Sensors before their readings, what is known of them, their end, groups and profiles."""

from typing import Any

import pytest
import trio

from tests.stack import NOW_MS, START_MS, Stack, row

HOT = 'rule hot on sensors where type = "boiler" when last(t, 5m) > 30'


async def create(stack: Stack, name: str, **more: object) -> dict[str, Any]:
    response = await stack.client.post("/v1/sensors", json={"name": name} | more)
    assert response.status_code == 201, response.text
    return response.json()  # type: ignore[no-any-return]


async def names(stack: Stack, query: str = "") -> list[str]:
    response = await stack.client.get(f"/v1/sensors?{query}")
    assert response.status_code == 200, response.text
    return [sensor["name"] for sensor in response.json()["data"]]


async def test_a_sensor_is_there_before_its_first_reading(stack: Stack) -> None:
    """With all that is known of it; its first reading is judged by the rules of its tags."""
    await stack.rule(HOT)
    made = await create(
        stack, "b1", tags={"type": "boiler"}, expected_interval="10s", place="boiler house",
        location={"latitude": -23.55, "longitude": -46.63}, lateness="30s",
    )  # fmt: skip
    assert made["status"] == "never"
    shown = (await stack.client.get("/v1/sensors/b1")).json()
    assert shown == made
    assert (shown["tags"], shown["metrics"], shown["last_seen"]) == ({"type": "boiler"}, [], None)
    assert (shown["expected_interval"], shown["place"]) == ("10s", "boiler house")
    assert shown["location"] == {"latitude": -23.55, "longitude": -46.63}
    assert shown["lateness"] == "30s"
    assert (await stack.client.patch("/v1/sensors/b1", json={"lateness": None})).status_code == 200
    assert (await stack.send([row(START_MS, 31, sensor="b1")])).status_code == 200
    assert [alert["sensor"] for alert in await stack.alerts()] == ["b1"]
    assert await names(stack) == ["b1"]


async def test_a_sensor_that_never_sends_is_silent(stack: Stack) -> None:
    """From when it was made known."""
    await stack.rule("rule quiet on sensors when no data for 1s")
    await create(stack, "b1")
    for _ in range(100):
        alerts = await stack.alerts()
        if alerts:
            break
        await trio.sleep(0.1)
    assert [(alert["sensor"], alert["rule"]["name"]) for alert in alerts] == [("b1", "quiet")]


async def test_a_name_is_taken_once(stack: Stack) -> None:
    """By a sensor that was made or that has sent; what was there stays as it was."""
    await create(stack, "b1", tags={"k": "v"})
    await stack.send([row(START_MS, 1, sensor="b2")])
    for name in ("b1", "b2"):
        response = await stack.client.post("/v1/sensors", json={"name": name, "place": "x"})
        assert (response.status_code, response.json()["code"]) == (409, "name_taken")
    shown = (await stack.client.get("/v1/sensors/b1")).json()
    assert (shown["tags"], shown["place"]) == ({"k": "v"}, None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "a b"}, "1 to 128"),
        ({"name": "a", "location": {"latitude": 91, "longitude": 0}}, "-90 to 90"),
        ({"name": "a", "location": {"latitude": 1}}, "latitude and longitude"),
        ({"name": "a", "location": {"latitude": True, "longitude": 0}}, "expected a number"),
        ({"name": "a", "expected_interval": "0s"}, "more than 0s"),
        ({"name": "a", "expected_interval": 10}, "a duration"),
        ({"name": "a", "place": ""}, "1 to 256"),
        ({"name": "a", "place": "\0"}, "no NUL"),
        ({"name": "a", "tags": {"": "x"}}, "1 to 128"),
        ({"name": "a", "colour": "red"}, "colour"),
        ({"tags": {}}, "name"),
    ],
)
async def test_what_is_wrong_is_named(stack: Stack, body: object, said: str) -> None:
    """And nothing is made."""
    response = await stack.client.post("/v1/sensors", json=body)
    assert response.status_code == 400, response.text
    assert said in response.json()["detail"]
    assert await names(stack) == []


async def test_what_is_known_changes_field_by_field(stack: Stack) -> None:
    """null takes away; what is not sent stays."""
    await create(stack, "b1", place="here", location={"latitude": 1, "longitude": 2})

    async def change(**body: object) -> dict[str, Any]:
        response = await stack.client.patch("/v1/sensors/b1", json=body)
        assert response.status_code == 200, response.text
        return response.json()  # type: ignore[no-any-return]

    shown = await change(expected_interval="1m")
    assert (shown["expected_interval"], shown["place"]) == ("1m", "here")
    shown = await change(place=None, lateness="5s")
    assert (shown["expected_interval"], shown["place"], shown["lateness"]) == ("1m", None, "5s")
    shown = await change(location=None)
    assert (shown["location"], shown["expected_interval"]) == (None, "1m")
    assert (await stack.client.patch("/v1/sensors/b1", json={})).status_code == 400
    assert (await stack.client.patch("/v1/sensors/nobody", json={"place": "x"})).status_code == 404


async def test_a_status_is_told_by_the_expected_interval(stack: Stack) -> None:
    """Its own, or its profile's; without any there is none once it was heard of."""
    body = {"expected_interval": "1h"}
    assert (await stack.client.put("/v1/profiles/hourly", json=body)).status_code == 200
    await stack.send([row(NOW_MS - 2 * 3_600_000, 1, sensor=f"s{n}") for n in range(3)])
    await stack.client.patch("/v1/sensors/s0", json={"expected_interval": "1s"})
    await stack.client.put("/v1/sensors/s1/tags", json={"tags": {"profile": "hourly"}})
    shown = (await stack.client.get("/v1/sensors")).json()["data"]
    assert [sensor["status"] for sensor in shown] == ["overdue", "active", None]
    assert [sensor["expected_interval"] for sensor in shown] == ["1s", "1h", None]


async def test_a_deleted_sensor_keeps_its_history_and_frees_its_name(stack: Stack) -> None:
    """Its alerts are closed as of its end; who sends under its name again is another."""
    await stack.rule("rule hot on sensors when last(t, 5m) > 30")
    await stack.rule("rule cold on sensors when last(t, 5m) < 30")
    await stack.send([row(START_MS, 31, sensor="b1"), row(START_MS, 1, sensor="b2")])
    before = (await stack.client.get("/v1/sensors/b1")).json()
    assert (await stack.client.delete("/v1/sensors/b1")).status_code == 204
    assert (await stack.client.delete("/v1/sensors/b1")).status_code == 404
    assert (await stack.client.get("/v1/sensors/b1")).status_code == 404
    assert await names(stack) == ["b2"]
    alerts = {alert["sensor"]: alert for alert in await stack.alerts()}
    assert (alerts["b1"]["state"], alerts["b1"]["clear_reason"]) == ("cleared", "sensor_deleted")
    assert alerts["b2"]["state"] == "open"
    rows = await stack.sql("SELECT count(*) FROM readings")
    assert rows[0]["count"] == 2
    assert (await stack.send([row(START_MS, 40, sensor="b1")])).json()["accepted"] == 1
    again = (await stack.client.get("/v1/sensors/b1")).json()
    assert again["id"] != before["id"]
    assert [alert["state"] for alert in await stack.alerts("&sensor=b1")].count("open") == 1


async def test_deleted_sensors_are_no_part_of_the_quota(stack: Stack) -> None:
    """Neither they nor their series."""
    await stack.sql("UPDATE tenants SET max_series = 2")
    await stack.send([row(START_MS, 1, "t", "a"), row(START_MS, 1, "u", "a")])
    full = await stack.send([row(START_MS, 1, sensor="b")])
    assert full.json()["rejected"][0]["code"] == "too_many_series"
    await create(stack, "c")
    response = await stack.client.post("/v1/sensors", json={"name": "d"})
    assert (response.status_code, response.json()["code"]) == (409, "too_many_sensors")
    assert (await stack.client.delete("/v1/sensors/a")).status_code == 204
    await create(stack, "d")
    assert (await stack.send([row(START_MS, 1, sensor="d")])).json()["accepted"] == 1


async def test_groups_are_tags(stack: Stack) -> None:
    """A rule watches them, a list is narrowed to them."""
    for name, group in [("p1", "pumps"), ("p2", "pumps"), ("f1", "fans")]:
        await create(stack, name, tags={"group": group})
    await create(stack, "x")
    shown = (await stack.client.get("/v1/groups")).json()["data"]
    assert shown == [{"name": "fans", "sensors": 1}, {"name": "pumps", "sensors": 2}]
    assert await names(stack, "group=pumps") == ["p1", "p2"]
    assert await names(stack, "group=nobody") == []
    await stack.client.delete("/v1/sensors/f1")
    shown = (await stack.client.get("/v1/groups")).json()["data"]
    assert shown == [{"name": "pumps", "sensors": 2}]


BOILERS = """
rule "boiler-hot" on sensors where profile = "boiler" when last(t, 5m) > 30
rule "boiler-silent" on sensors where profile = "boiler" when no data for 10m
"""


async def rules(stack: Stack) -> dict[str, bool]:
    return {r["name"]: r["enabled"] for r in (await stack.client.get("/v1/rules")).json()["data"]}


async def test_a_profile_brings_its_rules(stack: Stack) -> None:
    """They judge the sensors with its tag, change with it and go with it."""
    await stack.rule("rule other on sensors when last(t, 5m) > 99")
    url = "/v1/profiles/boiler"
    made = (await stack.client.put(url, json={"description": "Caldeiras", "rules": BOILERS})).json()
    assert (made["name"], made["description"], made["rules"]) == ("boiler", "Caldeiras", BOILERS)
    assert (await stack.client.get(url)).json() | {"lints": made["lints"]} == made
    await create(stack, "b1", tags={"profile": "boiler"})
    await stack.send([row(START_MS, 31, sensor="b1"), row(START_MS, 31, sensor="b2")])
    assert [alert["sensor"] for alert in await stack.alerts()] == ["b1"]
    disabled = next(
        r for r in (await stack.client.get("/v1/rules")).json()["data"] if "silent" in r["name"]
    )
    await stack.client.post(f"/v1/rules/{disabled['id']}/disable")
    cooler = BOILERS.replace("> 30", "> 35").replace("boiler-hot", "boiler-warm")
    assert (await stack.client.put(url, json={"rules": cooler})).status_code == 200
    assert await rules(stack) == {"other": True, "boiler-silent": False, "boiler-warm": True}
    assert (await stack.client.get("/v1/profiles")).json()["data"][0]["name"] == "boiler"
    assert await names(stack, "profile=boiler") == ["b1"]
    assert (await stack.client.delete(url)).status_code == 204
    assert await rules(stack) == {"other": True}
    assert (await stack.client.get(url)).status_code == 404
    assert (await stack.client.delete(url)).status_code == 404


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("rule r on sensors when last(t, 5m) > 1", 400, "not_of_the_profile"),
        ('rule r on sensors where profile = "b*" when last(t, 5m) > 1', 400, "not_of_the_profile"),
        ('rule other on sensors where profile = "p" when last(t, 5m) > 1', 409, "name_taken"),
        ("rule r on", 422, "invalid_rule"),
    ],
)
async def test_a_profile_speaks_for_its_own(
    stack: Stack, text: str, status: int, code: str
) -> None:
    """Its rules watch nobody else's sensors and take nobody else's place."""
    await stack.rule("rule other on sensors when last(t, 5m) > 99")
    response = await stack.client.put("/v1/profiles/p", json={"rules": text})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert await rules(stack) == {"other": True}
    assert (await stack.client.get("/v1/profiles")).json()["data"] == []
