"""Backtests over real sockets and a real Postgres: what live did, and what would have been."""

import json
from random import Random
from typing import Any
from unittest import mock

import pytest
import trio

from atalaia.engine import backtest as engine_backtest
from atalaia.engine import feed
from tests.stack import NOW_MS, START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres

TEXT = "rule hot on sensors when avg(t, 10s) > 5 for 2s clear when avg(t, 10s) < 4"


async def backtest(stack: Stack, **body: object) -> dict[str, Any]:
    body.setdefault("from", START_MS)
    response = await stack.client.post("/v1/rules/backtest", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    *progress, last = [json.loads(line) for line in response.text.splitlines()]
    assert all(set(line) == {"progress", "readings"} for line in progress)
    return last["result"]  # type: ignore[no-any-return]


def shown(alerts: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    return sorted(
        (a["id"], a["sensor"], a["opened_at"], a["opened_value"], a["cleared_at"], a["severity"])
        for a in alerts
    )


@pytest.mark.parametrize("lateness", [0, 2, 20])
async def test_what_live_did_the_backtest_does(stack: Stack, lateness: int) -> None:
    """In order of arrival: the same alerts, ids included, from batches that lag, repeat and mix,
    whether readings wait for others or not; some sensors have their own lateness.
    """
    body = {"lateness": f"{lateness}s"}
    await stack.client.patch("/v1/settings", json=body)
    rules = [
        await stack.rule(TEXT + " severity warning"),
        await stack.rule("rule gap on sensors when t > u and count(t, 20s) > 3 for 1s"),
        await stack.rule("rule wide on sensors when stddev(t, 1m) > 2.8 severity info"),
    ]
    random = Random(7)
    rows = [
        row(
            START_MS + 1000 * n + 250 * (metric == "v"),
            random.choice([0, 4, 6, 9]),
            metric,
            f"s{s}",
        )
        for n in range(400)
        for s in range(4)
        for metric in ("t", "u", "v")
    ]
    # Some metrics arrive late as a whole, some rows alone, some batches twice.
    rows.sort(key=lambda r: (
        r["ts"] + 30_000 * (r["metric"] == "u") * (r["sensor"] == "s1")
        + random.choice([0, 0, 0, 0, 9_000])
    ))  # fmt: skip
    at = 0
    if lateness:
        await stack.send([row(START_MS - 1000, 0, sensor="s2")])
        await stack.client.patch("/v1/sensors/s2", json={"lateness": "5s"})
    while at < len(rows):
        size = random.choice([1, 3, 40, 200])
        await stack.send(rows[at : at + size])
        if random.random() < 0.2:
            await stack.send(rows[at : at + size])
        at += size
    live = await stack.alerts()
    assert len(live) > 30
    for rule in rules:
        with mock.patch.multiple(feed, CHUNK_ROWS=300, MOST_ROWS=600):
            result = await backtest(stack, rule_id=rule["id"], order="arrival")
        (trial,) = result["variants"]
        mine = [alert for alert in live if alert["rule"]["id"] == rule["id"]]
        assert mine
        assert shown(trial["alerts"]) == shown(mine)
        assert (trial["opened"], trial["alerts_left_out"]) == (len(mine), 0)
        assert trial["open_at_end"] == sum(alert["state"] == "open" for alert in mine)
        assert (trial["live"], trial["as_written"], trial["diff"]) == (True, True, None)
    late = await stack.sql("SELECT count(*) AS n FROM readings WHERE late")
    stored = await stack.sql("SELECT count(*) AS n FROM readings")
    assert late[0]["n"] > (100 if lateness < 20 else 10)
    judged = stored[0]["n"] - late[0]["n"]
    if not lateness:
        assert result["readings"] == judged
    else:  # the last ones wait, there as here
        assert judged - 4 * 3 * (lateness + 2) <= result["readings"] < judged
    by_time = await backtest(stack, rule_id=rules[2]["id"])
    assert by_time["readings"] == 4 * 400  # late ones too, of the one metric it looks at


async def test_a_sweep_is_compared_with_the_live_rule(stack: Stack) -> None:
    """Variants as rows; the rule's stored version beside them, found by its name."""
    rule = await stack.rule("rule hot on sensors when t > 10")
    values = [0, 11, 0, 30, 30, 30, 0, 31, 31, 0]
    await stack.send([row(START_MS + 60_000 * n, value) for n, value in enumerate(values)])
    result = await backtest(
        stack,
        text="rule hot on sensors when t > 20 for 1m",
        sweep={"for": ["1m", "2m"], "threshold": [20, 30.5]},
    )
    assert result["live"] == {"id": rule["id"], "name": "hot", "version": 1, "enabled": True}
    found = [
        (v["for"], v["threshold"], v["as_written"], v["live"], v["opened"], v["diff"])
        for v in result["variants"]
    ]
    assert found == [
        ("1m", 20.0, True, False, 2, {"kept": 2, "gone": 1, "new": 0}),
        ("1m", 30.5, False, False, 1, {"kept": 1, "gone": 2, "new": 0}),
        ("2m", 20.0, False, False, 1, {"kept": 1, "gone": 2, "new": 0}),
        ("2m", 30.5, False, False, 0, {"kept": 0, "gone": 3, "new": 0}),
        ("0s", 10.0, False, True, 3, None),
    ]
    first, live = result["variants"][0], result["variants"][-1]
    assert first["noisiest"] == [{"sensor": "s", "opened": 2}]
    assert (first["flaps"], first["sensors_alerting"], first["severities"]["warning"]) == (1, 1, 2)
    assert first["firing_s"] == 60 * (2 + 1)
    assert first["alerts"][0]["id"] is None
    assert shown(live["alerts"]) == shown(await stack.alerts())
    assert (result["sensors"], result["readings"]) == (1, 10)


async def test_an_empty_past_is_no_error(stack: Stack) -> None:
    """No sensors, no readings, nothing opened."""
    result = await backtest(stack, text=TEXT)
    assert (result["sensors"], result["readings"], result["live"]) == (0, 0, None)
    assert [(v["opened"], v["firing_share"]) for v in result["variants"]] == [(0, 0.0)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "rule x on sensors when avgg(t, 5m) > 1"}, 422, "invalid_rule"),
        ({}, 400, "bad_body"),
        ({"rule_id": "x"}, 404, "not_found"),
        ({"rule_id": "00000000-0000-0000-0000-000000000000"}, 404, "not_found"),
        ({"text": TEXT, "from": "soon"}, 400, "bad_parameter"),
        ({"text": TEXT, "from": NOW_MS, "to": START_MS}, 400, "bad_parameter"),
        ({"text": TEXT, "from": 0}, 400, "bad_parameter"),
        ({"text": TEXT, "from": True}, 400, "bad_body"),
        ({"text": TEXT, "order": "random"}, 400, "bad_parameter"),
        ({"text": TEXT, "sweep": {"for": ["soon"]}}, 400, "bad_sweep"),
        ({"text": TEXT, "sweep": {"for": ["31d"]}}, 400, "bad_sweep"),
        ({"text": TEXT, "sweep": {"for": "1m"}}, 400, "bad_body"),
        ({"text": TEXT, "sweep": {"threshold": ["7"]}}, 400, "bad_body"),
        ({"text": TEXT, "sweep": {"threshold": list(range(60))}}, 400, "bad_sweep"),
        ({"text": "rule x on sensors when t > u", "sweep": {"threshold": [1]}}, 400, "bad_sweep"),
        ({"text": TEXT, "more": 1}, 400, "bad_body"),
    ],
)
async def test_a_bad_question_is_answered_with_a_status(
    stack: Stack, body: dict[str, object], status: int, code: str
) -> None:
    """Before any line is streamed, as a problem document."""
    response = await stack.client.post("/v1/rules/backtest", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


async def test_a_field_is_named_as_it_was_sent(stack: Stack) -> None:
    """Not as the source calls it."""
    response = await stack.client.post("/v1/rules/backtest", json={"from": [], "sweep": {"for": 1}})
    assert {p["where"] for p in response.json()["problems"]} == {"$.from", "$.sweep.for"}


async def test_few_run_at_once_and_one_per_tenant(stack: Stack) -> None:
    """429 with Retry-After; a client that goes away makes room at once."""
    await stack.send([row(START_MS + 1000 * n, n) for n in range(50)])
    asked = trio.Event()
    history = stack.queries.history

    async def endless(*args: Any, **options: Any) -> Any:
        columns = await history(*args, **options)
        asked.set()
        await trio.sleep_forever()
        return columns

    async def begin(client: Any) -> None:
        async with client.stream("POST", "/v1/rules/backtest", json={"text": TEXT}) as response:
            assert response.status_code == 200
            async for _ in response.aiter_lines():
                pass

    with mock.patch.object(type(stack.queries), "history", lambda _, *a, **o: endless(*a, **o)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(begin, stack.client)
            await asked.wait()
            refused = await stack.client.post("/v1/rules/backtest", json={"text": TEXT})
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_backtests")
            assert refused.headers["retry-after"] == "10"
            with mock.patch.object(engine_backtest, "MOST_AT_ONCE", 1):
                other = await make_tenant(stack.bridge, stack.database_url, "other")
                refused = await stack.client.post(
                    "/v1/rules/backtest", json={"text": TEXT}, headers={"X-API-Key": other}
                )
            assert (refused.status_code, refused.json()["title"]) == (429, "Too many at once")
            nursery.cancel_scope.cancel()
    with trio.fail_after(3):
        while (
            await stack.client.post("/v1/rules/backtest", json={"text": TEXT})
        ).status_code == 429:
            await trio.sleep(0.05)


async def test_a_tenant_sees_its_own_readings_only(stack: Stack) -> None:
    """Row-level security holds here too."""
    await stack.send([row(START_MS, 99)])
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    response = await stack.client.post(
        "/v1/rules/backtest", json={"text": TEXT}, headers={"X-API-Key": other}
    )
    result = json.loads(response.text.splitlines()[-1])["result"]
    assert (result["sensors"], result["readings"]) == (0, 0)


async def test_a_failure_on_the_way_is_the_last_line(database_url: str) -> None:
    """The status is out already; the line says what the problem document would have."""
    async with open_stack(database_url) as stack:
        await stack.send([row(START_MS, 1)])

        async def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("a fault")

        with mock.patch.object(type(stack.queries), "history", broken):
            response = await stack.client.post("/v1/rules/backtest", json={"text": TEXT})
        last = json.loads(response.text.splitlines()[-1])
        assert (last["error"]["status"], last["error"]["code"]) == (500, "internal_error")
        assert "fault" not in response.text


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"sweep": 7}, "expected an object"),
        ({"sweep": {"for": 7}}, "expected a list"),
        ({"sweep": {"threshold": ["7"]}}, "expected a number"),
        ({"from": []}, "expected a time"),
    ],
)
async def test_a_bad_body_is_described_in_words_of_json(
    stack: Stack, body: object, detail: str
) -> None:
    """Not with the names of our classes."""
    response = await stack.client.post("/v1/rules/backtest", json=body)
    assert [p["detail"] for p in response.json()["problems"]] == [detail]
