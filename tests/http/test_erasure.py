"""A tenant is erased: nothing of it is left, and nobody else notices."""

from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import trio

from atalaia.engine.erasing import erase_due, run_erasures
from atalaia.engine.ingest import Body, ingest
from atalaia.http import auth, upkeep
from atalaia.http import sessions as sessions_module
from atalaia.model.erasure import ErasureView
from atalaia.model.errors import AtalaiaError
from atalaia.model.ids import TenantNo
from atalaia.storage import erasure
from atalaia.storage.audit import verify_audit
from atalaia.wire.options import WireOptions
from tests.people import client
from tests.stack import NOW_MS, START_MS, Stack, row
from tests.tenants import NAME, PERSONAL, Full, above, counts, dump, fill, tables_of_tenants

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    monkeypatch.setattr(auth, "BELIEVE_S", 0.0)
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


async def no_queue(view: ErasureView) -> None:
    """There is no broker."""


async def erase_all(stack: Stack) -> None:
    with trio.fail_after(90):
        await erase_due(stack.sessions.people, stack.gate.forget, no_queue)


async def ask_to_erase(platform: httpx.AsyncClient, full: Full, name: str = NAME) -> httpx.Response:
    path = f"/v1/admin/tenants/{full.tenant_id}"
    suspended = await platform.post(f"{path}/suspend")
    assert suspended.status_code == 200, suspended.text
    return await platform.post(f"{path}/erase", json={"name": name})


