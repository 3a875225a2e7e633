"""Files that are made while they are taken, and who is cut off from them."""

from collections.abc import AsyncGenerator, Awaitable

import attrs
import httpx
import pytest
import trio

from atalaia.http import downloads
from atalaia.ports import StoreUnavailable
from atalaia.security.tokens import LEEWAY_S
from tests.events import follow
from tests.people import add_user, bearer, client, tokens
from tests.stack import START_MS, Stack, row
from tests.tenants import NAME
from tests.tenants import fill as fill_tenant

pytestmark = pytest.mark.postgres

EXPORT = "/v1/export?format=ndjson&from=0"
PATHS = [EXPORT, "/v1/tenant/export"]
ROWS = 400_000
"""More than the sockets between hold without a reader, whichever file."""


async def fill(stack: Stack) -> None:
    """One series, as its readings were committed an hour ago."""
    await stack.send([row(START_MS, 1)])
    await stack.sql(
        "INSERT INTO readings SELECT tenant_id, series_id,"
        " to_timestamp($1::float8) + n * interval '1 millisecond', random(),"
        f" to_timestamp($1::float8), false FROM generate_series(1, {ROWS}) AS n, series",
        START_MS / 1000 - 3600,
    )
    await stack.sql("UPDATE api_keys SET scopes = '{admin,read,ingest}'")


async def take(stack: Stack, path: str, *, wait_s: float = 0.0) -> int:
    """How many bytes came, of the whole file. wait_s: before each part. Raises httpx.HTTPError."""
    size = 0
    async with stack.client.stream("GET", path) as response:
        assert response.status_code == 200
        async for part in response.aiter_raw(1 << 18):
            size += len(part)
            await trio.sleep(wait_s)
    return size


async def breaks_off(response: httpx.Response, cut: Awaitable[object]) -> None:
    """It had begun, and ends before its end once this is done."""
    parts = response.aiter_raw(1 << 10)
    await anext(parts)
    await cut
    with pytest.raises(httpx.RemoteProtocolError):
        async for _ in parts:
            pass


@pytest.mark.parametrize("path", PATHS)
async def test_it_breaks_off_when_its_key_no_longer_may(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """What is revoked brings no more, however long the file is that was begun with it."""
    monkeypatch.setattr(downloads, "CHECK_S", 0.0)
    monkeypatch.setattr("atalaia.http.auth.KEEP_S", 0.0)
    await fill(stack)
    assert await take(stack, path) > 1_000_000
    async with stack.client.stream("GET", path) as response:
        await breaks_off(response, stack.sql("UPDATE api_keys SET revoked_at = now()"))


@pytest.mark.parametrize("path", PATHS)
async def test_it_lasts_as_long_as_the_session_and_not_the_token(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A person's access token is for minutes, a large file takes hours; but who signs out, or is
    told to go, gets no more.
    """
    monkeypatch.setattr(downloads, "CHECK_S", 0.0)
    monkeypatch.setattr("atalaia.http.sessions.KEEP_S", 0.0)
    await fill(stack)
    await add_user(stack, "m@example.org")
    stack.sessions.settings = attrs.evolve(stack.sessions.settings, access_s=1)
    whole = await take(stack, path)
    async with client(stack, bearer(await tokens(stack, "m@example.org"))) as person:
        async with person.stream("GET", path) as response:
            assert response.status_code == 200
            await trio.sleep(1 + LEEWAY_S + 1.1)
            size = sum([len(part) async for part in response.aiter_raw()])
        assert (await person.get("/v1/me")).status_code == 401
    assert abs(size - whole) < whole / 10
    async with (
        client(stack, bearer(await tokens(stack, "m@example.org"))) as person,
        person.stream("GET", path) as response,
    ):
        await breaks_off(response, stack.sql("UPDATE sessions SET revoked_at = now()"))


async def test_a_visit_is_one_however_long_it_lasts(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks after all tenants is asked again and again, and written down once; when the
    tenant is to be erased it is over.
    """
    monkeypatch.setattr("atalaia.http.stream.CHECK_S", 0.0)
    monkeypatch.setattr("atalaia.http.stream.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("atalaia.http.sessions.KEEP_S", 0.0)
    full = await fill_tenant(stack)
    await add_user(stack, "p@example.org", platform=True)
    headers = bearer(await tokens(stack, "p@example.org")) | {"x-tenant-id": str(full.tenant_id)}
    async with follow(stack, **headers) as events:
        await trio.sleep(0.5)
        visits = "SELECT count(*) AS n FROM audit WHERE action = 'tenant.visited'"
        assert (await stack.sql(visits))[0]["n"] == 1
        async with client(stack, headers) as person:
            del person.headers["x-tenant-id"]
            await person.post(f"/v1/admin/tenants/{full.tenant_id}/suspend")
            path = f"/v1/admin/tenants/{full.tenant_id}/erase"
            assert (await person.post(path, json={"name": NAME})).status_code == 202
        assert await events.of_kind("unauthenticated")


@pytest.mark.parametrize("path", PATHS)
async def test_whoever_takes_it_by_drops_gives_its_place_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """There are few, and others wait for one. Who takes it as fast as it comes is never cut off."""
    monkeypatch.setattr(downloads, "WINDOW_S", 0.2)
    monkeypatch.setattr(downloads, "LEAST_BYTES_PER_S", 10**9)
    await fill(stack)
    with pytest.raises(httpx.RemoteProtocolError):
        await take(stack, path, wait_s=0.05)
    monkeypatch.setattr(downloads, "LEAST_BYTES_PER_S", 1)
    assert await take(stack, path) > 1_000_000


async def test_a_database_that_is_away_revokes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the key still may is then not known, and the file goes on with what is read."""
    monkeypatch.setattr(downloads, "CHECK_S", -1.0)
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise StoreUnavailable

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"b"
        yield b"c"

    assert [piece async for piece in downloads.download(b"a", pieces(), ask)] == [b"a", b"b", b"c"]
    assert asked == 3
