"""Nothing a client sends makes a 5xx or reveals another tenant."""

import base64
import json
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.stack import NOW_MS, START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres


def forged(position: object) -> str:
    """A cursor of the right form."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("body", "headers", "query", "status", "code"),
    [
        (b"{", {}, "", 400, "bad_json"),
        (b"[]", {}, "", 400, "empty_body"),
        (b"7", {}, "", 400, "bad_body"),
        (b"[" * 200_000, {}, "", 400, "bad_json"),
        (b"x", {"content-encoding": "gzip"}, "", 400, "bad_encoding"),
        (b"x", {"content-encoding": "br"}, "", 415, "unsupported_encoding"),
        (b"x" * (8 * 1024 * 1024 + 1), {}, "", 413, "too_large"),
        (b"[]", {}, "?precision=fortnight", 400, "bad_parameter"),
        (b"[]", {}, "?bool=maybe", 400, "bad_parameter"),
        (b"[1]", {}, "", 422, "all_rejected"),
        (b"[1]", {"x-api-key": "atl_0_0"}, "", 401, "unauthenticated"),
        (b"[1]", {"x-api-key": "atl_" + "0" * 16 + "_" + "0" * 64}, "", 401, "unauthenticated"),
        (b"[1]", {"x-api-key": "\xff\xfe"}, "", 401, "unauthenticated"),
    ],
)  # fmt: skip
async def test_bad_ingest_requests_have_their_answers(
    stack: Stack, body: bytes, headers: dict[str, str], query: str, status: int, code: str
) -> None:
    """The status, the code, a request id, and a connection that goes on."""
    for _ in range(2):
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        response = await stack.client.post(f"/v1/readings{query}", content=body, headers=raw)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["request_id"] == response.headers["x-request-id"]
    assert (await stack.send([row(START_MS, 1)])).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/nowhere", 404, "not_found"),
        ("DELETE", "/v1/sensors", 405, "method_not_allowed"),
        ("GET", "/v1/readings", 405, "method_not_allowed"),
        ("PUT", "/v1/readings", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/readings", 405, "method_not_allowed"),
        # The router would take these two words for ids of rules that nobody has.
        *[
            (method, f"/v1/rules/{word}", 405, "method_not_allowed")
            for method in ("GET", "PUT", "DELETE", "PATCH")
            for word in ("check", "backtest")
        ],
        ("POST", "/v1/rules/check/enable", 404, "not_found"),
        ("GET", "/v1//sensors", 404, "not_found"),
        ("GET", "/v1/sensors/none", 404, "not_found"),
        ("GET", "/v1/sensors/none/latest", 404, "not_found"),
        ("GET", "/v1/sensors/s/readings", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=none", 404, "not_found"),
        ("GET", "/v1/sensors/s/readings?metric=t&limit=0", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&limit=x", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&limit=0000000019999", 400, "bad_parameter"),
        ("GET", f"/v1/sensors?limit={'0' * 5000}1", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&from=--5", 400, "bad_parameter"),
        ("GET", f"/v1/sensors/s/readings?metric=t&from={10**15}", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&from=yesterday", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&from=2026-01-01T00:00:00", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&cursor=%00", 400, "bad_parameter"),
        ("GET", f"/v1/sensors/s/readings?metric=t&cursor={forged(2**63)}", 400, "bad_parameter"),
        ("GET", f"/v1/sensors/s/readings?metric=t&cursor={forged(2**62)}", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&from=-999999999999999", 400, "bad_parameter"),
        ("GET", "/v1/sensors/s/readings?metric=t&to=-999999999999999", 400, "bad_parameter"),
        ("GET", "/v1/sensors?cursor=e30", 400, "bad_parameter"),
        ("GET", f"/v1/sensors?cursor={forged('a' + chr(0))}", 400, "bad_parameter"),
        ("GET", "/v1/sensors/%00", 404, "not_found"),
        ("GET", "/v1/alerts?state=ajar", 400, "bad_parameter"),
        ("GET", "/v1/alerts?rule=hot", 400, "bad_parameter"),
        ("GET", "/v1/alerts?sensor=%00", 400, "bad_parameter"),
        ("GET", "/v1/alerts?cursor=WzEsIngiXQ", 400, "bad_parameter"),
        (
            "GET",
            f"/v1/alerts?cursor={forged([2**63, str(UUID(int=1))])}",
            400,
            "bad_parameter",
        ),
        (
            "GET",
            f"/v1/alerts?cursor={forged([-(2**63), str(UUID(int=1))])}",
            400,
            "bad_parameter",
        ),
        ("GET", "/v1/alerts?from=-999999999999999", 400, "bad_parameter"),
        ("GET", "/v1/alerts?to=-999999999999999", 400, "bad_parameter"),
        ("GET", "/v1/alerts?from=0001-01-01T00:00:00Z", 400, "bad_parameter"),
        ("GET", "/v1/alerts?to=999999999999999", 400, "bad_parameter"),
        ("GET", f"/v1/rules?cursor={forged(2**31)}", 400, "bad_parameter"),
        ("GET", f"/v1/rules?cursor={forged(-1)}", 400, "bad_parameter"),
        ("GET", "/v1/alerts/not-a-uuid", 404, "not_found"),
        ("GET", "/v1/alerts/00000000-0000-0000-0000-000000000000", 404, "not_found"),
        ("GET", "/v1/rules/not-a-uuid", 404, "not_found"),
        ("PUT", "/v1/rules/not-a-uuid", 400, "bad_json"),
        ("POST", "/v1/rules/00000000-0000-0000-0000-000000000000/enable", 404, "not_found"),
    ],
)
async def test_bad_questions_have_their_answers(
    stack: Stack, method: str, path: str, status: int, code: str
) -> None:
    """Problem documents, never HTML, never a 5xx."""
    await stack.send([row(START_MS, 1)])
    response = await stack.client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    titles = {400: "The request cannot be understood", 404: "Not found", 405: "Method not allowed"}
    assert response.json()["title"] == titles[status]


async def test_a_route_that_takes_post_alone_says_so(stack: Stack) -> None:
    """405 with Allow; also where the router knows other methods of what looks the same."""
    assert (await stack.client.get("/v1/readings")).headers["allow"] == "POST"
    for path in ("/v1/rules/check", "/v1/rules/backtest"):
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            answer = await stack.client.request(method, path)
            assert answer.headers["allow"] == "OPTIONS, POST", (method, path)


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00%2B01:00", "1700000000000"]
)
async def test_times_in_questions_are_forgiving(stack: Stack, text: str) -> None:
    """Offsets need not be percent-encoded; epoch milliseconds will do."""
    await stack.send([row(START_MS, 1)])
    response = await stack.client.get(f"/v1/sensors/s/readings?metric=t&from={text}")
    assert len(response.json()["data"]) == 1


async def test_the_first_and_the_last_times_can_be_asked_for(stack: Stack) -> None:
    """A question over all of time has an answer."""
    await stack.send([row(START_MS, 1)])
    span = "from=0001-01-02T00:00:00Z&to=9999-12-31T00:00:00Z"
    assert (await stack.client.get(f"/v1/alerts?{span}")).status_code == 200
    readings = await stack.client.get(f"/v1/sensors/s/readings?metric=t&{span}")
    assert len(readings.json()["data"]) == 1
    early = await stack.client.get("/v1/sensors/s/readings?metric=t&to=-62135510400000")
    assert (early.status_code, early.json()["data"]) == (200, [])


async def test_every_v1_route_wants_a_key(stack: Stack) -> None:
    """401 with a challenge; health and metrics are open."""
    async with httpx.AsyncClient(base_url=stack.url) as anyone:
        for path in ("/v1/sensors", "/v1/rules", "/v1/alerts", "/v1/nowhere"):
            response = await anyone.get(path)
            assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert (await anyone.post("/v1/readings", json=[])).status_code == 401
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert (await anyone.get(path)).status_code == 200
        bearer = {"Authorization": f"Bearer {stack.api_key}"}
        assert (await anyone.get("/v1/sensors", headers=bearer)).status_code == 200
        assert (
            await anyone.get("/v1/sensors", headers={"Authorization": "Basic x"})
        ).status_code == 401


async def test_a_tenant_sees_nothing_of_another(stack: Stack) -> None:
    """Foreign ids answer as unknown ones do; names may repeat."""
    rule = await stack.rule("rule hot on sensors when t > 1")
    await stack.send([row(START_MS, 2)])
    (alert,) = await stack.alerts()
    key = await make_tenant(stack.bridge, stack.database_url, "other")
    async with httpx.AsyncClient(base_url=stack.url, headers={"X-API-Key": key}) as other:
        for path in ("/v1/sensors/s", "/v1/sensors/s/latest", f"/v1/rules/{rule['id']}",
                     f"/v1/alerts/{alert['id']}"):  # fmt: skip
            assert (await other.get(path)).status_code == 404
        assert (await other.delete(f"/v1/rules/{rule['id']}")).status_code == 404
        for path in ("/v1/sensors", "/v1/rules", "/v1/alerts"):
            assert (await other.get(path)).json()["data"] == []
        assert (await other.post("/v1/readings", json=[row(START_MS, 5)])).json()["accepted"] == 1
        assert (await other.get("/v1/alerts")).json()["data"] == []


async def test_the_key_needs_the_scope(stack: Stack) -> None:
    """An ingest-only key may not read, nor the other way round."""
    await stack.sql("UPDATE api_keys SET scopes = '{ingest}'")
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    response = await stack.client.get("/v1/sensors")
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


async def test_hostile_names_stay_text(stack: Stack) -> None:
    """SQL in every place that takes text."""
    hostile = "'; DROP TABLE readings; --"
    for path in (f"/v1/sensors/{hostile}", f"/v1/alerts?sensor={hostile}"):
        assert (await stack.client.get(path)).status_code in (400, 404)
    assert (await stack.rule(f'rule "{hostile}" on sensors "{hostile}" when t > 1'))[
        "name"
    ] == hostile
    answer: Any = (await stack.send([row(NOW_MS, 1, sensor=hostile)])).json()
    assert answer["rejected"][0]["code"] == "bad_sensor"
    assert (await stack.send([row(START_MS, 1)])).status_code == 200


async def test_metrics_count_what_was_answered(stack: Stack) -> None:
    """Prometheus text, and OpenMetrics when asked for."""
    await stack.send([row(START_MS, 1), row(START_MS, 1), 7])
    text = (await stack.client.get("/metrics")).text
    for name in ("stored", "duplicate", "rejected"):
        assert f'atalaia_readings_total{{result="{name}"}}' in text
    assert "atalaia_actors 1.0" in text
    accept = {"accept": "application/openmetrics-text"}
    assert (await stack.client.get("/metrics", headers=accept)).text.endswith("# EOF\n")


async def test_metrics_may_ask_for_a_token(database_url: str) -> None:
    """Of the platform's own; a tenant's key opens nothing there."""
    token = "a token of the platform"
    async with open_stack(database_url, metrics_token=token) as stack:
        for given, status in (
            ({}, 401),
            ({"authorization": "Bearer another token"}, 401),
            ({"authorization": f"Bearer {token}"}, 200),
        ):
            answer = await stack.client.get("/metrics", headers=given)
            assert (answer.status_code, "atalaia_" in answer.text) == (status, status == 200)
        assert (await stack.client.get("/health")).status_code == 200


async def test_values_at_the_end_of_double_are_answered_as_json(stack: Stack) -> None:
    """What they add up to is no number of JSON; it is shown as unknown."""
    rule = await stack.rule("rule far on sensors when delta(t, 10s) < -1")
    await stack.send([row(START_MS, 1.7e308), row(START_MS + 1000, -1.7e308)])
    question = {"rule_id": rule["id"], "from": START_MS, "order": "arrival"}
    for response in (
        await stack.client.get("/v1/alerts"),
        await stack.client.post("/v1/rules/backtest", json=question),
    ):
        assert response.status_code == 200
        assert '"opened_value":null' in response.text
        assert "Infinity" not in response.text
