"""`atalaia tenants`: an archive in a file, and an erasure from beginning to end."""

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.cli.runner import Runner
from tests.people import client
from tests.tenants import NAME, above, counts, fill

pytestmark = pytest.mark.postgres


async def test_a_tenant_is_taken_away_and_then_erased(
    cli: Runner, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    """Straight in the database, while the server goes on; the archive is whole and its owner's."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    stack = cli.stack
    full = await fill(stack)
    file = tmp_path / "all.zip"
    code, said = await cli("tenants", "export", full.tenant_id, file, server=False)
    assert code == 0, said
    assert file.stat().st_mode & 0o777 == 0o600
    opened = zipfile.ZipFile(io.BytesIO(file.read_bytes()))
    manifest = json.loads(opened.read("manifest.json"))
    assert manifest["tenant"] == {"id": str(full.tenant_id), "name": NAME}
    (entry,) = await stack.sql("SELECT actor FROM audit WHERE action = 'tenant.exported'")
    assert entry["actor"] == "cli"
    erase = ("tenants", "erase", full.tenant_id, "--name")
    code, said = await cli(*erase, NAME, server=False)
    assert (code, "Only a suspended tenant is erased" in said) == (1, True)
    async with client(stack, await above(stack)) as platform:
        await platform.post(f"/v1/admin/tenants/{full.tenant_id}/suspend")
    code, said = await cli(*erase, "Padaria", server=False)
    assert (code, "not the tenant's name" in said) == (2, True)
    code, said = await cli(*erase, NAME, server=False)
    assert (code, said.endswith(f"tenant {full.tenant_id} is erased")) == (0, True), said
    assert "readings: 5" in said
    assert sum((await counts(stack, full.number)).values()) == 0
    log = await stack.sql("SELECT actor, action FROM audit WHERE action LIKE 'tenant.eras%'")
    assert {(one["actor"], one["action"]) for one in log} == {
        ("cli", "tenant.erasure_began"), ("cli", "tenant.erased"),
    }  # fmt: skip
    code, said = await cli("tenants", "export", full.tenant_id, file, server=False)
    assert code == 1
    assert os.listdir(tmp_path) == ["all.zip"], "what was taken before stays"
