"""Tickets: once, soon, at two places, as whoever asked for them, and for no page of others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import trio

from atalaia.config.settings import ProxySettings
from atalaia.http import auth, rates, sessions, sockets
from atalaia.http import stream as streams
from atalaia.http.access import ROUTES
from atalaia.http.upkeep import forget
from atalaia.security.api_keys import hash_secret, parse_key
from atalaia.security.tokens import new_ticket
from atalaia.storage import tickets
from atalaia.storage.people import PostgresPeople
from tests.answer import ask
from tests.events import Events
from tests.http.socket_client import Rejected, connect
from tests.http.test_rates import strict
from tests.people import add_key, add_user, bearer, client, post, tokens
from tests.stack import START_MS, Stack, make_tenant, open_stack, row

pytestmark = pytest.mark.postgres

EMAIL = "maria@example.org"
OURS, OTHERS = "https://app.example", "https://evil.example"


@pytest.fixture
async def stack(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """Where nothing is remembered for a moment, and what goes on is asked again at once."""
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    monkeypatch.setattr(sessions, "KEEP_S", 0.0)
    monkeypatch.setattr(sockets, "CHECK_S", 0.05)
    monkeypatch.setattr(streams, "CHECK_S", 0.05)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    async with open_stack(database_url, origins=[OURS]) as running:
        yield running


async def ticket(stack: Stack, headers: Mapping[str, str] | None = None) -> str:
    """Of the stack's key, or of whom the headers say."""
    async with client(stack, headers or {"x-api-key": stack.api_key}) as asking:
        answer = await asking.post("/v1/tickets")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["ticket"])


@asynccontextmanager
async def listen(stack: Stack, shown: str, more: str = "", **headers: str) -> AsyncIterator[Events]:
    """What is heard with a ticket. Raises Rejected."""
    async with ask(stack.url, f"/v1/stream?ticket={shown}{more}", **headers) as answer:
        if answer.status != 200:
            raise Rejected(answer.status, "\n".join(await answer.lines()).encode())
        events = Events(answer)
        assert (await events.next())[0] == "retry"
        yield events


async def heard(stack: Stack, shown: str, **headers: str) -> int:
    """The status with which a stream is opened."""
    try:
        async with listen(stack, shown, **headers):
            return 200
    except Rejected as refused:
        return refused.status


async def shaken(stack: Stack, shown: str, headers: Mapping[str, str] | None = None) -> int:
    """The status with which a socket is opened."""
    try:
        async with connect(stack, f"/v1/ingest?ticket={shown}", headers=headers or {}):
            return 101
    except Rejected as refused:
        return refused.status


async def living(stack: Stack) -> int:
    return len(await stack.sql("SELECT FROM tickets"))


async def test_a_ticket_opens_a_stream_or_a_socket_once(stack: Stack) -> None:
    """Without any header; and what is sent over the one is heard over the other."""
    one, other = await ticket(stack), await ticket(stack)
    async with (
        listen(stack, one) as events,
        connect(stack, f"/v1/ingest?ticket={other}", headers={}) as socket,
    ):
        await socket.answer()
        await socket.send(f'a\n[{{"sensor":"s","metric":"t","ts":{START_MS},"value":1}}]')
        assert (await socket.answer())["status"] == 200
        assert [each["value"] for each in await events.of_kind("readings")] == [1.0]
    assert await living(stack) == 0
    for shown in (one, other):
        assert await heard(stack, shown) == 401
        assert await shaken(stack, shown) == 401


async def test_of_several_at_once_one_gets_in(stack: Stack) -> None:
    """Whichever process they ask: the database decides."""
    shown, found = hash_secret(await ticket(stack)), []
    people = [PostgresPeople(stack.database) for _ in range(2)]

    async def use(asked: PostgresPeople) -> None:
        found.append(await asked.use_ticket(shown))

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(use, people[number % 2])
    assert [holder is not None for holder in found].count(True) == 1


async def test_a_ticket_holds_for_half_a_minute(stack: Stack) -> None:
    """By the database's clock; what is told is what holds."""
    shown = await ticket(stack)
    late = await stack.sql("SELECT FROM tickets WHERE expires_at > now() + interval '30 s'")
    assert late == []
    answer = await stack.client.post("/v1/tickets")
    assert answer.json()["expires_in"] == 30
    await stack.sql("UPDATE tickets SET expires_at = now()")
    assert await heard(stack, shown) == 401
    assert await shaken(stack, answer.json()["ticket"]) == 401


