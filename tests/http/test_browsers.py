"""What browsers are told, on every road to an answer."""

from collections.abc import AsyncIterator

import httpx
import pytest

from atalaia.http.browsers import ALWAYS
from tests.stack import START_MS, Stack, open_stack, row

OURS = "https://app.example"
TOLD = {name.decode(): value.decode() for name, value in ALWAYS}


@pytest.fixture
async def stack(database_url: str) -> AsyncIterator[Stack]:
    async with open_stack(database_url, origins=[OURS]) as running:
        yield running


async def answers(stack: Stack, **headers: str) -> list[httpx.Response]:
    """By the front, the ingest route, Quart, and each one's refusals."""
    client = stack.client
    stranger = headers | {"x-api-key": "nobody"}
    return [
        await client.get("/v1/sensors", headers=headers),
        await client.get("/v1/sensors", headers=stranger),
        await client.get("/v1/nothing", headers=headers),
        await client.delete("/v1/readings", headers=headers),
        await stack.send([row(START_MS, 1)], headers=headers),
        await stack.send([row(START_MS, "x")], headers=headers),
        await client.post("/v1/readings", content=b"{", headers=stranger),
        await client.get("/health/live", headers=headers),
        await client.get("/metrics", headers=headers),
        await client.get("//", headers=headers),
        await client.options("/v1/sensors", headers=headers),
    ]


async def test_every_answer_has_every_header_once(stack: Stack) -> None:
    """Whoever gives it."""
    for answer in await answers(stack):
        for name, value in TOLD.items():
            assert answer.headers.get_list(name) == [value], answer.request.url
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (OURS, True),
        ("https://app.example.evil", False),
        ("http://app.example", False),
        ("https://APP.example", False),
        ("https://app.example:443", False),
        ("null", False),
        ("*", False),
    ],
)
async def test_only_our_pages_may_read_answers(stack: Stack, origin: str, allowed: bool) -> None:
    """Exactly those that were named: no reflection, no patterns, no cookies."""
    for answer in await answers(stack, origin=origin):
        headers = answer.headers
        assert headers.get("access-control-allow-origin") == (OURS if allowed else None)
        assert "access-control-allow-credentials" not in headers
        assert "origin" in headers.get_list("vary", split_commas=True)
    asked = {"origin": origin, "access-control-request-method": "PATCH"}
    answer = await stack.client.options("/v1/sensors/s", headers=asked)
    assert answer.status_code == 204
    assert ("access-control-allow-methods" in answer.headers) == allowed
    assert answer.headers.get("access-control-allow-origin") == (OURS if allowed else None)
    if allowed:
        sent = answer.headers["access-control-allow-headers"].split(", ")
        assert {"authorization", "x-api-key", "x-tenant-id", "if-match", "idempotency-key"} <= set(
            sent
        )


async def test_a_preflight_with_a_body_wedges_nothing(stack: Stack) -> None:
    """What nobody should send is read away; the connection goes on."""
    headers = {"origin": OURS, "access-control-request-method": "POST"}
    for _ in range(3):
        answer = await stack.client.request(
            "OPTIONS", "/v1/readings", headers=headers, content=b"x" * 1_000_000
        )
        assert answer.status_code == 204
    assert (await stack.send([row(START_MS, 1)])).status_code == 200


async def test_without_origins_there_is_no_cors(database_url: str) -> None:
    """Not even for a page that says it is ours."""
    async with open_stack(database_url) as running:
        answer = await running.client.get("/v1/sensors", headers={"origin": OURS})
        assert "vary" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
