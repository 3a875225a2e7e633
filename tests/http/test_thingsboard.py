"""ThingsBoard's telemetry, as its devices send it."""

from typing import Any

import httpx
import pytest

from tests.http.test_influx import stored
from tests.stack import NOW_MS, START_MS, Stack

pytestmark = pytest.mark.postgres


async def send(stack: Stack, document: Any, path: str = "", query: str = "") -> httpx.Response:
    """Without any header but those of a device."""
    async with httpx.AsyncClient(base_url=stack.url) as device:
        url = f"/api/v1/{stack.api_key}{path}/telemetry{query}"
        return await device.post(url, json=document)


async def test_every_form_of_telemetry(stack: Stack) -> None:
    """Values alone, values with a time, and lists of both; texts and objects are ignored."""
    sent = await send(stack, {"t": 21.5, "on": True, "fw": "1.2", "o": {}, "z": None}, ":boiler")
    assert sent.status_code == 200, sent.text
    assert (sent.json()["accepted"], sent.json()["ignored"]) == (2, 3)
    now = await stored(stack)
    assert {key[:2]: value for key, value in now.items()} == {
        ("boiler", "t"): 21.5, ("boiler", "on"): 1.0,
    }  # fmt: skip
    assert all(NOW_MS - 1_000 < ms < NOW_MS + 3_600_000 for _, _, ms in now)
    timed = {"ts": START_MS, "values": {"t": 1, "h": 2}}
    assert (await send(stack, timed, ":boiler")).json()["accepted"] == 2
    both = [{"ts": START_MS + 1, "values": {"t": 3}}, {"h": 4}]
    assert (await send(stack, both, ":boiler")).json()["accepted"] == 2
    found = await stored(stack)
    assert found["boiler", "t", START_MS] == 1.0
    assert found["boiler", "h", START_MS] == 2.0
    assert found["boiler", "t", START_MS + 1] == 3.0
    assert len(found) == 6


async def test_the_device_is_named_by_the_token_the_query_or_the_key(stack: Stack) -> None:
    """In this order: the query, beside the key, the key's id."""
    await send(stack, {"t": 1}, ":a", "?device=b")
    await send(stack, {"t": 1}, ":a")
    await send(stack, {"t": 1})
    key_id = stack.api_key.split("_")[1]
    assert {key[0] for key in await stored(stack)} == {"a", "b", key_id}


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ([], 400, "empty_body"), ({}, 400, "empty_body"), (7, 400, "bad_body"),
        ([1], 400, "bad_body"), ("x", 400, "bad_body"), ({"a b": 1}, 422, "all_rejected"),
        ({"ts": 1.5, "values": {"t": 1}}, 422, "all_rejected"),
        ({"ts": True, "values": {"t": 1}}, 422, "all_rejected"),
        ({"ts": -1, "values": {"t": 1}}, 422, "all_rejected"),
        ({"ts": 10**30, "values": {"t": 1}}, 422, "all_rejected"),
        ({"ts": NOW_MS + 10**7, "values": {"t": 1}}, 422, "all_rejected"),
    ],
)  # fmt: skip
async def test_bad_telemetry_has_its_answer(
    stack: Stack, document: Any, status: int, code: str
) -> None:
    """A problem document as elsewhere."""
    sent = await send(stack, document, ":a")
    assert (sent.status_code, sent.json()["code"]) == (status, code)


async def test_a_bad_value_spoils_nothing_else(stack: Stack) -> None:
    """And is named by its place among the keys."""
    sent = await send(stack, {"ok": 1, "not ok": 2, "huge": 10**400, "fine": 3}, ":a")
    assert sent.status_code == 200
    assert [(r["index"], r["code"]) for r in sent.json()["rejected"]] == [
        (1, "bad_metric"), (2, "bad_value"),
    ]  # fmt: skip


async def test_an_unknown_token_is_refused(stack: Stack) -> None:
    """And so is the name of a device that cannot be."""
    async with httpx.AsyncClient(base_url=stack.url) as device:
        for token in ("x", "atl_0_0:a", ":a"):
            sent = await device.post(f"/api/v1/{token}/telemetry", json={"t": 1})
            assert (sent.status_code, sent.json()["code"]) == (401, "unauthenticated")
    bad = await send(stack, {"t": 1}, ":a%20b")
    assert (bad.status_code, bad.json()["rejected"][0]["code"]) == (422, "bad_sensor")