async def test_a_ticket_is_understood_at_two_places_alone(stack: Stack) -> None:
    """Everywhere else it is nobody's, and is not used up by it; as a header it is nothing."""
    shown = await ticket(stack)
    async with client(stack) as nobody:
        for route, access in ROUTES.items():
            method, _, rule = route.partition(" ")
            if access.role is not None and "<" not in rule and route != "GET /v1/stream":
                answer = await nobody.request(method, f"{rule}?ticket={shown}&p={shown}")
                assert answer.status_code == 401, route
        for method, path in (
            ("HEAD", "/v1/stream"), ("POST", "/v1/stream"), ("GET", "/v1/stream/"),
            ("GET", "/v1/ingest"), ("GET", "//v1/stream"),
        ):  # fmt: skip
            answer = await nobody.request(method, f"{path}?ticket={shown}")
            assert answer.status_code in (401, 404), (method, path)
        for headers in (
            {"x-api-key": shown},
            {"authorization": f"Bearer {shown}"},
            {"authorization": f"Token {shown}"},
            {"cookie": f"ticket={shown}"},
        ):
            assert (await nobody.get("/v1/stream", headers=headers)).status_code == 401
    assert await living(stack) == 1
    for text in ("", "x", shown[:-1], shown + "0", shown.upper(), new_ticket(), "%00", shown[4:]):
        assert await heard(stack, text) == 401, text
    assert await heard(stack, shown) == 200


async def test_a_ticket_may_what_its_holder_may(stack: Stack) -> None:
    """And nothing more: to read, to send, or both."""
    await add_user(stack, EMAIL, "viewer")
    viewer = bearer(await tokens(stack, EMAIL))
    for headers, reads, sends in (
        (viewer, 200, 403),
        ({"x-api-key": await add_key(stack, "read")}, 200, 403),
        ({"x-api-key": await add_key(stack, "ingest")}, 403, 101),
        ({"x-api-key": await add_key(stack, "admin")}, 200, 101),
    ):
        assert await heard(stack, await ticket(stack, headers)) == reads
        assert await shaken(stack, await ticket(stack, headers)) == sends


async def test_a_ticket_and_a_header_are_not_their_sum(stack: Stack) -> None:
    """The ticket alone counts: a good key makes no bad one good, a bad key no good one bad."""
    ingest = await add_key(stack, "ingest")
    assert await heard(stack, new_ticket(), **{"X-API-Key": stack.api_key}) == 401
    assert await heard(stack, await ticket(stack), **{"X-API-Key": ingest}) == 200
    assert await heard(stack, await ticket(stack, {"x-api-key": ingest}),
                       **{"X-API-Key": stack.api_key}) == 403  # fmt: skip
    assert await heard(stack, await ticket(stack), **{"X-Tenant-Id": str(UUID(int=1))}) == 200


async def test_what_takes_a_credential_away_takes_its_tickets(stack: Stack) -> None:
    """A revoked key, a session that ended, another role, a suspended tenant: before it is used."""
    key = await add_key(stack, "read")
    parsed = parse_key(key)
    assert parsed is not None
    await add_user(stack, EMAIL, "operator")
    for take, give, refused in (
        ("UPDATE api_keys SET revoked_at = now() WHERE name = 'k'",
         "UPDATE api_keys SET revoked_at = NULL", 401),
        ("UPDATE api_keys SET expires_at = now() WHERE name = 'k'",
         "UPDATE api_keys SET expires_at = NULL", 401),
        ("UPDATE api_keys SET scopes = '{ingest}' WHERE name = 'k'",
         "UPDATE api_keys SET scopes = '{read}' WHERE name = 'k'", 403),
        ("UPDATE tenants SET suspended_at = now()", "UPDATE tenants SET suspended_at = NULL", 403),
    ):  # fmt: skip
        shown = await ticket(stack, {"x-api-key": key})
        await stack.sql(take)
        assert await heard(stack, shown) == refused, take
        await stack.sql(give)
    for take in (
        "UPDATE sessions SET revoked_at = now()",
        "UPDATE sessions SET ends_at = now()",
        "UPDATE users SET disabled_at = now()",
        "DELETE FROM users",
    ):
        shown = await ticket(stack, bearer(await tokens(stack, EMAIL)))
        await stack.sql(take)
        assert await heard(stack, shown) == 401, take
        await stack.sql("UPDATE users SET disabled_at = NULL")


