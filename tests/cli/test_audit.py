"""`atalaia audit verify` says where a chain is broken, and fails then; quotas are in it."""

import json
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from atalaia.engine.heads import tell_heads
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


async def test_heads_that_were_kept_are_compared(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """What the command printed, or the log, among other lines; a file without any is refused."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    await cli.stack.client.post("/v1/api-keys", json={"name": "k"})
    kept = tmp_path / "heads"
    _, printed = await cli("audit", "verify", server=False)
    with capture_logs() as logs, trio.move_on_after(1):
        await tell_heads(cli.stack.sessions.people)
    (told,) = logs
    gone = "0198c1d0-0000-7000-8000-000000000001"
    for text in (
        f"stopped\n{printed}\n",
        json.dumps(told),
        f"[info] audit_head seq={told['seq']} tenant_id={told['tenant_id']} hash={told['hash']}",
    ):
        kept.write_text(f"{text}\n{text.replace(told['tenant_id'], gone)}\n")
        code, said = await cli("audit", "verify", "--heads", kept, server=False)
        assert (code, said.endswith(f"gone {gone} erased, or of another database")) == (0, True)
    kept.write_text(kept.read_text().replace(told["hash"], 64 * "0"))
    code, said = await cli("audit", "verify", "--heads", kept, server=False)
    assert code == 1
    assert f"BROKEN {told['tenant_id']} row 1 is not the one that was kept" in said
    kept.write_text("nothing\n")
    code, said = await cli("audit", "verify", "--heads", kept, server=False)
    assert (code, said) == (2, f"atalaia: {kept} has no line that tells where an audit ended.")
