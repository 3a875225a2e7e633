"""Signing in, staying signed in, signing out, and choosing passwords."""

import hashlib
from typing import Any

import pytest
import trio

from atalaia.http import sessions as sessions_module
from atalaia.http.hashing import Hashing
from atalaia.security.passwords import password_matches
from atalaia.security.tokens import TokenKeys
from tests.people import PASSWORD, add_user, bearer, client, login, post, tokens
from tests.stack import Stack

pytestmark = pytest.mark.postgres

EMAIL = "maria@example.org"


async def me(stack: Stack, signed_in: dict[str, Any]) -> int:
    async with client(stack, bearer(signed_in)) as person:
        return (await person.get("/v1/me")).status_code


async def refresh(stack: Stack, token: str) -> tuple[int, dict[str, Any]]:
    response = await post(stack, "/v1/auth/refresh", {"refresh_token": token})
    return response.status_code, response.json()


async def actions(stack: Stack) -> list[str]:
    rows = await stack.sql("SELECT action FROM audit ORDER BY tenant_id, seq")
    return [row["action"] for row in rows]


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a moment would only make these tests wait; how long has one of its own."""
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


async def test_who_signs_in_is_who_they_are(stack: Stack) -> None:
    """A token for a quarter of an hour, whatever the address' case; nobody may keep a copy."""
    user_id = await add_user(stack, EMAIL, "operator")
    response = await login(stack, " Maria@Example.ORG ")
    assert response.headers["cache-control"] == "no-store"
    signed_in = response.json()
    assert (signed_in["expires_in"], signed_in["refresh_expires_in"]) == (900, 7 * 86_400)
    async with client(stack, bearer(signed_in)) as person:
        said = (await person.get("/v1/me")).json()
        assert (await person.get("/v1/sensors")).status_code == 200
    assert said == {
        "subject": f"user:{user_id}", "tenant_id": said["tenant_id"], "email": EMAIL,
        "role": "operator", "platform": False,
    }  # fmt: skip
    assert await actions(stack) == ["session.began"]


