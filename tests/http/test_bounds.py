"""What one request may cost: its body, its depth, its page, its time."""

import tracemalloc
from typing import Any

import asyncpg
import pytest

from atalaia.http import params
from atalaia.http.bounded_json import MAX_BYTES, MAX_DEPTH, decode
from atalaia.model.errors import Invalid, TooLarge
from atalaia.ports import StoreSlow
from atalaia.storage import database
from tests.stack import Stack

postgres = pytest.mark.postgres


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


def test_json_is_read_to_a_depth_and_no_deeper() -> None:
    """In lists and in objects."""
    assert decode(nested(MAX_DEPTH)) is not None
    deep = b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)
    for body in (nested(MAX_DEPTH + 1), deep, nested(100_000)):
        with pytest.raises(Invalid, match="32 levels") as caught:
            decode(body)
        assert caught.value.code == "bad_json"


def test_a_large_body_is_refused_before_it_is_read() -> None:
    """What it would be in memory never is."""
    body = b"[" + b"[]," * (MAX_BYTES // 3) + b"[]]"
    assert len(body) > MAX_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decode(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@postgres
async def test_every_route_with_json_has_the_bound(stack: Stack) -> None:
    """413 for all of them; files may be larger, and say what is wrong with them."""
    large = b'{"text": "' + b"x" * MAX_BYTES + b'"}'
    for method, path in (
        ("POST", "/v1/rules"), ("POST", "/v1/rules/check"), ("POST", "/v1/query"),
        ("POST", "/v1/rules/backtest"), ("PUT", "/v1/profiles/p"), ("PATCH", "/v1/settings"),
        ("POST", "/v1/sensors"), ("PUT", "/v1/sensors/s/tags"), ("POST", "/v1/api-keys"),
        ("POST", "/v1/users"), ("PUT", "/v1/metrics/m"), ("PUT", "/v1/settings/retention"),
    ):  # fmt: skip
        answer = await stack.client.request(method, path, content=large)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large"), path
    answer = await stack.client.post("/v1/rules:import", content=b"#" * (MAX_BYTES + 1))
    assert answer.status_code == 422
    answer = await stack.client.post("/v1/rules", content=nested(33))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")


@postgres
async def test_a_page_has_so_many_and_no_more(stack: Stack) -> None:
    """400 for a larger one, on every list."""
    assert params.MAX_LIMIT == 1_000
    for path in ("/v1/sensors", "/v1/rules", "/v1/alerts", "/v1/users", "/v1/api-keys",
                 "/v1/audit", "/v1/metrics"):  # fmt: skip
        for wrong in ("1001", "0", "-1", "x"):
            answer = await stack.client.get(f"{path}?limit={wrong}")
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter"), path
        assert (await stack.client.get(f"{path}?limit=1000&count=true")).status_code == 200


@postgres
async def test_a_question_has_so_long_and_no_longer(stack: Stack) -> None:
    """The database itself gives it up, within the transaction of every question."""
    assert database.QUERY_TIMEOUT_MS == 5_000

    async def timeout(connection: asyncpg.Connection) -> Any:
        return await connection.fetchval("SHOW statement_timeout")

    tenant_no = await stack.tenant_no()
    assert await stack.database.as_tenant(tenant_no, timeout) == "5s"
    with pytest.raises(StoreSlow):
        await stack.database.as_tenant(
            tenant_no, lambda connection: connection.execute("SELECT pg_sleep(5)"), timeout_ms=50
        )
