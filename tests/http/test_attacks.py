"""Credentials used otherwise than they are meant: in each other's place, mixed, cut, after their
end.
"""

import pytest
import trio

from atalaia.http import auth, sessions, sockets
from atalaia.http import stream as streams
from atalaia.http.access import ROUTES
from atalaia.http.throttle import FREE_TRIES
from tests.events import follow
from tests.http.socket_client import connect
from tests.people import add_key, add_user, bearer, client, login, post, tokens
from tests.security.test_tokens import forged, header_of, part_of
from tests.stack import TEST_SECRET, Stack

pytestmark = pytest.mark.postgres

EMAIL = "maria@example.org"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a moment would only make these tests wait; how long has one of its own."""
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    monkeypatch.setattr(sessions, "KEEP_S", 0.0)


async def status(stack: Stack, headers: dict[str, str], path: str = "/v1/me") -> int:
    async with client(stack, headers) as asking:
        return (await asking.get(path)).status_code


async def test_no_credential_stands_for_another(stack: Stack) -> None:
    """A refresh token opens nothing, an access token and a key bring no new ones, and none of them
    chooses a password.
    """
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    access, refresh = signed_in["access_token"], signed_in["refresh_token"]
    for header in ({"authorization": f"Bearer {refresh}"}, {"x-api-key": refresh}):
        assert await status(stack, header) == 401
    for text in (access, stack.api_key, refresh + "0", refresh[:-1], refresh.upper()):
        answer = await post(stack, "/v1/auth/refresh", {"refresh_token": text})
        assert answer.status_code == 401
    for text in (access, refresh, stack.api_key):
        body = {"token": text, "password": "another quiet evening"}
        assert (await post(stack, "/v1/auth/password/reset", body)).status_code == 404
    assert await status(stack, bearer(signed_in)) == 200, "none of it ended the session"


async def test_a_session_is_its_users_alone(stack: Stack) -> None:
    """A token under our own secret that names another's session is nobody's."""
    mine, theirs = await add_user(stack, EMAIL), await add_user(stack, "b@example.org")
    good = (await tokens(stack, EMAIL))["access_token"]
    header, payload = header_of(good), part_of(good, 1)
    other = part_of((await tokens(stack, "b@example.org"))["access_token"], 1)
    assert (payload["sub"], other["sub"]) == (str(mine), str(theirs))
    for changes, right in (
        ({}, 200), ({"sub": str(theirs)}, 401), ({"sid": other["sid"]}, 401),
        ({"ver": payload["ver"] + 1}, 401), ({"ver": payload["ver"] - 1}, 401),
    ):  # fmt: skip
        token = forged(header, payload | changes, TEST_SECRET)
        assert await status(stack, {"authorization": f"Bearer {token}"}) == right, changes


async def test_two_credentials_are_not_their_sum(stack: Stack) -> None:
    """The key is the one that counts, whoever signed in beside it; a wrong one is not made good."""
    await add_user(stack, EMAIL, platform=True)
    admin = bearer(await tokens(stack, EMAIL))
    reader = await add_key(stack, "read")
    both = admin | {"x-api-key": reader}
    assert await status(stack, both, "/v1/users") == 403
    assert await status(stack, admin, "/v1/users") == 200
    assert await status(stack, admin | {"x-api-key": "atl_0_0"}) == 401
    assert await status(stack, admin | {"x-api-key": ""}) == 401


async def test_a_key_is_all_of_its_text(stack: Stack) -> None:
    """Another key's secret, a part of it, more than it, other letters: nobody's."""
    one, other = await add_key(stack, "read"), await add_key(stack, "admin")
    prefix, key_id, secret = one.split("_")
    for text in (
        f"{prefix}_{other.split('_')[1]}_{secret}", f"{prefix}_{key_id}_{'0' * 64}",
        f"{prefix}_{key_id}_{secret[:-1]}", f"{one}0", one.upper(),
        f"{prefix}_{key_id}_{secret.upper()}",
        f"x{one}", one.replace("_", "-"), f"{prefix}_{key_id}_", f"atl__{secret}", secret,
    ):  # fmt: skip
        assert await status(stack, {"x-api-key": text}) == 401, text
    assert await status(stack, {"x-api-key": one}) == 200


async def test_a_credential_counts_where_it_belongs(stack: Stack) -> None:
    """Not in a query, a cookie, a form or another header, where logs and other sites see it."""
    await add_user(stack, EMAIL)
    access = (await tokens(stack, EMAIL))["access_token"]
    for secret in (access, stack.api_key):
        for query in ("access_token", "token", "api_key", "x-api-key", "p", "authorization"):
            assert await status(stack, {}, f"/v1/me?{query}={secret}") == 401
        for header in ("cookie", "x-auth-token", "proxy-authorization", "x-authorization"):
            text = f"access_token={secret}" if header == "cookie" else f"Bearer {secret}"
            assert await status(stack, {header: text}) == 401


async def test_head_asks_for_as_much_as_get(stack: Stack) -> None:
    """Nobody learns by it what they may not read."""
    ingest = await add_key(stack, "ingest")
    async with client(stack) as nobody, client(stack, {"x-api-key": ingest}) as sender:
        for route, access in ROUTES.items():
            method, _, path = route.partition(" ")
            if method == "GET" and access.role is not None and "<" not in path:
                assert (await nobody.head(path)).status_code == 401, path
                if access.scope != "any":
                    assert (await sender.head(path)).status_code == 403, path


async def test_whom_a_header_names_guesses_no_faster(stack: Stack) -> None:
    """Where a request says that it comes from counts for nothing."""
    await add_user(stack, EMAIL)
    got = []
    for number in range(FREE_TRIES + 1):
        names = ("x-forwarded-for", "x-real-ip", "forwarded")
        fields = dict.fromkeys(names, f"198.51.100.{number}")
        async with client(stack, fields) as guesser:
            body = {"email": EMAIL, "password": "wrong"}
            got.append((await guesser.post("/v1/auth/login", json=body)).status_code)
    assert got == [401] * FREE_TRIES + [429]


async def test_a_person_who_is_disabled_is_cut_off(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From what they opened before as well: a socket, and a stream."""
    monkeypatch.setattr(sockets, "CHECK_S", 0.05)
    monkeypatch.setattr(streams, "CHECK_S", 0.05)
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    await add_user(stack, EMAIL, "operator")
    headers = bearer(await tokens(stack, EMAIL))
    with trio.fail_after(20):
        async with (
            connect(stack, headers=headers) as socket,
            follow(stack, **headers) as events,
        ):
            await socket.answer()
            await stack.sql("UPDATE users SET disabled_at = now() WHERE email = $1", EMAIL)
            assert await socket.closing_code() == sockets.KEY_REVOKED
            assert await events.of_kind("unauthenticated")
    assert (await login(stack, EMAIL)).status_code == 401