async def test_a_refusal_says_nothing_of_the_account(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unknown, disabled, invited, a wrong password, one that bcrypt cannot read: the same answer,
    and a password is hashed every time.
    """
    await add_user(stack, EMAIL)
    await add_user(stack, "off@example.org")
    await add_user(stack, "new@example.org")
    await stack.sql("UPDATE users SET disabled_at = now() WHERE email = 'off@example.org'")
    await stack.sql("UPDATE users SET password_hash = NULL WHERE email = 'new@example.org'")
    hashed = []
    run = Hashing.run

    async def counted(hashing: Hashing, function: Any, *args: Any) -> Any:
        hashed.append(function)
        return await run(hashing, function, *args)

    monkeypatch.setattr(Hashing, "run", counted)
    said = set()
    cases = [
        ("nobody@example.org", PASSWORD), ("off@example.org", PASSWORD),
        ("new@example.org", PASSWORD), (EMAIL, "wrong"), (EMAIL, ""), (EMAIL, "x" * 500),
        ("no address", PASSWORD), ("\0@example.org", PASSWORD),
    ]  # fmt: skip
    for email, password in cases:
        response = await login(stack, email, password)
        body = response.json()
        del body["request_id"]
        said.add((response.status_code, str(body), response.headers["www-authenticate"]))
    assert len(said) == 1, said
    assert next(iter(said))[0] == 401
    assert hashed == [password_matches] * len(cases)


async def test_a_refresh_token_is_used_once(stack: Stack) -> None:
    """Each brings the next. An old one shown again ends the session, and is written down."""
    await add_user(stack, EMAIL)
    first = await tokens(stack, EMAIL)
    status, second = await refresh(stack, first["refresh_token"])
    assert status == 200
    status, third = await refresh(stack, second["refresh_token"])
    assert status == 200
    assert await me(stack, third) == 200
    assert (await refresh(stack, first["refresh_token"]))[0] == 401
    assert (await refresh(stack, third["refresh_token"]))[0] == 401, "the family is revoked"
    assert [await me(stack, one) for one in (first, second, third)] == [401] * 3
    assert await actions(stack) == ["session.began", "session.token_reused"]


async def test_a_lost_answer_makes_nobody_a_thief(stack: Stack) -> None:
    """Asked again at once the same comes back; not when something came of it, nor later."""
    await add_user(stack, EMAIL)
    first = await tokens(stack, EMAIL)
    _, lost = await refresh(stack, first["refresh_token"])
    status, again = await refresh(stack, first["refresh_token"])
    assert (status, again["refresh_token"]) == (200, lost["refresh_token"])
    assert (await refresh(stack, again["refresh_token"]))[0] == 200
    assert (await refresh(stack, first["refresh_token"]))[0] == 401

    late = await tokens(stack, EMAIL)
    await refresh(stack, late["refresh_token"])
    await stack.sql("UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds'")
    assert (await refresh(stack, late["refresh_token"]))[0] == 401
    assert (await actions(stack)).count("session.token_reused") == 2


async def test_two_at_once_get_the_same(stack: Stack) -> None:
    """However a race ends: one session, one next token."""
    await add_user(stack, EMAIL)
    first = await tokens(stack, EMAIL)
    got = []

    async def ask() -> None:
        got.append(await refresh(stack, first["refresh_token"]))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask)
    assert {status for status, _ in got} == {200}
    assert len({body["refresh_token"] for _, body in got}) == 1
    assert len(await stack.sql("SELECT FROM refresh_tokens")) == 2


async def test_a_session_ends_for_good(stack: Stack) -> None:
    """After seven days, however often it was refreshed."""
    await add_user(stack, EMAIL)
    first = await tokens(stack, EMAIL)
    _, second = await refresh(stack, first["refresh_token"])
    assert second["refresh_expires_in"] <= first["refresh_expires_in"]
    await stack.sql("UPDATE sessions SET ends_at = now() + interval '60 seconds'")
    _, third = await refresh(stack, second["refresh_token"])
    assert third["expires_in"] <= 60, "no access token outlives its session"
    await stack.sql("UPDATE sessions SET ends_at = now()")
    assert (await refresh(stack, third["refresh_token"]))[0] == 401
    assert await me(stack, third) == 401


async def test_signing_out_ends_the_session(stack: Stack) -> None:
    """This one and no other of the user; twice is as good as once."""
    await add_user(stack, EMAIL)
    here, there = await tokens(stack, EMAIL), await tokens(stack, EMAIL)
    for _ in range(2):
        out = await post(stack, "/v1/auth/logout", {"refresh_token": here["refresh_token"]})
        assert out.status_code == 204
    assert (await me(stack, here), await me(stack, there)) == (401, 200)
    assert (await refresh(stack, here["refresh_token"]))[0] == 401
    assert (await actions(stack)).count("session.ended") == 1


async def test_only_hashes_are_stored(stack: Stack) -> None:
    """Whoever reads the database can sign in as nobody; but mails hold links."""
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    await refresh(stack, signed_in["refresh_token"])
    for table in ("users", "sessions", "refresh_tokens", "audit", "user_links"):
        text = str(await stack.sql(f"SELECT t::text FROM {table} t"))
        for secret in (signed_in["refresh_token"], signed_in["access_token"], PASSWORD):
            assert secret not in text
    digest = hashlib.sha256(signed_in["refresh_token"].encode()).digest()
    assert await stack.sql("SELECT FROM refresh_tokens WHERE token_hash = $1", digest)


async def test_tokens_of_another_secret_open_nothing(stack: Stack) -> None:
    """As after a rotation that left the old secret out."""
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    assert await me(stack, signed_in) == 200
    stack.sessions.keys = TokenKeys([b"another secret, as long as the other one"])
    assert await me(stack, signed_in) == 401


async def test_a_token_of_former_credentials_opens_nothing(stack: Stack) -> None:
    """Even where the session was not ended: the version is the user's, and the token's is older."""
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    await stack.sql("UPDATE users SET token_version = token_version + 1")
    assert await me(stack, signed_in) == 401


async def test_strangers_send_little(stack: Stack) -> None:
    """Before anybody is known a body is small."""
    response = await post(stack, "/v1/auth/login", {"email": "a" * 10_000, "password": "x"})
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


async def test_what_is_said_of_a_session_is_kept_for_moments(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request costs no query, and a revocation takes effect within ten seconds."""
    monkeypatch.setattr(sessions_module, "KEEP_S", 1.0)
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    assert await me(stack, signed_in) == 200
    await stack.sql("UPDATE users SET disabled_at = now()")
    assert await me(stack, signed_in) == 200
    await trio.sleep(1.1)
    assert await me(stack, signed_in) == 401
