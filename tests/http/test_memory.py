"""The bound of a tenant's memory over HTTP: said before, refused in time, cured by an edit."""

from typing import Any
from unittest import mock

import numpy as np
import pytest

from atalaia.engine.limits import EngineLimits
from atalaia.storage import engine_store
from tests.http.test_rules_api import wide
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

LIMITS = EngineLimits(tenant_bytes=1 << 20)
LONG = "rule long on sensors when max(t, {}) > 9"
SENSORS = 20


async def send_some(stack: Stack) -> None:
    """A hundred readings of each sensor, ten seconds apart."""
    times = list(range(START_MS, START_MS + 1_000_000, 10_000))
    body = [
        {"sensor": f"s{n}", "metric": "t", "ts": times, "value": [1.0] * 100}
        for n in range(SENSORS)
    ]
    assert (await stack.send(body)).status_code == 200


def refusal(response: Any) -> str:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (409, "too_much_memory"), problem
    assert "may take 1.0 MiB" in problem["detail"]
    assert f'of the rule "long" at {SENSORS} sensors' in problem["detail"]
    return str(problem["detail"])


async def test_a_rule_beyond_the_bound_is_refused_at_every_way_to_save_it(
    database_url: str,
) -> None:
    """Create, replace, enable, import and tags; a check says it before."""
    async with open_stack(database_url, limits=LIMITS) as stack:
        await send_some(stack)
        long = {"text": LONG.format("12h")}
        checked = (await stack.client.post("/v1/rules/check", json=long)).json()
        (foreseen,) = checked["refusals"]
        assert foreseen["code"] == "too_much_memory"
        memory = checked["memory"]
        assert memory["bytes_now"] < memory["limit"] == 1 << 20 < memory["bytes_then"]
        assert refusal(await stack.client.post("/v1/rules", json=long)) == foreseen["detail"]
        file = f"rules:\n- text: {LONG.format('12h')}\n"
        refusal(await stack.client.post("/v1/rules:import", content=file))
        made = await stack.rule(LONG.format("6h"))
        refusal(await stack.client.put(f"/v1/rules/{made['id']}", json=long))
        off = file.replace("long", "other") + "  enabled: false\n"
        assert (await stack.client.post("/v1/rules:import", content=off)).status_code == 200
        rules = (await stack.client.get("/v1/rules")).json()["data"]
        (other,) = [rule["id"] for rule in rules if rule["name"] == "other"]
        answer = await stack.client.post(f"/v1/rules/{other}/enable")
        assert (answer.status_code, answer.json()["code"]) == (409, "too_much_memory")
        tagged = {"text": 'rule tagged on sensors where k = "v" when max(t, 30d) > 9'}
        assert (await stack.client.post("/v1/rules", json=tagged)).status_code == 201
        tags = await stack.client.put("/v1/sensors/s1/tags", json={"tags": {"k": "v"}})
        assert (tags.status_code, tags.json()["code"]) == (409, "too_much_memory")
        checked = await stack.client.post("/v1/rules/check", json={"text": LONG.format("1m")})
        assert checked.json()["refusals"] == []


async def test_too_many_metrics_are_foreseen(stack: Stack) -> None:
    """Beside the rules in force, and of the rules of a text among themselves."""
    await stack.send([row(START_MS, 1)])
    both = f"{wide('a')}\n{wide('b')}"
    checked = (await stack.client.post("/v1/rules/check", json={"text": both})).json()
    (found,) = checked["refusals"]
    assert found["code"] == "too_many_metrics"
    assert found["detail"].startswith('With the rule "b", the rules that watch the sensor "s"')
    await stack.rule(wide("a"))
    for text, count in ((wide("b"), 1), (wide("a"), 0), (wide("b", '"x*"'), 0)):
        checked = (await stack.client.post("/v1/rules/check", json={"text": text})).json()
        assert len(checked["refusals"]) == count, text


async def test_a_full_tenant_waits_and_is_cured(database_url: str) -> None:
    """429 with a delay, also after a restart; nothing that was answered is lost."""
    async with open_stack(database_url, limits=LIMITS) as stack:
        await stack.send([row(START_MS, 1.0)])
        rule = await stack.rule(LONG.format("10h"))
        stored, answer = 1, None
        for n in range(100):
            times = list(range(START_MS + 1_000 + 2_000 * n, START_MS + 3_000 + 2_000 * n))
            answer = await stack.send(
                {"sensor": "s", "metric": "t", "ts": times, "value": [1.0] * len(times)}
            )
            if answer.status_code == 429:
                break
            stored += answer.json()["accepted"]
        assert answer is not None
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (429, "too_much_memory")
        assert answer.headers["retry-after"] == "60"
        assert 'max(t, 10h) of the rule "long"' in problem["detail"]
        assert stored > 50_000
        counted = await stack.sql("SELECT count(*) FROM readings")
        assert counted[0]["count"] == stored
    later = [row(START_MS + 1_000_000, 1.0)]
    with mock.patch.object(engine_store, "CHUNK_ROWS", 10_000):
        async with open_stack(database_url, limits=LIMITS, api_key=stack.api_key) as again:
            assert (await again.send(later)).status_code == 429
            text = {"text": LONG.format("1s")}
            done = await again.client.put(f"/v1/rules/{rule['id']}", json=text)
            assert done.status_code == 200, done.text
            assert (await again.send(later)).json()["accepted"] == 1


@pytest.mark.parametrize("rows", [1, 7, 50, 1_000])
async def test_windows_are_read_in_bounded_chunks(stack: Stack, rows: int) -> None:
    """All of them, each series in order, whatever the bound; late ones left out."""
    await stack.send(
        [row(START_MS + 10 * n, n, sensor=f"s{s}") for s in range(3) for n in range(20 * s + 5)]
    )
    found = await stack.sql("SELECT series_id FROM series ORDER BY series_id")
    series = np.array([one["series_id"] for one in found], np.int32)
    until = np.full(3, 1000 * (START_MS + 300), np.int64)
    since = np.array([0, 0, 1000 * (START_MS + 100)], np.int64)
    read: dict[int, list[float]] = {}
    with mock.patch.object(engine_store, "CHUNK_ROWS", rows):
        chunks = stack.store.window_rows(await stack.tenant_no(), series, since, until)
        async for numbers, ts, value in chunks:
            assert len(ts) <= rows
            assert (np.diff(numbers) >= 0).all()
            for number, one in zip(numbers.tolist(), value.tolist(), strict=True):
                read.setdefault(number, []).append(one)
    expected = [list(range(5)), list(range(25)), list(range(11, 31))]
    assert [read[number] for number in series.tolist()] == expected
    assert since.tolist() == [0, 0, 1000 * (START_MS + 100)]
