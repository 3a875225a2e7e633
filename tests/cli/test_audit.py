"""`atalaia audit verify` says where a chain is broken, and fails then; quotas are in it."""

import pytest

from tests.cli.runner import Runner

pytestmark = pytest.mark.postgres


async def test_a_broken_chain_fails_the_command(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """Sound: where it ends, to be kept elsewhere. Broken: at which row."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    stack = cli.stack
    (tenant,) = await stack.sql("SELECT tenant_uuid::text AS id FROM tenants")
    key_id = stack.api_key.split("_")[1]
    await cli("quotas", "set", "--tenant", tenant["id"], "--readings", 5, server=False)
    await cli("quotas", "set", "--of-key", key_id, "--readings", 5, server=False)
    found = (await stack.client.get("/v1/audit")).json()["data"]
    assert [(e["actor"], e["action"], e["target"], e["detail"]) for e in found] == [
        ("cli", "key.quota_set", key_id, {"readings": 5}),
        ("cli", "tenant.quota_set", tenant["id"], {"readings": 5}),
    ]
    code, said = await cli("audit", "verify", server=False)
    assert (code, said) == (0, f"ok {tenant['id']} 2 rows {found[0]['hash']}")
    await stack.sql("UPDATE audit SET target = 'x' WHERE seq = 2")
    code, said = await cli("audit", "verify", server=False)
    assert (code, said) == (1, f"BROKEN {tenant['id']} row 2 is not what was written there")
