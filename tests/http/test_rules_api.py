"""Rules over HTTP: every edit is committed before it is answered, and acts from there on."""

import pytest
import trio

from atalaia.engine.limits import EngineLimits
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres


async def test_a_bad_rule_is_422_with_line_column_and_caret(stack: Stack) -> None:
    """The answer points at the place."""
    text = "rule x on sensors\n  when avgg(t, 5m) > 3"
    response = await stack.client.post("/v1/rules", json={"text": text})
    body = response.json()
    assert (response.status_code, body["code"], body["line"], body["column"]) == (
        422, "invalid_rule", 2, 8,
    )  # fmt: skip
    assert body["caret"] == "  when avgg(t, 5m) > 3\n       ^"
    assert 'Did you mean "avg"' in body["detail"]


async def test_a_condition_edit_closes_alerts_and_makes_a_version(stack: Stack) -> None:
    """The new version is warm: it judges its first reading with the window's history."""
    rule = await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 11), row(START_MS + 1000, 13)])
    text = "rule hot on sensors when avg(t, 10m) > 11.5 and count(t, 10m) >= 3"
    edited = (await stack.client.put(f"/v1/rules/{rule['id']}", json={"text": text})).json()
    assert (edited["version"], edited["revision"]) == (2, 2)
    (closed,) = await stack.alerts()
    assert (closed["state"], closed["clear_reason"]) == ("cleared", "rule_changed")
    await stack.send([row(START_MS + 2000, 12)])
    (opened,) = await stack.alerts("&state=open")
    assert (opened["rule"]["version"], opened["opened_value"]) == (2, 12.0)


async def test_a_label_edit_keeps_the_alert_open(stack: Stack) -> None:
    """Renaming, comments and layout change the revision, not what is judged."""
    rule = await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 11)])
    text = "rule warmer on sensors  # renamed\n when t > 10"
    edited = (await stack.client.put(f"/v1/rules/{rule['id']}", json={"text": text})).json()
    assert (edited["name"], edited["version"], edited["revision"]) == ("warmer", 1, 2)
    (alert,) = await stack.alerts("&state=open")
    assert alert["rule"]["name"] == "warmer"


async def test_a_disabled_rule_is_silent_and_judges_again_when_enabled(stack: Stack) -> None:
    """Its alerts close with the reason; enabling starts a new version."""
    rule = await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 11)])
    await stack.client.post(f"/v1/rules/{rule['id']}/disable")
    await stack.send([row(START_MS + 1, 12)])
    (alert,) = await stack.alerts()
    assert (alert["state"], alert["clear_reason"]) == ("cleared", "rule_disabled")
    enabled = (await stack.client.post(f"/v1/rules/{rule['id']}/enable")).json()
    assert enabled["version"] == 2
    await stack.send([row(START_MS + 2, 12)])
    assert len(await stack.alerts("&state=open")) == 1


async def test_a_deleted_rule_is_gone_and_its_alerts_keep_their_history(stack: Stack) -> None:
    """204, then 404; the name is free again."""
    rule = await stack.rule("rule hot on sensors when t > 10")
    await stack.send([row(START_MS, 11)])
    path = f"/v1/rules/{rule['id']}"
    assert (await stack.client.delete(path)).status_code == 204
    assert (await stack.client.get(path)).status_code == 404
    assert (await stack.client.delete(path)).status_code == 404
    (alert,) = await stack.alerts()
    assert (alert["state"], alert["clear_reason"], alert["rule"]["name"]) == (
        "cleared", "rule_deleted", "hot",
    )  # fmt: skip
    await stack.rule("rule hot on sensors when t > 12")