async def test_a_role_that_was_changed_ends_the_tickets_of_before(stack: Stack) -> None:
    """As it ends the session: what is done to a user is done to what they asked for."""
    user = await add_user(stack, EMAIL, "operator")
    shown = await ticket(stack, bearer(await tokens(stack, EMAIL)))
    changed = await stack.client.patch(f"/v1/users/{user}", json={"role": "viewer"})
    assert changed.status_code == 200
    assert await shaken(stack, shown) == 401
    signed_in = await tokens(stack, EMAIL)
    shown = await ticket(stack, bearer(signed_in))
    await post(stack, "/v1/auth/logout", {"refresh_token": signed_in["refresh_token"]})
    assert await heard(stack, shown) == 401


async def test_what_a_ticket_opened_ends_with_its_holder(stack: Stack) -> None:
    """A stream with an event, a socket with its code: as with the credential itself."""
    await add_user(stack, EMAIL, "operator")
    headers = bearer(await tokens(stack, EMAIL))
    with trio.fail_after(20):
        async with (
            listen(stack, await ticket(stack, headers)) as events,
            connect(
                stack, f"/v1/ingest?ticket={await ticket(stack, headers)}", headers={}
            ) as socket,
        ):
            await socket.answer()
            await stack.sql("UPDATE sessions SET revoked_at = now()")
            assert await events.of_kind("unauthenticated")
            assert await socket.closing_code() == sockets.KEY_REVOKED
        key = {"x-api-key": await add_key(stack, "admin")}
        async with (
            listen(stack, await ticket(stack, key)) as events,
            connect(stack, f"/v1/ingest?ticket={await ticket(stack, key)}", headers={}) as socket,
        ):
            await socket.answer()
            await stack.sql("UPDATE api_keys SET scopes = '{}' WHERE name = 'k'")
            assert await events.of_kind("unauthenticated")
            assert await socket.closing_code() == sockets.SCOPE_LOST


async def test_a_ticket_is_of_one_tenant(stack: Stack) -> None:
    """Of its holder's, whose readings alone are heard; a visitor's is of the one that is visited,
    and in its audit.
    """
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    async with client(stack, {"x-api-key": other}) as theirs:
        them = (await theirs.get("/v1/me")).json()["tenant_id"]
        shown = await ticket(stack, {"x-api-key": other})
        async with listen(stack, shown, **{"X-API-Key": stack.api_key}) as events:
            await stack.send([row(START_MS, 1, sensor="ours")])
            await theirs.post("/v1/readings", json=[row(START_MS, 2, sensor="theirs")])
            assert [r["sensor"] for r in await events.of_kind("readings")] == ["theirs"]
        await add_user(stack, "boss@example.org", platform=True)
        boss = bearer(await tokens(stack, "boss@example.org"))
        shown = await ticket(stack, boss | {"x-tenant-id": them})
        async with listen(stack, shown) as events:
            await stack.send([row(START_MS + 1, 1, sensor="ours")])
            await theirs.post("/v1/readings", json=[row(START_MS + 1, 2, sensor="theirs")])
            assert [r["sensor"] for r in await events.of_kind("readings")] == ["theirs"]
            told = (await theirs.get("/v1/audit?action=tenant.visited")).json()["data"]
            assert [each["detail"]["path"] for each in told] == ["/v1/stream", "/v1/tickets"]
            await stack.sql("UPDATE users SET platform = false")
            with trio.fail_after(20):
                assert await events.of_kind("unauthenticated")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (OURS, True),
        ("own", True),
        ("own behind TLS", True),
        (OTHERS, False),
        ("https://app.example.evil", False),
        ("http://app.example", False),
        ("null", False),
    ],
)
async def test_only_our_pages_open_a_socket_or_a_stream(
    stack: Stack, origin: str, allowed: bool
) -> None:
    """Before the upgrade, with a ticket or a key; a page that may not uses no ticket up."""
    host = stack.url.removeprefix("http://")
    said = {"own": f"http://{host}", "own behind TLS": f"https://{host}"}.get(origin, origin)
    page = {"host": host, "origin": said}
    shown = [await ticket(stack) for _ in range(2)]
    assert await heard(stack, shown[0], **page) == (200 if allowed else 403)
    # The handshake names the host by itself.
    named = {"origin": said.replace(host, "127.0.0.1")}
    assert await shaken(stack, shown[1], named) == (101 if allowed else 403)
    assert await living(stack) == (0 if allowed else 2)
    if not allowed:
        try:
            async with connect(stack, headers=named | {"x-api-key": stack.api_key}):
                pytest.fail("a page of others has a socket")
        except Rejected as refused:
            assert refused.status == 403
            assert b"foreign_origin" in refused.body
        assert await heard(stack, shown[0]) == 200, "it was not used up"


