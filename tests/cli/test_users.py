"""`atalaia users link`: whoever holds the database's credentials lets somebody back in."""

import pytest

from tests.cli.runner import Runner
from tests.people import add_user, login, post

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
