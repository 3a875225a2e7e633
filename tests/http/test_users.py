"""Users: invited, changed, taken away; and none of it over somebody's head."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from atalaia.http import sessions as sessions_module
from tests.people import PASSWORD, add_key, add_user, bearer, client, login, post, tokens
from tests.stack import Stack, make_tenant, open_stack

pytestmark = pytest.mark.postgres

ADMIN, NEW = "admin@example.org", "new@example.org"
CHOSEN = "seven grey herons fly"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


async def invite(asking: httpx.AsyncClient, email: str = NEW, role: str = "viewer") -> Any:
    response = await asking.post("/v1/users", json={"email": email, "role": role})
    assert response.status_code == 201, response.text
    return response.json()


async def test_who_is_invited_chooses_a_password(stack: Stack) -> None:
    """By the link, once; before that nobody signs in. The mail with it waits in the outbox."""
    await add_user(stack, ADMIN)
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        made = await invite(admin, " New@Example.org", "operator")
        assert (made["email"], made["role"], made["state"]) == (NEW, "operator", "invited")
        assert (await login(stack, NEW, CHOSEN)).status_code == 401
        outbox = "SELECT kind, recipient, params->>'token' AS token FROM outbox_mails"
        (mail,) = await stack.sql(outbox)
        assert tuple(mail.values()) == ("invitation", NEW, made["link"]["token"])
        chosen = {"token": made["link"]["token"], "password": CHOSEN}
        assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 204
        assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 404
        assert (await login(stack, NEW, CHOSEN)).status_code == 200
        read = (await admin.get(f"/v1/users/{made['id']}")).json()
        assert (read["state"], read["last_login_at"] is None) == ("active", False)
        listed = (await admin.get("/v1/users")).json()["data"]
        emails = [user["email"] for user in listed]
        assert emails == sorted(emails)
        assert {ADMIN, NEW} < set(emails)
    assert (await stack.sql("SELECT outcome FROM outbox_mails"))[0]["outcome"] == "expired"


@pytest.mark.parametrize("how", ["deleted", "disabled"])
async def test_who_is_out_gets_no_link(stack: Stack, how: str) -> None:
    """What waits to be sent to them is wiped."""
    await add_user(stack, ADMIN)
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        made = await invite(admin, NEW, "operator")
        path = f"/v1/users/{made['id']}"
        if how == "deleted":
            assert (await admin.delete(path)).status_code == 204
        else:
            assert (await admin.patch(path, json={"disabled": True})).status_code == 200
    (mail,) = await stack.sql("SELECT outcome, params FROM outbox_mails")
    assert tuple(mail.values()) == ("expired", "{}")


async def test_who_is_disabled_is_sent_no_link(stack: Stack) -> None:
    """It would not hold; enabled again, they get one."""
    path = f"/v1/users/{await add_user(stack, NEW)}"
    assert (await stack.client.patch(path, json={"disabled": True})).status_code == 200
    refused = await stack.client.post(f"{path}/link")
    assert (refused.status_code, refused.json()["code"]) == (409, "disabled")
    assert await stack.sql("SELECT FROM outbox_mails") == []
    assert (await stack.client.patch(path, json={"disabled": False})).status_code == 200
    assert (await stack.client.post(f"{path}/link")).status_code == 200


async def test_an_address_stands_for_who_chose_a_password(stack: Stack) -> None:
    """Whoever invites it learns of their own tenant alone, and takes it from nobody."""
    await add_user(stack, ADMIN)
    other = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": other}) as rival:
        squatted = await invite(rival, ADMIN)
        first = await invite(rival, NEW)
        again = await rival.post("/v1/users", json={"email": NEW})
        assert (again.status_code, again.json()["code"]) == (409, "email_taken")
    async with client(stack, {"x-api-key": stack.api_key}) as own:
        assert (await own.post("/v1/users", json={"email": ADMIN})).status_code == 409
        second = await invite(own, NEW)
    for made, status in ((squatted, 409), (second, 204), (first, 409), (first, 409)):
        body = {"token": made["link"]["token"], "password": CHOSEN}
        assert (await post(stack, "/v1/auth/password/reset", body)).status_code == status
    assert (await login(stack, ADMIN, CHOSEN)).status_code == 401
    assert (await login(stack, ADMIN, PASSWORD)).status_code == 200
    async with client(stack, bearer(await tokens(stack, NEW, CHOSEN))) as new:
        async with client(stack, {"x-api-key": stack.api_key}) as own:
            mine = (await own.get("/v1/me")).json()["tenant_id"]
        assert (await new.get("/v1/me")).json()["tenant_id"] == mine


async def test_links_that_are_mailed_are_not_shown(database_url: str) -> None:
    """Who uses one has the mails of that address."""
    async with open_stack(database_url, mailed=True) as stack:
        await add_user(stack, ADMIN, platform=True)
        async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
            made = await invite(admin)
            sent = await admin.post(f"/v1/users/{made['id']}/link")
            body = {"name": "x", "admin_email": "ze@example.org"}
            tenant = await admin.post("/v1/admin/tenants", json=body)
            for said in (made, sent.json(), tenant.json()):
                assert list(said["link"]) == ["expires_in"]
        mails = await stack.sql("SELECT params->>'token' AS token FROM outbox_mails")
        sent_of = [mail["token"] for mail in mails if mail["token"] is not None]
        assert len(sent_of) == 2  # and the first invitation was taken back
        chosen = {"token": sent_of[0], "password": CHOSEN}
        assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 204


@pytest.mark.parametrize(
    "body",
    [{}, {"email": "x"}, {"email": "a b@c.d"}, {"email": 7}, {"email": "a@b@c"}, {"email": "a@"},
     {"email": "a@example.org", "role": "owner"}, {"email": "a@example.org", "platform": True},
     {"email": "a@example.org", "tenant_id": 2}, {"email": "a\0@example.org"}],
)  # fmt: skip
async def test_a_bad_invitation_is_refused(stack: Stack, body: dict[str, Any]) -> None:
    """Also one that would give away more than there is to give."""
    response = await stack.client.post("/v1/users", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")


@pytest.mark.parametrize("email", ["joão@example.org", "joao@padaria-do-zé.example"])
async def test_an_address_that_no_mail_reaches_is_refused(stack: Stack, email: str) -> None:
    """With what to do, wherever somebody is invited; whoever asks with one is told nothing."""
    await add_user(stack, ADMIN, platform=True)
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        for path, body in (
            ("/v1/users", {"email": email}),
            ("/v1/admin/tenants", {"name": "Padaria do Zé", "admin_email": email}),
        ):
            refused = await admin.post(path, json=body)
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_body")
            assert "addresses are ASCII here" in refused.json()["detail"]
    assert (await login(stack, email)).status_code == 401
    assert (await post(stack, "/v1/auth/password/forgot", {"email": email})).status_code == 202
    assert await stack.sql("SELECT FROM outbox_mails") == []


async def test_another_role_holds_at_once(stack: Stack) -> None:
    """And a disabled user is out: every session ends, no link holds, no password opens."""
    await add_user(stack, ADMIN)
    user_id = await add_user(stack, NEW, "admin")
    path = f"/v1/users/{user_id}"
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        signed_in = await tokens(stack, NEW)
        async with client(stack, bearer(signed_in)) as person:
            assert (await person.get("/v1/users")).status_code == 200
            changed = await admin.patch(path, json={"role": "viewer"})
            assert changed.json()["role"] == "viewer"
            assert (await person.get("/v1/users")).status_code == 401
        body = {"refresh_token": signed_in["refresh_token"]}
        assert (await post(stack, "/v1/auth/refresh", body)).status_code == 401
        async with client(stack, bearer(await tokens(stack, NEW))) as person:
            assert (await person.get("/v1/users")).status_code == 403
            assert (await person.get("/v1/sensors")).status_code == 200
            assert (await person.post("/v1/rules", json={"text": "x"})).status_code == 403
            link = (await admin.post(f"{path}/link")).json()["link"]["token"]
            answer = await admin.patch(path, json={"disabled": True})
            assert answer.json().get("state") == "disabled", answer.text
            assert (await person.get("/v1/sensors")).status_code == 401
        chosen = {"token": link, "password": CHOSEN}
        assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 404
        assert (await login(stack, NEW)).status_code == 401
        assert (await admin.patch(path, json={"disabled": False})).json()["state"] == "active"
        assert (await login(stack, NEW)).status_code == 200
        assert (await admin.delete(path)).status_code == 204
        assert (await admin.delete(path)).status_code == 404
        assert (await admin.get(path)).status_code == 404
        assert (await login(stack, NEW)).status_code == 401


async def test_the_last_administrator_stays(stack: Stack) -> None:
    """Neither demoted nor disabled nor deleted; who has no password yet does not count."""
    await stack.sql("DELETE FROM users")
    user_id = await add_user(stack, ADMIN)
    path = f"/v1/users/{user_id}"
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        await invite(admin, NEW, "admin")
        for response in (
            await admin.patch(path, json={"role": "operator"}),
            await admin.patch(path, json={"disabled": True}),
            await admin.delete(path),
        ):
            assert (response.status_code, response.json()["code"]) == (409, "last_admin")
        assert (await admin.patch(path, json={"role": "admin"})).status_code == 200
        await add_user(stack, "second@example.org")
        assert (await admin.delete(path)).status_code == 204


async def test_somebody_looks_after_all(stack: Stack) -> None:
    """The last one who does stays, though there are other administrators."""
    await stack.sql("DELETE FROM users")
    await add_user(stack, ADMIN)
    above = await add_user(stack, "above@example.org", platform=True)
    path = f"/v1/users/{above}"
    async with client(stack, bearer(await tokens(stack, "above@example.org"))) as platform:
        for response in (
            await platform.patch(path, json={"role": "viewer"}),
            await platform.patch(path, json={"disabled": True}),
            await platform.delete(path),
        ):
            assert (response.status_code, response.json()["code"]) == (409, "last_admin")
        await add_user(stack, "too@example.org", platform=True)
        assert (await platform.delete(path)).status_code == 204


async def test_mails_to_an_address_are_few(stack: Stack) -> None:
    """And only the last link is brought; then 429 says how long."""
    await add_user(stack, ADMIN)
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        made = await invite(admin)
        for _ in range(4):
            assert (await admin.post(f"/v1/users/{made['id']}/link")).status_code == 200
        refused = await admin.post(f"/v1/users/{made['id']}/link")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_mails")
        assert int(refused.headers["retry-after"]) > 0
        assert (await admin.delete(f"/v1/users/{made['id']}")).status_code == 204
        again = await admin.post("/v1/users", json={"email": NEW, "role": "viewer"})
        assert again.status_code == 429
        await invite(admin, "other@example.org")
    waiting = await stack.sql(
        "SELECT recipient, params->>'token' IS NOT NULL AS there FROM outbox_mails"
        " WHERE outcome IS NULL ORDER BY mail_id"
    )
    assert [tuple(row.values()) for row in waiting] == [("other@example.org", True)]


async def test_who_looks_after_all_is_not_taken_over(stack: Stack) -> None:
    """A link is the account itself: neither an administrator of the tenant nor a key gets one."""
    await add_user(stack, ADMIN)
    above = await add_user(stack, "above@example.org", platform=True)
    path = f"/v1/users/{above}"
    async with (
        client(stack, bearer(await tokens(stack, ADMIN))) as admin,
        client(stack, {"x-api-key": await add_key(stack, "admin")}) as key,
        client(stack, bearer(await tokens(stack, "above@example.org"))) as platform,
    ):
        for asking in (admin, key):
            assert (await asking.post(f"{path}/link")).status_code == 403
            assert (await asking.patch(path, json={"role": "viewer"})).status_code == 403
            assert (await asking.delete(path)).status_code == 403
            assert (await asking.get(path)).status_code == 200
        assert (await platform.post(f"{path}/link")).status_code == 200
        assert (await login(stack, "above@example.org", PASSWORD)).status_code == 200


async def test_another_tenants_user_is_nobody(stack: Stack) -> None:
    """As an id that nobody has."""
    user_id = await add_user(stack, ADMIN)
    other = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": other}) as asking:
        for unknown in (user_id, uuid4(), "x"):
            path = f"/v1/users/{unknown}"
            assert (await asking.get(path)).status_code == 404
            assert (await asking.patch(path, json={"role": "viewer"})).status_code == 404
            assert (await asking.post(f"{path}/link")).status_code == 404
            assert (await asking.delete(path)).status_code == 404
    assert (await login(stack, ADMIN)).status_code == 200
