"""Every route says who may call it, and lets in nobody else."""

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest

from atalaia.http.access import ROUTES, Access, check_access
from atalaia.model.errors import Forbidden
from atalaia.model.ids import TenantNo
from atalaia.model.principal import LEAST_ROLE, ROLES, SCOPES, Person, Principal
from tests.people import add_key, add_user, bearer, client, tokens
from tests.security.test_tokens import forged, header_of, part_of
from tests.stack import TEST_SECRET, Stack

pytestmark = pytest.mark.postgres

STREAM = "text/event-stream"


def served(stack: Stack) -> Iterator[str]:
    """What the application itself answers to."""
    app = cast("Any", stack.front.app)
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield f"{method} {rule.rule}"


async def test_every_route_says_who_may_call_it(stack: Stack) -> None:
    """And the table names no route that is not there."""
    assert sorted(served(stack)) == sorted(ROUTES)


async def test_a_route_that_says_nothing_is_closed(stack: Stack) -> None:
    """To an administrator of everything, and to a key with every scope."""
    person = Person(uuid4(), "a@example.org", "admin", uuid4(), platform=True)
    for holder in (None, person):
        scopes = frozenset[str](SCOPES)
        principal = Principal(TenantNo(1), UUID(int=1), "k", scopes, person=holder)
        with pytest.raises(Forbidden):
            check_access(principal, "GET", "/v1/forgotten")


def expected(access: Access, who: str) -> bool:
    """What the table promises, told in another way than the code does."""
    kind, _, rank = who.partition(" ")
    if access.role is None:
        return True
    if kind == "stranger":
        return False
    if kind == "key":
        if access.scope == "read" and rank in ("rules", "sensors"):
            return True
        return access.scope == "any" or (
            access.scope is not None and rank in (access.scope, "admin")
        )
    if access.role == "platform":
        return rank == "platform"
    return rank == "platform" or ROLES.index(rank) >= ROLES.index(access.role)


async def test_each_role_and_each_scope_opens_what_the_table_says(stack: Stack) -> None:
    """Every route, asked by everybody there is: 401 or 403 where it says so, and nowhere else.

    Ids are unknown and bodies empty, so that nothing is done by those who may.
    """
    async with AsyncExitStack() as opened:
        everybody: dict[str, httpx.AsyncClient] = {}
        for role in (*ROLES, "platform"):
            email = f"{role}@example.org"
            platform = role == "platform"
            await add_user(stack, email, "admin" if platform else role, platform=platform)
            headers = bearer(await tokens(stack, email))
            everybody[f"person {role}"] = await opened.enter_async_context(client(stack, headers))
        for scope in SCOPES:
            headers = {"x-api-key": await add_key(stack, scope)}
            everybody[f"key {scope}"] = await opened.enter_async_context(client(stack, headers))
        everybody["stranger"] = await opened.enter_async_context(client(stack))
        wrong = []
        for route, access in ROUTES.items():
            method, _, rule = route.partition(" ")
            if "<token>" in rule:  # it is the credential
                continue
            path = re.sub("<[^>]+>", str(uuid4()), rule)
            path += "?dry_run=true" if rule.endswith(":import") else ""
            for who, asking in everybody.items():
                async with asking.stream(method, path) as response:
                    if response.headers.get("content-type") != STREAM:  # which has no end
                        await response.aread()
                code = response.json().get("code") if response.status_code in (401, 403) else None
                let_in = code not in ("unauthenticated", "unauthorized", "forbidden")
                if "refresh" in path:  # an empty body is refused before it is looked at
                    assert response.status_code == 400
                if let_in != expected(access, who):
                    wrong.append((route, who, response.status_code))
                assert response.status_code < 500, (route, who, response.text)
        assert wrong == []


async def test_roles_and_scopes_grow(stack: Stack) -> None:
    """Who may more may all that who may less; so one word is enough to say who may."""
    person = Person(uuid4(), "a@example.org", "viewer", uuid4())
    may = [
        {scope for scope in SCOPES if Person(person.user_id, "", role, uuid4()).may(scope)}
        for role in ROLES
    ]
    assert may[0] < may[1] < may[2] == set(SCOPES) == set(LEAST_ROLE)


@pytest.mark.parametrize(
    "header", ["X-API-Key: {}", "Authorization: Bearer {}", "Authorization: Token {}",
               "authorization: token {}"]
)  # fmt: skip
async def test_a_key_is_taken_where_clients_put_it(stack: Stack, header: str) -> None:
    """Telegraf's way too."""
    name, _, value = header.format(stack.api_key).partition(": ")
    async with client(stack, {name: value}) as asking:
        assert (await asking.get("/v1/me")).json()["subject"].startswith("key:")


@pytest.mark.parametrize(
    "attack", ["none", "unsigned", "HS512", "kid", "crit", "jku", "typ", "expired", "nbf", "aud"]
)
async def test_a_forged_token_is_answered_401(stack: Stack, attack: str) -> None:
    """Whatever is wrong with it: one answer, which says how to do it right."""
    await add_user(stack, "a@example.org")
    good = (await tokens(stack, "a@example.org"))["access_token"]
    header, payload = header_of(good), part_of(good, 1)
    now_s = payload["iat"]
    headers: dict[str, dict[str, Any]] = {
        "none": {"alg": "none"}, "HS512": {"alg": "HS512"}, "kid": {"kid": "0"},
        "crit": {"crit": ["exp"]}, "jku": {"jku": "https://evil.example"}, "typ": {"typ": "JWT"},
    }  # fmt: skip
    payloads: dict[str, dict[str, Any]] = {
        "expired": {"exp": now_s - 60}, "nbf": {"nbf": now_s + 60}, "aud": {"aud": "x"},
    }  # fmt: skip
    token = forged(
        header | headers.get(attack, {}), payload | payloads.get(attack, {}), TEST_SECRET,
        "HS512" if attack == "HS512" else None,
    )  # fmt: skip
    if attack in ("none", "unsigned"):
        token = token.rpartition(".")[0] + "."
    async with client(stack) as asking:
        answers = [
            await asking.get("/v1/me", headers={"authorization": f"Bearer {text}"})
            for text in (good, token)
        ]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[1].headers["www-authenticate"] == 'Bearer realm="atalaia"'
    assert answers[1].json()["code"] == "unauthenticated"


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"email": 1}', b"\xff", b"null"])
async def test_junk_for_strangers_is_a_bad_request(stack: Stack, body: bytes) -> None:
    """Nothing that somebody sends before signing in is our fault."""
    async with client(stack) as stranger:
        for route, access in ROUTES.items():
            method, _, path = route.partition(" ")
            if access.role is None and method == "POST":
                assert (await stranger.post(path, content=body)).status_code == 400, route


async def test_a_token_is_no_key_and_a_key_no_token(stack: Stack) -> None:
    """In the place of the other they open nothing."""
    await add_user(stack, "a@example.org")
    access = (await tokens(stack, "a@example.org"))["access_token"]
    for headers in (
        {"x-api-key": access},
        {"authorization": f"Token {access}"},
        {"authorization": f"Basic {stack.api_key}"},
        {"authorization": f"Bearer x{stack.api_key}"},
        {"authorization": "Bearer"},
    ):
        async with client(stack, headers) as asking:
            assert (await asking.get("/v1/me")).status_code == 401, headers
