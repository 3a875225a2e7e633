"""`atalaia users`: whoever holds the database's credentials lets somebody back in, and says who
looks after all tenants.
"""

import pytest

from atalaia.http import sessions as sessions_module
from tests.cli.runner import Runner
from tests.people import add_user, bearer, client, login, post, tokens
from tests.stack import make_tenant

pytestmark = pytest.mark.postgres

CHOSEN = "seven grey herons fly"


async def test_the_last_administrator_finds_back(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """By a link that holds once, and is written down; nobody else is there."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    await add_user(cli.stack, "a@example.org")
    code, token = await cli("users", "link", "A@example.org", server=False, stderr=False)
    assert (code, len(token.split())) == (0, 1)
    body = {"token": token, "password": CHOSEN}
    for status in (204, 404):
        assert (await post(cli.stack, "/v1/auth/password/reset", body)).status_code == status
    assert (await login(cli.stack, "a@example.org", CHOSEN)).status_code == 200
    found = (await cli.stack.client.get("/v1/audit?actor=cli")).json()["data"]
    assert [entry["action"] for entry in found] == ["user.link_sent"]
    code, said = await cli("users", "link", "nobody@example.org", server=False)
    assert (code, said) == (1, "atalaia: The database knows no user nobody@example.org.")


async def test_an_address_that_several_tenants_invited(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Nobody is let into a tenant by chance: whoever signs in is meant, else nobody is."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    other = await make_tenant(cli.stack.bridge, database_url)
    for key in (cli.stack.api_key, other):
        async with client(cli.stack, {"x-api-key": key}) as asking:
            invited = await asking.post("/v1/users", json={"email": "b@example.org"})
    code, said = await cli("users", "link", "b@example.org", server=False)
    assert (code, "Several tenants have invited b@example.org" in said) == (1, True)
    body = {"token": invited.json()["link"]["token"], "password": CHOSEN}
    assert (await post(cli.stack, "/v1/auth/password/reset", body)).status_code == 204
    code, said = await cli("users", "link", "b@example.org", server=False)
    *about, token = said.split()
    assert (code, "within 60 minutes" in " ".join(about)) == (0, True)
    again = {"token": token, "password": CHOSEN + " again"}
    assert (await post(cli.stack, "/v1/auth/password/reset", again)).status_code == 204
    assert (await login(cli.stack, "b@example.org", CHOSEN + " again")).status_code == 200


async def test_who_is_disabled_gets_no_link(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """It would not hold; nor does a mail go out."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    user_id = await add_user(cli.stack, "a@example.org")
    await cli.stack.sql("UPDATE users SET disabled_at = now() WHERE user_id = $1", user_id)
    code, said = await cli("users", "link", "a@example.org", server=False)
    assert (code, said) == (1, "atalaia: This user is disabled; enable them first.")
    assert await cli.stack.sql("SELECT FROM outbox_mails") == []


async def test_several_look_after_all_tenants(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Each by a name of their own, and signed in anew; never nobody. The audit has it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)
    stack = cli.stack
    await stack.sql("DELETE FROM users")
    await add_user(stack, "first@example.org", platform=True)
    user_id = await add_user(stack, "a@example.org")
    signed_in = await tokens(stack, "a@example.org")
    code, said = await cli("users", "platform", "A@example.org", server=False)
    assert (code, said) == (0, "a@example.org looks after all tenants")
    async with client(stack, bearer(signed_in)) as before:
        assert (await before.get("/v1/me")).status_code == 401
    refresh = {"refresh_token": signed_in["refresh_token"]}
    assert (await post(stack, "/v1/auth/refresh", refresh)).status_code == 401
    async with client(stack, bearer(await tokens(stack, "a@example.org"))) as person:
        assert (await person.get("/v1/admin/tenants")).status_code == 200
        for _ in range(2):  # again changes nothing
            revoked = await cli("users", "platform", "first@example.org", "--revoke", server=False)
            assert revoked == (0, "first@example.org looks after their own tenant")
        code, said = await cli("users", "platform", "a@example.org", "--revoke", server=False)
        assert (code, "the last administrator who can look after all" in said) == (1, True)
        assert (await person.get("/v1/admin/tenants")).status_code == 200
    found = (await stack.client.get("/v1/audit?action=user.platform_set")).json()["data"]
    assert [(one["actor"], one["detail"]["platform"]) for one in found] == [
        ("cli", False), ("cli", True),
    ]  # fmt: skip
    assert found[1]["target"] == str(user_id)


async def test_who_may_not_look_after_all_tenants(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Users of other tenants, who are told the way; and who is no administrator, or cannot sign in.
    What else an address is invited to is left as it is.
    """
    monkeypatch.setenv("DATABASE_URL", database_url)
    stack = cli.stack
    await add_user(stack, "first@example.org", platform=True)
    key = await make_tenant(stack.bridge, database_url)
    async with client(stack, {"x-api-key": key}) as other:
        for email in ("b@example.org", "c@example.org"):
            assert (await other.post("/v1/users", json={"email": email})).status_code == 201
    invited = {"email": "d@example.org", "role": "admin"}
    assert (await stack.client.post("/v1/users", json=invited)).status_code == 201
    await add_user(stack, "v@example.org", "viewer")
    for email, why in (
        ("b@example.org", "is a user of another tenant"),
        ("d@example.org", "is no administrator who can sign in"),
        ("v@example.org", "is no administrator who can sign in"),
        ("nobody@example.org", "The database knows no user"),
    ):
        code, said = await cli("users", "platform", email, server=False)
        assert (code, why in said) == (1, True), said
    assert len(await stack.sql("SELECT FROM users WHERE platform AND email LIKE '_@%'")) == 0
    await add_user(stack, "c@example.org")
    assert (await cli("users", "platform", "c@example.org", server=False))[0] == 0
    waiting = await stack.sql("SELECT recipient FROM outbox_mails WHERE outcome IS NULL")
    assert {"b@example.org", "c@example.org"} <= {mail["recipient"] for mail in waiting}
