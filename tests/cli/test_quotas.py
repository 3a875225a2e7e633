"""`atalaia quotas` against the database of a running server."""

import pytest

from atalaia.http import auth
from tests.cli.runner import Here, Runner
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """As the commands find it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(auth, "KEEP_S", 0.0)


async def tenant_id(stack: Stack) -> str:
    return str((await stack.sql("SELECT tenant_uuid FROM tenants"))[0]["tenant_uuid"])


async def test_what_is_set_is_shown_and_holds(cli: Runner, database: None) -> None:
    """Only what is named changes; default takes it away."""
    stack, tenant = cli.stack, await tenant_id(cli.stack)
    code, said = await cli(
        "quotas", "set", "--tenant", tenant, "--readings", 1000, "--rules", 7, server=False
    )
    assert (code, said) == (0, "")
    await cli("quotas", "set", "--tenant", tenant, "--bytes", 2_000_000, server=False)
    code, said = await cli("quotas", "show", server=False)
    assert code == 0
    assert f"{tenant} test 1,000 2,000,000 default 0 of 100,000 0 of 7" in said
    quota = (await stack.client.get("/v1/status")).json()["quota"]
    assert (quota["readings_per_s"], quota["bytes_per_s"], quota["max_rules"]) == (
        1_000, 2_000_000, 7,
    )  # fmt: skip
    await cli("quotas", "set", "--tenant", tenant, "--readings", "default", server=False)
    quota = (await stack.client.get("/v1/status")).json()["quota"]
    assert (quota["readings_per_s"], quota["bytes_per_s"]) == (None, 2_000_000)


async def test_a_key_is_limited_by_its_id(cli: Runner, database: None) -> None:
    """That key alone, and the answer names it."""
    stack = cli.stack
    key_id = stack.api_key.split("_")[1]
    code, _ = await cli("quotas", "set", "--of-key", key_id, "--readings", 1, server=False)
    assert code == 0
    await stack.send([row(START_MS + n, 1) for n in range(100)])
    refused = await stack.send([row(START_MS, 1)])
    assert "This key's quota of 1 readings" in refused.json()["detail"]


async def test_bytes_of_a_key_and_what_may_wait(cli: Runner, database: None) -> None:
    """A key's bytes are its own; a tenant's bodies wait in so much room."""
    stack, tenant = cli.stack, await tenant_id(cli.stack)
    key_id = stack.api_key.split("_")[1]
    await cli("quotas", "set", "--of-key", key_id, "--bytes", 1, server=False)
    code, _ = await cli(
        "quotas", "set", "--tenant", tenant, "--waiting", 8 * 1024 * 1024, server=False
    )
    assert code == 0
    quota = (await stack.client.get("/v1/status")).json()["quota"]
    assert (quota["key_bytes_per_s"], quota["waiting_bytes"]) == (1, 8 * 1024 * 1024)
    await stack.send([row(START_MS + n, 1) for n in range(100)])
    refused = await stack.send([row(START_MS, 1)])
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_bytes")
    assert "This key's quota of 1 bytes" in refused.json()["detail"]
    code, said = await cli("quotas", "set", "--waiting", 1000, server=False)
    assert (code, "8388608" in said) == (2, True)


async def test_whoever_is_not_there_is_said(cli: Runner, database: None) -> None:
    """A tenant, a key, and a database."""
    code, said = await cli("quotas", "set", "--of-key", "nobody", "--readings", 1, server=False)
    assert code == 1
    assert "knows no nobody" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "019a0000-0000-7000-8000-000000000000"], "Say what to set"),
        (["--rules", "1001"], "--rules is a number from 0 to 1000"),
        (["--readings", "0"], "--readings is a number from 1"),
        (["--of-key", "k", "--series", "5"], "A key has --readings and --bytes alone"),
        (["--readings", "many"], "Invalid value"),
    ],
)
def test_a_wrong_option_is_said_before_anything_is_asked(
    here: Here, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    """Nothing listens there."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    code, told = here("quotas", "set", *arguments)
    assert code in (1, 2)
    assert said in told


def test_a_database_that_is_away_is_one_sentence(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And exit code 1."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    code, told = here("quotas", "show")
    assert code == 1
    assert told.startswith("atalaia: The database does not give its accounts")
