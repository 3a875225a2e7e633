"""Signing in, staying signed in, signing out, and choosing passwords."""

import hashlib
import threading
from typing import Any
from uuid import uuid4

import pytest
import trio

from atalaia.http import login as login_routes
from atalaia.http import sessions as sessions_module
from atalaia.http.hashing import Hashing
from atalaia.model.audit import Actor
from atalaia.model.errors import Unavailable
from atalaia.model.people import NewSession
from atalaia.security.passwords import COST, password_matches
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


async def test_another_password_ends_every_session(stack: Stack) -> None:
    """With the current one, and only one that is hard to guess."""
    await add_user(stack, EMAIL)
    here, there = await tokens(stack, EMAIL), await tokens(stack, EMAIL)
    new = "the herons have left"
    async with client(stack, bearer(here)) as person:

        async def change(current: str, password: str) -> tuple[int, str]:
            body = {"current": current, "password": password}
            response = await person.post("/v1/auth/password", json=body)
            return response.status_code, response.text and response.json()["code"]

        assert await change("wrong", new) == (403, "login_refused")
        assert await change(PASSWORD, "short") == (400, "weak_password")
        assert await change(PASSWORD, "password12345678") == (400, "weak_password")
        assert await me(stack, here) == 200
        assert await change(PASSWORD, new) == (204, "")
    assert (await me(stack, here), await me(stack, there)) == (401, 401)
    assert (await refresh(stack, there["refresh_token"]))[0] == 401
    assert (await login(stack, EMAIL)).status_code == 401
    assert (await login(stack, EMAIL, new)).status_code == 200


async def mailed(stack: Stack) -> list[dict[str, Any]]:
    return await stack.sql(
        "SELECT kind, recipient, params::text FROM outbox_mails ORDER BY mail_id"
    )


async def link_of(stack: Stack) -> str:
    (row,) = await stack.sql(
        "SELECT params->>'token' AS token FROM outbox_mails ORDER BY created_at DESC LIMIT 1"
    )
    return str(row["token"])


@pytest.fixture
def quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_routes, "FORGOT_S", 0.0)


async def test_a_forgotten_password_is_chosen_anew(stack: Stack, quick_answers: None) -> None:
    """By a link from a mail, once; and every session ends."""
    await add_user(stack, EMAIL)
    before = await tokens(stack, EMAIL)
    forgot = await post(stack, "/v1/auth/password/forgot", {"email": EMAIL.upper()})
    assert forgot.status_code == 202
    (mail,) = await mailed(stack)
    assert (mail["kind"], mail["recipient"]) == ("reset", EMAIL)
    new = "the herons have left"
    token = await link_of(stack)

    async def choose(password: str) -> int:
        body = {"token": token, "password": password}
        return (await post(stack, "/v1/auth/password/reset", body)).status_code

    assert await choose("short") == 400, "and the link still holds"
    assert await choose(new) == 204
    assert await choose(new + "!") == 404
    assert await me(stack, before) == 401
    assert (await login(stack, EMAIL, new)).status_code == 200
    assert (await actions(stack))[1:3] == ["user.reset_asked", "user.password_set"]


async def test_to_ask_for_a_link_says_nothing(stack: Stack) -> None:
    """Who exists and who does not: the same answer after the same time, and no mail for nobody."""
    await add_user(stack, EMAIL)
    said = set()
    for email in (EMAIL, "nobody@example.org", "no address"):
        began = trio.current_time()
        response = await post(stack, "/v1/auth/password/forgot", {"email": email})
        took_s = trio.current_time() - began
        assert login_routes.FORGOT_S <= took_s < login_routes.FORGOT_S + 0.4
        said.add((response.status_code, response.text))
    assert len(said) == 1
    assert len(await mailed(stack)) == 1


async def test_links_end_and_are_few(stack: Stack, quick_answers: None) -> None:
    """Who asks again and again neither floods a mailbox nor takes away the link that came first."""
    await add_user(stack, EMAIL)
    for n in range(5):
        await post(stack, "/v1/auth/password/forgot", {"email": EMAIL})
        if n == 0:
            token = await link_of(stack)
    assert len(await mailed(stack)) == 3
    await stack.sql("UPDATE user_links SET expires_at = now()")
    body = {"token": token, "password": "the herons have left"}
    assert (await post(stack, "/v1/auth/password/reset", body)).status_code == 404


async def test_the_application_cannot_read_mails(stack: Stack) -> None:
    """They hold links."""
    rows = await stack.sql(
        "SELECT privilege_type FROM information_schema.role_table_grants"
        " WHERE grantee = 'atalaia_app' AND table_name = 'outbox_mails'"
    )
    assert [row["privilege_type"] for row in rows] == ["INSERT"]


async def test_hashing_has_a_line_of_its_own_and_an_end() -> None:
    """Two at a time; beyond the line others are told to come back."""
    hashing = Hashing()
    running, most, refused = 0, 0, 0

    async def one() -> None:
        nonlocal refused
        try:
            await hashing.run(work)
        except Unavailable as error:
            assert error.retry_after_s > 0
            refused += 1

    lock, gate = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(5)
        with lock:
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(one)
        with trio.move_on_after(5):
            while refused < 12 or running < 2:
                await trio.sleep(0.01)
        gate.set()
    assert (most, refused) == (2, 12)


async def test_a_hash_of_former_days_is_replaced(stack: Stack) -> None:
    """With the password in hand, at the next login."""
    import bcrypt

    await add_user(stack, EMAIL)
    cheap = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await stack.sql("UPDATE users SET password_hash = $1", cheap)
    assert (await login(stack, EMAIL)).status_code == 200
    (row,) = await stack.sql("SELECT password_hash FROM users WHERE email = $1", EMAIL)
    assert row["password_hash"].startswith(f"$2b${COST}$")
    assert (await login(stack, EMAIL)).status_code == 200


async def test_tokens_of_another_secret_open_nothing(stack: Stack) -> None:
    """As after a rotation that left the old secret out."""
    await add_user(stack, EMAIL)
    signed_in = await tokens(stack, EMAIL)
    assert await me(stack, signed_in) == 200
    stack.sessions.keys = TokenKeys([b"another secret, as long as the other one"])
    assert await me(stack, signed_in) == 401


async def test_a_password_that_changes_meanwhile_begins_no_session(stack: Stack) -> None:
    """While the old one was compared: or it would open a session after all were ended."""
    user_id = await add_user(stack, EMAIL)
    people, tenant_no = stack.sessions.people, await stack.tenant_no()
    session = NewSession(uuid4(), b"hash", 60)
    known = await people.find_login(EMAIL)
    assert known is not None
    await people.set_password(tenant_no, user_id, "another hash", Actor("test"))
    assert not await people.begin_session(known, session, "the old one, hashed anew")
    (row,) = await stack.sql("SELECT password_hash FROM users WHERE email = $1", EMAIL)
    assert row["password_hash"] == "another hash"
    assert await stack.sql("SELECT FROM sessions") == []


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
