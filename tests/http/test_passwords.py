"""Choosing passwords: with the current one, or by a link from a mail, once."""

from typing import Any
from uuid import uuid4

import bcrypt
import pytest
import trio

from atalaia.http import login as login_routes
from atalaia.http import sessions as sessions_module
from atalaia.model.audit import Actor
from atalaia.model.people import NewSession
from atalaia.security.passwords import COST
from tests.http.test_login import EMAIL, actions, me, refresh
from tests.people import PASSWORD, add_user, bearer, client, login, post, tokens
from tests.stack import Stack, make_tenant

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept for a moment would only make these tests wait; how long has one of its own."""
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


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


async def test_who_visits_another_tenant_changes_the_own_password(stack: Stack) -> None:
    """There is none to change there."""
    await add_user(stack, EMAIL, platform=True)
    key = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": key}) as own:
        other = (await own.get("/v1/me")).json()["tenant_id"]
    new = "the herons have left"
    async with client(stack, bearer(await tokens(stack, EMAIL))) as person:
        body = {"current": PASSWORD, "password": new}
        visit = {"x-tenant-id": other}
        done = await person.post("/v1/auth/password", json=body, headers=visit)
        assert done.status_code == 204
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


async def test_an_invitation_that_ended_is_not_revived(stack: Stack, quick_answers: None) -> None:
    """Whoever was invited asks for a new password: that is for those who have one."""
    await add_user(stack, EMAIL)
    await stack.sql("UPDATE users SET password_hash = NULL WHERE email = $1", EMAIL)
    assert (await post(stack, "/v1/auth/password/forgot", {"email": EMAIL})).status_code == 202
    assert await mailed(stack) == []


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


async def test_a_hash_of_former_days_is_replaced(stack: Stack) -> None:
    """With the password in hand, at the next login."""
    await add_user(stack, EMAIL)
    cheap = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    await stack.sql("UPDATE users SET password_hash = $1", cheap)
    assert (await login(stack, EMAIL)).status_code == 200
    (row,) = await stack.sql("SELECT password_hash FROM users WHERE email = $1", EMAIL)
    assert row["password_hash"].startswith(f"$2b${COST}$")
    assert (await login(stack, EMAIL)).status_code == 200


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
