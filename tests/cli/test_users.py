"""`atalaia users link`: whoever holds the database's credentials lets somebody back in."""

import pytest

from tests.cli.runner import Runner
from tests.people import add_user, client, login, post
from tests.stack import make_tenant

pytestmark = pytest.mark.postgres

CHOSEN = "seven grey herons fly"


async def test_the_last_administrator_finds_back(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """By a link that holds once, and is written down; nobody else is there."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    await add_user(cli.stack, "a@example.org")
    code, token = await cli("users", "link", "A@example.org", server=False)
    assert code == 0
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
    code, token = await cli("users", "link", "b@example.org", server=False)
    assert code == 0
    again = {"token": token, "password": CHOSEN + " again"}
    assert (await post(cli.stack, "/v1/auth/password/reset", again)).status_code == 204
    assert (await login(cli.stack, "b@example.org", CHOSEN + " again")).status_code == 200
