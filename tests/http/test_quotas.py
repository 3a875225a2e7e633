"""Quotas over HTTP: what is refused, before how much work, and how soon a change takes effect."""

import gzip
import json
import socket
from uuid import UUID

import pytest
import trio

from atalaia.engine.messages import SwitchRule
from atalaia.http import auth
from atalaia.model.errors import Conflict, Overloaded
from atalaia.model.quota import Quota
from atalaia.wire.options import WireOptions
from atalaia.wire.readings import parse_readings
from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres


def rows(count: int, first: int = 0) -> list[dict[str, object]]:
    return [row(START_MS + first + n, 1) for n in range(count)]


async def test_a_tenant_beyond_its_quota_is_refused_and_others_are_not(stack: Stack) -> None:
    """A batch of any size passes once; the next one is told which quota and how long."""
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    await stack.sql("UPDATE tenants SET readings_per_s = 100")
    assert (await stack.send(rows(1_025))).json()["accepted"] == 1_025
    refused = await stack.send(rows(1, 5_000))
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_readings")
    assert "100 readings a second" in refused.json()["detail"]
    assert 5 <= int(refused.headers["retry-after"]) <= 10
    assert (await stack.send(rows(1), headers={"x-api-key": other})).status_code == 200
    assert (await stack.client.get("/v1/sensors")).status_code == 200  # asking is not sending


async def test_rows_that_are_bad_cost_tokens_too(stack: Stack) -> None:
    """They were read all the same."""
    await stack.sql("UPDATE tenants SET readings_per_s = 100")
    bad = [row(START_MS, "x") for _ in range(1_000)]
    assert (await stack.send(bad)).status_code == 422
    assert (await stack.send(rows(1))).json()["code"] == "quota_readings"


@pytest.mark.parametrize("body", [b" " * 10_000, gzip.compress(b" " * 10_000)])
async def test_bytes_are_counted_as_inflated_and_whatever_they_say(
    stack: Stack, body: bytes
) -> None:
    """What is not JSON was looked through too."""
    await stack.sql("UPDATE tenants SET bytes_per_s = 1000")
    encoding = {"content-encoding": "gzip"} if body[:1] != b" " else {}
    first = await stack.client.post("/v1/readings", content=body, headers=encoding)
    assert first.json()["code"] == "bad_json"
    refused = await stack.send(rows(1))
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_bytes")


async def test_a_key_has_a_quota_of_its_own(stack: Stack) -> None:
    """The tenant's other keys send on."""
    second = await make_tenant(stack.bridge, stack.database_url, "second")
    key_id = second.split("_")[1]
    await stack.sql(
        "UPDATE api_keys SET readings_per_s = 10,"
        " tenant_id = (SELECT min(tenant_id) FROM tenants) WHERE key_id = $1",
        key_id,
    )
    limited = {"x-api-key": second}
    assert (await stack.send(rows(100), headers=limited)).status_code == 200
    refused = await stack.send(rows(1), headers=limited)
    assert "This key's quota of 10 readings" in refused.json()["detail"]
    assert (await stack.send(rows(1))).status_code == 200


async def test_a_body_beyond_the_quota_is_not_read(stack: Stack) -> None:
    """The answer comes while most of the body is still with its sender."""
    await stack.sql("UPDATE tenants SET readings_per_s = 1")
    assert (await stack.send(rows(1_000))).status_code == 200
    host, port = stack.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/readings HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.api_key}\r\n"
        "content-length: 8000000\r\n\r\n"
    )
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(head.encode())
        with trio.fail_after(5):
            answer = await stream.receive_some()
    assert b" 429 " in answer


async def test_bodies_that_came_together_are_not_all_let_in(stack: Stack) -> None:
    """Whoever was asked in before the others paid is asked again."""
    await stack.sql("UPDATE tenants SET readings_per_s = 10")
    host, port = stack.url.removeprefix("http://").split(":")
    body = json.dumps(rows(100)).encode()
    head = (
        f"POST /v1/readings HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.api_key}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    streams = [await trio.open_tcp_stream(host, int(port)) for _ in range(5)]
    for stream in streams:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await stream.send_all(head.encode() + body[:-1])
    await trio.sleep(0.3)  # all are past the first question by then
    for stream in streams:
        await stream.send_all(body[-1:])
    statuses = [(await stream.receive_some())[9:12] for stream in streams]
    assert sorted(statuses) == [b"200"] + [b"429"] * 4
    for stream in streams:
        await stream.aclose()


async def test_every_face_is_held_to_it_at_the_gate(stack: Stack) -> None:
    """Whoever submits without asking first."""
    tenant, quota = await stack.tenant_no(), Quota(readings_per_s=1)
    batch = parse_readings(json.dumps(rows(10)).encode(), options=WireOptions())
    await stack.gate.submit(tenant, batch, quota).wait()
    with pytest.raises(Overloaded):
        stack.gate.submit(tenant, batch, quota)


async def test_a_change_takes_effect_within_ten_seconds(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as answers about keys are kept, which is shortened here."""
    assert auth.KEEP_S <= 10
    monkeypatch.setattr(auth, "KEEP_S", 0.05)
    assert (await stack.send(rows(1_000))).status_code == 200
    await stack.sql("UPDATE tenants SET readings_per_s = 100")
    await trio.sleep(0.1)
    assert (await stack.send(rows(1_000, 2_000))).status_code == 200
    refused = await stack.send(rows(1, 5_000))
    assert refused.status_code == 429
    await stack.sql("UPDATE tenants SET readings_per_s = 1000000")
    await trio.sleep(0.1)
    assert (await stack.send(rows(1, 5_000))).status_code == 200


async def test_a_quota_of_rules(stack: Stack) -> None:
    """409 for one too many; with a lowered quota none comes back into service."""
    await stack.sql("UPDATE tenants SET max_rules = 2")
    made = [await stack.rule(f"rule r{n} on sensors when t > 1") for n in range(2)]
    third = {"text": "rule r9 on sensors when t > 1"}
    refused = await stack.client.post("/v1/rules", json=third)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_rules")
    assert "may have 2 rules" in refused.json()["detail"]
    text = "rules:\n  - text: rule r9 on sensors when t > 1\n"
    imported = await stack.client.post("/v1/rules:import", content=text)
    assert (imported.status_code, imported.json()["code"]) == (409, "too_many_rules")
    rule = f"/v1/rules/{made[0]['id']}"
    assert (await stack.client.post(f"{rule}/disable")).status_code == 200
    assert (await stack.client.post(f"{rule}/enable")).status_code == 200
    await stack.client.post(f"{rule}/disable")
    lowered = stack.gate.edit_rule(
        await stack.tenant_no(), SwitchRule(UUID(made[0]["id"]), enabled=True), Quota(max_rules=1)
    )
    with pytest.raises(Conflict, match="may have 1 rules"):
        await lowered.wait()


async def test_the_tenant_s_own_view(stack: Stack) -> None:
    """What it may send, and that it is processed."""
    await stack.sql("UPDATE tenants SET bytes_per_s = 5000000")
    said = (await stack.client.get("/v1/status")).json()
    assert said == {
        "processing": "ok", "reason": None, "retry_after_s": None, "unsettled_readings": 0,
        "quota": {"readings_per_s": None, "bytes_per_s": 5_000_000, "key_readings_per_s": None,
                  "key_bytes_per_s": None, "waiting_bytes": None,
                  "max_rules": 1_000},
    }  # fmt: skip