async def test_nothing_is_left_of_an_erased_tenant(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no table that the catalogue knows, nor a word of it anywhere else; its number, when, by
    whom and how much is written into the audit of those who look after all. Others keep all theirs.
    """
    monkeypatch.setattr(erasure, "STEP_ROWS", 2)
    full, other = await fill(stack), await fill(stack, "other")
    before = await counts(stack, full.number)
    assert [table for table, rows in before.items() if not rows] == [], "or nothing would be shown"
    theirs = await counts(stack, other.number)
    words = await dump(stack)
    assert [word for word in PERSONAL if word not in words] == []
    async with client(stack, await above(stack)) as platform:
        asked = await ask_to_erase(platform, full)
        assert (asked.status_code, asked.json()["state"]) == (202, "erasing")
        await erase_all(stack)
        path = f"/v1/admin/tenants/{full.tenant_id}"
        said = (await platform.get(f"{path}/erasure")).json()
        again = await platform.post(f"{path}/erase", json={"name": NAME})
        assert (again.status_code, again.json()["state"]) == (202, "erased")
        assert (await platform.get(path)).status_code == 404
        log = (await platform.get("/v1/audit")).json()["data"]
    after = await counts(stack, full.number)
    assert [table for table, rows in after.items() if rows] == []
    words = await dump(stack)
    for secret in (*full.secrets, str(full.key)):
        assert secret not in words
    ours = [line for line in words.splitlines() if not _is_of(line, other.number)]
    assert [line for line in ours for word in PERSONAL if word in line] == []
    assert await counts(stack, other.number) == theirs
    assert said["state"] == "erased"
    # Its head goes with the audit, and the suspension had been written into it.
    wanted = {table: rows for table, rows in before.items() if table != "tenants"}
    assert said["deleted"] == wanted | {"audit": before["audit"] + 1}
    erased, began = [entry for entry in log if entry["action"].startswith("tenant.eras")]
    assert (began["action"], erased["action"]) == ("tenant.erasure_began", "tenant.erased")
    assert {entry["actor_name"] for entry in (began, erased)} == {"above@example.org"}
    assert {entry["target"] for entry in (began, erased)} == {str(full.tenant_id)}
    assert erased["detail"]["deleted"] == said["deleted"]
    assert erased["detail"]["audit"]["seq"] == said["deleted"]["audit"]
    assert len(erased["detail"]["audit"]["hash"]) == 64
    assert (await verify_audit(stack.bridge, stack.database_url))[1] == []


def _is_of(line: str, number: TenantNo) -> bool:
    return f'"tenant_id": {number}' in line


async def test_only_who_is_suspended_is_erased_and_only_by_name(stack: Stack) -> None:
    """Else nothing is done; and never the tenant of those who look after all."""
    full = await fill(stack)
    before = await counts(stack, full.number)
    async with client(stack, await above(stack)) as platform:
        path = f"/v1/admin/tenants/{full.tenant_id}"
        refused = await platform.post(f"{path}/erase", json={"name": NAME})
        assert (refused.status_code, refused.json()["code"]) == (409, "not_suspended")
        for name in ("", NAME.lower(), NAME + " ", str(full.tenant_id)):
            refused = await ask_to_erase(platform, full, name)
            assert (refused.status_code, refused.json()["code"]) == (400, "other_name")
        own = (await platform.get("/v1/me")).json()["tenant_id"]
        refused = await platform.post(f"/v1/admin/tenants/{own}/erase", json={"name": "test"})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        for unknown in (uuid4(), "x"):
            place = f"/v1/admin/tenants/{unknown}"
            assert (await platform.post(f"{place}/erase", json={"name": "x"})).status_code == 404
            assert (await platform.get(f"{place}/erasure")).status_code == 404
        assert (await platform.post(f"{path}/erase", json={})).status_code == 400
        await erase_all(stack)
        after = await counts(stack, full.number)
        assert after == before | {"audit": before["audit"] + 1}
        assert (await platform.post(f"{path}/resume")).json()["suspended_at"] is None
    async with client(stack, {"x-api-key": full.key}) as own_admin:
        refused = await own_admin.post(f"{path}/erase", json={"name": NAME})
        assert refused.status_code == 403


async def test_there_is_no_way_back(stack: Stack) -> None:
    """Neither to resume it, nor to begin anew with another name."""
    full = await fill(stack)
    async with client(stack, await above(stack)) as platform:
        await ask_to_erase(platform, full)
        path = f"/v1/admin/tenants/{full.tenant_id}"
        refused = await platform.post(f"{path}/resume")
        assert (refused.status_code, refused.json()["code"]) == (409, "erasing")
        began = (await platform.get(f"{path}/erasure")).json()["began_at"]
        again = await platform.post(f"{path}/erase", json={"name": NAME})
        assert (again.status_code, again.json()["began_at"]) == (202, began)


async def test_nobody_visits_who_is_being_erased(stack: Stack) -> None:
    """Nothing comes to be that would have to be deleted once more; and where its audit ended is
    written down when it begins.
    """
    full = await fill(stack)
    head = "SELECT seq FROM audit_heads WHERE tenant_id = $1"
    async with client(stack, await above(stack)) as platform:
        await ask_to_erase(platform, full)
        visit = {"x-tenant-id": str(full.tenant_id)}
        for path, body in (("/v1/users", {"email": "late@example.org"}), ("/v1/api-keys", {})):
            refused = await platform.post(path, json=body, headers=visit)
            assert (refused.status_code, refused.json()["code"]) == (409, "erasing")
    (ended,) = await stack.sql("SELECT audit_seq FROM erasures")
    assert [row["seq"] for row in await stack.sql(head, full.number)] == [ended["audit_seq"]]


async def test_readings_that_no_statistics_know_of_are_erased(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planner that believes in a few rows would join each with each: a minute for each step."""
    monkeypatch.setattr(erasure, "STEP_TIMEOUT_MS", 5_000)
    full = await fill(stack)
    await stack.sql("ANALYZE readings")
    await stack.sql(
        "INSERT INTO readings (tenant_id, series_id, ts, value, received_at, late)"
        " SELECT $1, min(series_id), to_timestamp($2 / 1e3) + n * interval '1 ms', n, now(), false"
        " FROM series CROSS JOIN generate_series(1, 60000) n WHERE tenant_id = $1 GROUP BY n",
        full.number, START_MS,
    )  # fmt: skip
    async with client(stack, await above(stack)) as platform:
        await ask_to_erase(platform, full)
        await erase_all(stack)
    assert (await counts(stack, full.number))["readings"] == 0


async def test_a_crash_in_between_changes_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step another process may go on: it counts on, and comes to the same end."""
    monkeypatch.setattr(erasure, "STEP_ROWS", 1)
    full = await fill(stack)
    before = await counts(stack, full.number)
    async with client(stack, await above(stack)) as platform:
        await ask_to_erase(platform, full)
    people, steps = stack.sessions.people, 0
    seen: list[int] = []
    while not await people.erase_some(full.tenant_id):
        view = await people.erasure(full.tenant_id)
        assert view is not None
        assert view.finished_at is None
        seen.append(view.rows)
        steps += 1
        assert steps < 500
    assert steps > 20
    assert seen == sorted(seen)
    assert await people.erase_some(full.tenant_id)
    view = await people.erasure(full.tenant_id)
    assert view is not None
    assert view.rows == sum(before.values()) - before["tenants"] + 1
    assert sum((await counts(stack, full.number)).values()) == 0


async def test_what_is_on_its_way_is_not_stored(stack: Stack) -> None:
    """Neither readings that an actor still has, nor anything it would leave behind when it rests:
    the database itself refuses them from the moment that the erasure begins.
    """
    full = await fill(stack)
    async with client(stack, {"x-api-key": full.key}) as gateway:
        async with client(stack, await above(stack)) as platform:
            await ask_to_erase(platform, full)
        key = await stack.queries.find_key(full.key.split("_")[1])
        assert key is not None
        assert key.suspended
        assert (await gateway.post("/v1/readings", json=row(NOW_MS, 1.0))).status_code == 403
    readings = (await counts(stack, full.number))["readings"]
    batch = await _batch(stack, full)
    assert batch["code"] == "tenant_erased"
    assert (await counts(stack, full.number))["readings"] == readings
    await erase_all(stack)
    assert sum((await counts(stack, full.number)).values()) == 0


async def _batch(stack: Stack, full: Full) -> dict[str, Any]:
    """A batch that was let in before the tenant was suspended."""
    body = Body(msgspec.json.encode(row(NOW_MS, 3.0)), "", WireOptions())
    with pytest.raises(AtalaiaError) as refused:
        await ingest(stack.gate, full.number, body, max_bytes=1_000)
    return {"code": refused.value.code}


async def test_memory_forgets_too(stack: Stack) -> None:
    """The actor, and what was kept of keys and sessions; others keep theirs."""
    full = await fill(stack)
    await stack.send(row(NOW_MS, 1.0))
    own = await stack.tenant_no()
    assert set(stack.gate._tenants) == {own, full.number}
    async with client(stack, await above(stack)) as platform:
        await ask_to_erase(platform, full)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_erasures, stack.sessions.people, stack.gate.forget, no_queue)
        with trio.fail_after(20):
            while full.number in stack.gate._tenants:
                await trio.sleep(0.01)
            while sum((await counts(stack, full.number)).values()):
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert set(stack.gate._tenants) == {own}
    authenticator = stack.front.authenticator
    await upkeep.write_down(authenticator, stack.sessions)
    assert (authenticator._known, authenticator._unknown, stack.sessions._kept) == ({}, {}, {})
    assert (await stack.send(row(NOW_MS, 2.0, sensor="ours"))).status_code == 200


async def test_an_erasure_has_everything_that_the_catalogue_knows(stack: Stack) -> None:
    """Those tables first that refer to others, and the tenant's own last."""
    rows = await stack.sql("SELECT name FROM tables_of_tenants()")
    ordered = [each["name"] for each in rows]
    assert sorted([*ordered, "readings", "tenants"]) == await tables_of_tenants(stack)
    for child, parent in (("alerts", "rules"), ("alert_events", "alerts"), ("series", "sensors")):
        assert ordered.index(child) < ordered.index(parent)
