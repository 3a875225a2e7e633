"""`GET /v1/rules/{id}/explain` over real sockets and a real Postgres."""

from random import Random
from typing import Any
from unittest import mock

import pytest
import trio

from atalaia.engine import explain as engine_explain
from atalaia.engine import feed
from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres


async def explain(stack: Stack, rule: dict[str, Any], sensor: str = "s") -> dict[str, Any]:
    response = await stack.client.get(f"/v1/rules/{rule['id']}/explain", params={"sensor": sensor})
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def codes(told: dict[str, Any]) -> list[str]:
    return [one["code"] for one in told["suppressed_by"]]


async def test_what_waits_is_not_taken_for_judged(stack: Stack) -> None:
    """With a lateness the answer is of the readings that were judged, and says that others wait."""
    rule = await stack.rule("rule hot on sensors when avg(t, 10s) > 10")
    await stack.client.patch("/v1/settings", json={"lateness": "30s"})
    await stack.send([row(START_MS, 99)])
    told = await explain(stack, rule)
    assert (told["judged_at"], codes(told)) == (None, ["readings_wait"])
    await stack.send([row(START_MS + 1000, 99), row(START_MS + 31_000, 4)])
    told = await explain(stack, rule)
    assert (told["state"], codes(told)) == ("open", ["already_open", "readings_wait"])
    assert [one["value"] for one in told["condition"]["comparisons"]] == [99.0]
    await stack.send([row(START_MS + 90_000, 4)])
    told = await explain(stack, rule)
    assert (told["state"], told["condition"]["comparisons"][0]["value"]) == ("idle", 4.0)


async def test_it_says_what_is_missing_and_then_which_alert_is_open(stack: Stack) -> None:
    """Idle, pending, open and clearing of one rule, with the numbers that the engine saw."""
    rule = await stack.rule(
        "rule hot on sensors when avg(t, 1m) > 10 for 20s clear when avg(t, 1m) < 5 for 30s"
        " severity warning, critical when max(t, 1m) > 50"
    )
    await stack.send([row(START_MS, 4), row(START_MS + 1000, 5), row(START_MS + 1000, 5, "u")])
    told = await explain(stack, rule)
    assert (told["rule"]["name"], told["rule"]["version"], told["sensor"]) == ("hot", 1, "s")
    assert (told["state"], told["since"], told["level"], told["alert_id"]) == (
        "idle", None, None, None,
    )  # fmt: skip
    assert told["summary"] == "No alert: avg(t, 1m) is 4.5 and must be more than 10: 5.5 to go."
    assert told["condition"] == {
        "text": "avg(t, 1m) > 10", "truth": False,
        "comparisons": [
            {
                "clause": "when", "text": "avg(t, 1m) > 10", "expression": "avg(t, 1m)",
                "value": 4.5, "operator": ">", "threshold": 10.0, "needs": True, "truth": False,
                "distance": 5.5, "unknown_because": None,
            }
        ],
    }  # fmt: skip
    assert (told["clear_when"], told["levels"], told["suppressed_by"]) == (None, [], [])
    await stack.send([row(START_MS + 5000, 40)])
    told = await explain(stack, rule)
    assert (told["state"], codes(told)) == ("pending", ["for_not_over"])
    assert told["condition"]["comparisons"][0]["distance"] < 0
    latest = (await stack.client.get("/v1/sensors/s/latest")).json()["metrics"]["t"]["ts"]
    assert told["since"] == told["judged_at"] == latest
    assert told["earliest"]["at"][:19] > latest[:19]
    await stack.send([row(START_MS + 25_000, 60)])
    (alert,) = await stack.alerts()
    told = await explain(stack, rule)
    assert (told["state"], told["level"], told["alert_id"]) == ("open", "critical", alert["id"])
    assert (told["since"], told["earliest"]["at"]) == (alert["opened_at"], None)
    assert codes(told) == ["already_open", "highest_level"]
    assert alert["id"] in told["suppressed_by"][0]["detail"]
    assert told["condition"]["comparisons"][0]["value"] == alert["opened_value"]
    assert told["clear_when"]["truth"] is False
    assert [(one["severity"], one["truth"]) for one in told["levels"]] == [("critical", True)]
    await stack.send([row(START_MS + 200_000, 1)])
    assert (await explain(stack, rule))["state"] == "clearing"