async def test_a_page_of_the_public_address_is_our_own(database_url: str) -> None:
    """Whatever host the proxy asks for."""
    proxies = ProxySettings(0, "https://api.example.com/")
    async with open_stack(database_url, proxies=proxies) as running:
        page = {"host": "inside:8080", "origin": "https://api.example.com"}
        assert await heard(running, await ticket(running), **page) == 200
        page["origin"] = "https://api.example.org"
        assert await heard(running, await ticket(running), **page) == 403


async def test_who_reads_by_headers_is_held_back_by_cors_alone(stack: Stack) -> None:
    """A stream without a ticket is as it was, whatever page asks."""
    key = {"X-API-Key": stack.api_key, "Origin": OTHERS}
    async with ask(stack.url, "/v1/stream", **key) as answer:
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
    async with ask(stack.url, f"/v1/stream?ticket={await ticket(stack)}", Origin=OURS) as answer:
        assert answer.headers["access-control-allow-origin"] == OURS


async def test_a_tenant_has_so_many_living_tickets(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were used or ran out count no more; another tenant's never did."""
    monkeypatch.setattr(tickets, "MOST_LIVING", 3)
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    shown = [await ticket(stack) for _ in range(3)]
    refused = await stack.client.post("/v1/tickets")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_tickets")
    assert refused.headers["retry-after"] == "5"
    await ticket(stack, {"x-api-key": other})
    assert await heard(stack, shown[0]) == 200
    await ticket(stack)
    assert (await stack.client.post("/v1/tickets")).status_code == 429
    await stack.sql("UPDATE tickets SET expires_at = now() WHERE tenant_id = 1")
    await ticket(stack)
    assert await living(stack) == 2


async def test_tickets_that_nobody_used_go(stack: Stack) -> None:
    """Of every tenant, also of one that asks for none any more; those that hold stay."""
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    await ticket(stack, {"x-api-key": other})
    await stack.sql("UPDATE tickets SET expires_at = now()")
    kept = await ticket(stack)
    await forget(stack.sessions)
    rows = await stack.sql("SELECT ticket_hash FROM tickets")
    assert [each["ticket_hash"] for each in rows] == [hash_secret(kept)], "and nothing but a hash"


async def test_guessed_tickets_cost_few_queries(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As guessed keys do; what has not a ticket's form costs none."""
    monkeypatch.setattr(rates, "LOOKUPS_PER_S", 1)
    looked: list[bytes] = []
    use = PostgresPeople.use_ticket

    async def counted(people: PostgresPeople, shown: bytes) -> Any:
        looked.append(shown)
        return await use(people, shown)

    monkeypatch.setattr(PostgresPeople, "use_ticket", counted)
    async with strict(database_url) as stack:
        assert await heard(stack, "x") == 401
        assert looked == []
        began = trio.current_time()
        got = [await heard(stack, new_ticket()) for _ in range(40)]
        assert set(got) == {401, 429}
        assert len(looked) <= 3 + 1 + 1 + (trio.current_time() - began)


async def test_a_page_goes_on_where_it_was(stack: Stack) -> None:
    """With another ticket and the last id in the address; where both are said the header counts."""
    await stack.send([row(START_MS, 1)])
    async with listen(stack, await ticket(stack)) as events:
        await stack.send([row(START_MS + 1000, 2)])
        await events.of_kind("readings")
        last = events.last_id
    await stack.send([row(START_MS + 2000, 3)])
    more = f"&last_event_id={last}"
    async with listen(stack, await ticket(stack), more) as events:
        assert [each["value"] for each in await events.of_kind("readings")] == [3.0]
        after = events.last_id
    await stack.send([row(START_MS + 3000, 4)])
    async with listen(stack, await ticket(stack), more, **{"Last-Event-ID": str(after)}) as events:
        assert [each["value"] for each in await events.of_kind("readings")] == [4.0]