async def test_names_are_unique_and_lists_are_paged(stack: Stack) -> None:
    """409 for a taken name; cursors walk through all rules."""
    for n in range(3):
        await stack.rule(f"rule r{n} on sensors when t > {n}")
    taken = await stack.client.post("/v1/rules", json={"text": "rule r1 on sensors when t > 9"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    first = (await stack.client.get("/v1/rules?limit=2")).json()
    rest = (await stack.client.get(f"/v1/rules?limit=2&cursor={first['next_cursor']}")).json()
    assert [r["name"] for r in first["data"] + rest["data"]] == ["r0", "r1", "r2"]
    assert rest["next_cursor"] is None


async def test_selectors_follow_names_and_tags(stack: Stack) -> None:
    """A tag set over HTTP makes a rule watch the sensor from the next reading on."""
    await stack.rule('rule porto on sensors "porto-*" when t > 10')
    await stack.rule('rule boilers on sensors where type = "boiler" when t > 10')
    await stack.send([row(START_MS, 11, sensor="porto-1"), row(START_MS, 11, sensor="rio-1")])
    assert [a["rule"]["name"] for a in await stack.alerts()] == ["porto"]
    tagged = await stack.client.put("/v1/sensors/rio-1/tags", json={"tags": {"type": "boiler"}})
    assert tagged.json()["tags"] == {"type": "boiler"}
    await stack.send([row(START_MS + 1, 11, sensor="rio-1")])
    assert {a["sensor"] for a in await stack.alerts()} == {"porto-1", "rio-1"}
    missing = await stack.client.put("/v1/sensors/none/tags", json={"tags": {}})
    assert missing.status_code == 404


async def test_an_alert_closes_when_its_rule_no_longer_watches_the_sensor(
    database_url: str,
) -> None:
    """With the tags, in one commit; watched again, the rule opens another alert."""
    async with open_stack(database_url, limits=EngineLimits(snapshot_every=2)) as stack:
        await stack.send([row(START_MS, 1)])

        async def tag(kind: str) -> None:
            path, body = "/v1/sensors/s/tags", {"tags": {"type": kind}}
            assert (await stack.client.put(path, json=body)).status_code == 200

        await tag("boiler")
        rule = await stack.rule('rule boil on sensors where type = "boiler" when t > 10')
        await stack.send([row(START_MS + 1, 11)])
        await tag("fridge")
        (closed,) = await stack.alerts()
        assert (closed["state"], closed["clear_reason"]) == ("cleared", "rule_changed")
        for n in range(2, 8):  # beyond a snapshot
            await stack.send([row(START_MS + n, 12)])
        await tag("boiler")
        for n in range(8, 10):
            assert (await stack.send([row(START_MS + n, 13)])).status_code == 200
        assert [alert["state"] for alert in await stack.alerts()] == ["open", "cleared"]
        await tag("fridge")
        await stack.client.delete(f"/v1/rules/{rule['id']}")
        assert [alert["state"] for alert in await stack.alerts()] == ["cleared", "cleared"]
        assert await stack.sql("SELECT FROM dead_letters") == []


async def test_a_rule_that_watches_again_opens_no_alert_twice(database_url: str) -> None:
    """At one time of the sensor, which another metric has set, though snapshots lie between."""
    async with open_stack(database_url, limits=EngineLimits(snapshot_every=2)) as stack:
        await stack.send([row(START_MS + 1000, 1), row(START_MS, 1, "u")])
        await stack.rule('rule r on sensors where type = "x" when u > 10')
        for at, kind in enumerate("xyyyyx", start=START_MS + 1):
            await stack.client.put("/v1/sensors/s/tags", json={"tags": {"type": kind}})
            answer = (await stack.send([row(at, 12, "u")])).json()
            assert answer["accepted"] == 1
        assert [alert["state"] for alert in await stack.alerts()] == ["cleared"]
        await stack.send([row(START_MS + 1001, 1), row(START_MS + 1001, 12, "u")])
        assert len(await stack.alerts("&state=open")) == 1


WIDE = " or ".join(f"{{p}}{n} > 10" for n in range(40))


def wide(name: str, sensors: str = "") -> str:
    """A rule over 40 metrics of its own."""
    return f"rule {name} on sensors {sensors} when " + WIDE.format(p=name)


async def test_more_metrics_than_a_sensor_may_have_watched_are_refused(stack: Stack) -> None:
    """409 with a sentence, for edits and for tags; readings are judged all the while."""
    await stack.send([row(START_MS, 1)])
    first = await stack.rule(wide("a"))

    async def refused(method: str, path: str, body: object = None) -> bool:
        answer = await stack.client.request(method, path, json=body)
        return (answer.status_code, answer.json()["code"]) == (409, "too_many_metrics")

    assert await refused("POST", "/v1/rules", {"text": wide("b")})
    tagged = await stack.rule(wide("b", 'where type = "x"'))
    path, tags = f"/v1/rules/{tagged['id']}", {"tags": {"type": "x"}}
    assert await refused("PUT", path, {"text": wide("b")})
    assert await refused("PUT", "/v1/sensors/s/tags", tags)
    await stack.client.post(f"{path}/disable")
    assert (await stack.client.put("/v1/sensors/s/tags", json=tags)).status_code == 200
    assert await refused("POST", f"{path}/enable")
    await stack.send([row(START_MS + 1, 11, "a39")])
    assert [alert["rule"]["name"] for alert in await stack.alerts()] == ["a"]
    assert (await stack.client.delete(f"/v1/rules/{first['id']}")).status_code == 204
    assert (await stack.client.post(f"{path}/enable")).status_code == 200
    rest = " and ".join(f"c{n} > 10" for n in range(24))
    await stack.rule(f"rule c on sensors when {rest}")
    assert await refused("POST", "/v1/rules", {"text": "rule d on sensors when d > 10"})
    await stack.send([row(START_MS + 2, 11, f"c{n}") for n in range(24)])
    assert [alert["rule"]["name"] for alert in await stack.alerts("&state=open")] == ["c"]
    lone = "rule e on sensors when " + " or ".join(f"x{n} > y{n}" for n in range(33))
    answer = await stack.client.post("/v1/rules", json={"text": lone})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rule")


async def test_a_new_sensor_leaves_out_the_newest_rules_that_do_not_fit(
    database_url: str,
) -> None:
    """Nothing fails, now or after a restart; the newer rule watches when the older one goes."""
    rows = [row(START_MS, 1), row(START_MS + 1, 11, "a0"), row(START_MS + 1, 11, "b0")]
    async with open_stack(database_url) as stack:
        first = await stack.rule(wide("a"))
        await stack.rule(wide("b"))
        assert (await stack.send(rows)).json()["accepted"] == 3
        assert [alert["rule"]["name"] for alert in await stack.alerts()] == ["a"]
        path = "/v1/sensors/s/tags"
        assert (await stack.client.put(path, json={"tags": {"type": "x"}})).status_code == 200
    async with open_stack(database_url, api_key=stack.api_key) as again:
        assert (await again.send([row(START_MS + 2, 11, "b0")])).json()["accepted"] == 1
        assert len(await again.alerts("&state=open")) == 1
        await again.client.delete(f"/v1/rules/{first['id']}")
        await again.send([row(START_MS + 3, 11, "b0")])
        assert [a["rule"]["name"] for a in await again.alerts("&state=open")] == ["b"]


@pytest.mark.parametrize(
    ("body", "where", "detail"),
    [
        ({"tags": {"a": "x" * 129}}, "$.tags", "names of tags have 1 to 128"),
        ({"tags": {"": "x"}}, "$.tags", "names of tags have 1 to 128"),
        ({"tags": {"a": "\0"}}, "$.tags", "NUL"),
        ({"tags": {"a": 1}}, "$.tags", "must be text"),
        ({"tags": {str(n): "x" for n in range(33)}}, "$.tags", "32 tags"),
        ({"tags": []}, "$.tags", "expected an object"),
        ({"tags": {}, "x" * 10_000: 1}, "$", "xx…); there are: tags"),
        ({}, "$.tags", "required field missing"),
    ],
)
async def test_bad_tags_are_named_with_a_cure(
    stack: Stack, body: object, where: str, detail: str
) -> None:
    """Where it is, and what would be right; what was sent is not repeated at length."""
    response = await stack.client.put("/v1/sensors/s/tags", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")
    (problem,) = response.json()["problems"]
    assert problem["where"] == where
    assert detail in problem["detail"]
    assert len(response.content) < 2_000


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "bad_json"),
        (b'{"text": "\xff"}', "bad_json"),
        (b"[]", "bad_body"),
        (b'{"text": 7}', "bad_body"),
        (b"{}", "bad_body"),
        (b'{"text": "rule x on sensors when t > 1", "more": 1}', "bad_body"),
    ],
)
async def test_bad_rule_bodies_are_named(stack: Stack, body: bytes, code: str) -> None:
    """400 with what is wrong, and nothing is made."""
    response = await stack.client.post("/v1/rules", content=body)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert (await stack.client.get("/v1/rules")).json()["data"] == []


@pytest.mark.parametrize("question", ["check", "backtest"])
async def test_a_question_is_no_rule(stack: Stack, question: str) -> None:
    """What may be done there is told without what could be done to a rule of that id."""
    path = f"/v1/rules/{question}"
    told = await stack.client.options(path)
    refused = await stack.client.get(path)
    assert (told.status_code, refused.status_code) == (200, 405)
    assert told.headers["allow"] == refused.headers["allow"] == "OPTIONS, POST"


async def test_silence_of_a_sensor_opens_and_clears(stack: Stack) -> None:
    """By the real clock, through the real database; the tenant is one that waits."""
    await stack.rule('rule silent on sensor "s" when no data for 1s severity info')
    await stack.send([row(START_MS, 1)])
    with trio.fail_after(10):
        while not (opened := await stack.alerts("&state=open")):
            await trio.sleep(0.1)
    assert opened[0]["evidence"][0]["expression"] == "no data for 1s"
    waiting = await stack.store.waiting_tenants()
    assert waiting.awake == [await stack.tenant_no()]
    await stack.send([row(START_MS + 1000, 1)])
    (alert,) = await stack.alerts()
    assert (alert["state"], alert["id"]) == ("cleared", opened[0]["id"])