async def test_values_are_those_that_the_engine_judged_by(stack: Stack) -> None:
    """Two metrics, a late reading, slices of many sizes: to the bit those of the alert."""
    rule = await stack.rule(
        "rule r on sensors when stddev(t, 5m) + ewma(u, 2m) / avg(u, 10m) > 0.0001"
        " and median(t, 5m) < 1e9"
    )
    random = Random(5)
    rows = [row(START_MS + 700 * n, random.gauss(9, 2), m) for n in range(900) for m in "tu"]
    for start in range(0, len(rows), 300):
        await stack.send(rows[start : start + 300])
    await stack.send([row(START_MS + 700 * 600 + 1, 77)])
    last = [row(START_MS + 700_000, 9.5), row(START_MS + 700_000, 8.5, "u")]
    path = f"/v1/rules/{rule['id']}"
    await stack.client.post(f"{path}/disable")
    await stack.client.post(f"{path}/enable")  # so that the next reading opens a new alert
    assert codes(await explain(stack, rule))[0] == "not_judged_yet"
    await stack.send(last)
    (alert,) = await stack.alerts("&state=open")
    for rows_at_once in (40, 300, 250_000):
        with (
            mock.patch.multiple(feed, CHUNK_ROWS=rows_at_once, MOST_ROWS=2 * rows_at_once),
            mock.patch.object(engine_explain, "MOST_ROWS", 2 * rows_at_once),
        ):
            told = await explain(stack, rule)
        full = (await stack.client.get(f"/v1/alerts/{alert['id']}")).json()["opening"]
        assert [c["value"] for c in told["condition"]["comparisons"]] == [
            c["value"] for c in full["comparisons"]
        ]
        assert codes(told) == ["already_open", "late_readings"]
    assert "1 reading in its windows came late" in told["suppressed_by"][1]["detail"]


async def test_what_never_lets_it_open_is_named(stack: Stack) -> None:
    """Disabled, another tag, too many metrics, no such readings."""
    rule = await stack.rule('rule r on sensors where type = "boiler" when t > 1')
    names = [f"m{n}" for n in range(64)]
    await stack.send([row(START_MS, 5), *[row(START_MS, 5, name) for name in names]])
    told = await explain(stack, rule)
    assert codes(told) == ["selector_mismatch"]
    assert told["summary"] == (
        "No alert can open. The selector does not match: the rule watches sensors where type = "
        '"boiler"; this one has no tag type.'
    )
    assert told["condition"]["truth"] is True
    await stack.client.post(f"/v1/rules/{rule['id']}/disable")
    assert codes(await explain(stack, rule)) == ["rule_disabled", "selector_mismatch"]
    other = await stack.rule("rule o on sensors when none > 1")
    assert (await explain(stack, other))["summary"] == "No alert: the sensor has sent no none yet."
    for n in range(2):
        condition = " and ".join(f"count({name}, 5m) > 0" for name in names[32 * n : 32 * n + 32])
        await stack.rule(f'rule "wide{n}" on sensors "x*" when {condition}')
    last = await stack.rule('rule last on sensors "x1" when t > 1')
    await stack.send([row(START_MS, 5, sensor="x1")])
    assert codes(await explain(stack, last, "x1"))[:1] == ["left_out"]


async def test_a_silence_tells_its_deadline(stack: Stack) -> None:
    """Last heard by arrival; open after it."""
    rule = await stack.rule('rule silent on sensor "s" when no data for 2s')
    await stack.send([row(START_MS, 1)])
    told = await explain(stack, rule)
    assert (told["state"], told["condition"]["truth"]) == ("idle", False)
    point = (await stack.client.get("/v1/sensors/s/latest")).json()["metrics"]["t"]
    assert told["silence"]["last_heard"] == told["silence"]["since"] == point["received_at"]
    assert told["silence"]["deadline"] == told["earliest"]["at"]
    with trio.fail_after(10):
        while not await stack.alerts():
            await trio.sleep(0.1)
    (alert,) = await stack.alerts()
    told = await explain(stack, rule)
    assert (told["state"], told["alert_id"]) == ("open", alert["id"])
    assert told["silence"]["deadline"] <= alert["opened_at"]


async def test_unknown_things_are_404_and_nobody_elses_are_seen(stack: Stack) -> None:
    """A rule, a sensor, a name that none can have; another tenant's of both."""
    rule = await stack.rule("rule r on sensors when t > 1")
    await stack.send([row(START_MS, 5)])
    path = f"/v1/rules/{rule['id']}/explain"
    missing = await stack.client.get(path)
    assert (missing.status_code, missing.json()["code"]) == (400, "bad_parameter")
    for query in ("none", "a b", "a%00b", ""):
        response = await stack.client.get(f"{path}?sensor={query}")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), query
    for other in ("no", "00000000-0000-7000-8000-000000000000"):
        response = await stack.client.get(f"/v1/rules/{other}/explain?sensor=s")
        assert response.status_code == 404
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    response = await stack.client.get(f"{path}?sensor=s", headers={"X-API-Key": key})
    assert response.status_code == 404
