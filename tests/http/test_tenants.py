"""Those who look after all tenants: they make them, suspend them, and are seen doing it."""

from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from atalaia.http import auth
from atalaia.http import sessions as sessions_module
from atalaia.security.api_keys import parse_key
from tests.people import add_user, bearer, client, login, post, tokens
from tests.stack import NOW_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres

ABOVE, ZE = "above@example.org", "ze@example.org"
CHOSEN = "seven grey herons fly"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KEEP_S", 0.0)
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


@pytest.fixture
async def above(stack: Stack) -> dict[str, str]:
    """The headers of who looks after all, in the stack's own tenant."""
    await add_user(stack, ABOVE, platform=True)
    return bearer(await tokens(stack, ABOVE))


async def fetch_aio(call: str, connection: asyncpg.Connection) -> object:
    return await connection.fetch(f"SELECT {call}")


async def make(asking: httpx.AsyncClient) -> dict[str, Any]:
    response = await asking.post(
        "/v1/admin/tenants", json={"name": "Padaria do Zé", "admin_email": ZE}
    )
    assert response.status_code == 201, response.text
    return response.json()  # type: ignore[no-any-return]


async def test_a_tenant_begins_with_an_invitation(stack: Stack, above: dict[str, str]) -> None:
    """Its administrator chooses a password, signs in, makes a key, and the key sends readings."""
    async with client(stack, above) as platform:
        made = await make(platform)
        listed = (await platform.get("/v1/admin/tenants?limit=1")).json()
        assert [t["name"] for t in listed["data"]] == ["test"]
        rest = f"/v1/admin/tenants?cursor={listed['next_cursor']}"
        assert [t["id"] for t in (await platform.get(rest)).json()["data"]] == [made["id"]]
        read = (await platform.get(f"/v1/admin/tenants/{made['id']}")).json()
        assert (read["name"], read["suspended_at"]) == ("Padaria do Zé", None)
    chosen = {"token": made["link"]["token"], "password": CHOSEN}
    assert (await post(stack, "/v1/auth/password/reset", chosen)).status_code == 204
    async with client(stack, bearer(await tokens(stack, ZE, CHOSEN))) as ze:
        me = (await ze.get("/v1/me")).json()
        assert (me["tenant_id"], me["role"], me["platform"]) == (made["id"], "admin", False)
        assert (await ze.get("/v1/admin/tenants")).status_code == 403
        key = (await ze.post("/v1/api-keys", json={"name": "k"})).json()["key"]
        log = (await ze.get("/v1/audit")).json()["data"][::-1]
    assert [entry["action"] for entry in log[:3]] == [
        "tenant.created", "user.invited", "user.password_set",
    ]  # fmt: skip
    assert log[0]["actor_name"] == ABOVE
    async with client(stack, {"x-api-key": key}) as gateway:
        assert (await gateway.post("/v1/readings", json=row(NOW_MS, 1.0))).status_code == 200


async def test_a_tenant_is_made_whole_or_not(stack: Stack, above: dict[str, str]) -> None:
    """Nothing is left of one whose administrator's address is taken."""
    async with client(stack, above) as platform:
        body = {"name": "x", "admin_email": ABOVE}
        response = await platform.post("/v1/admin/tenants", json=body)
        assert (response.status_code, response.json()["code"]) == (409, "email_taken")
        for bad in (
            {"name": " ", "admin_email": ZE},
            {"name": "x"},
            {"name": "x", "admin_email": "y"},
            {"name": "x", "admin_email": ZE, "max_series": 1},
        ):
            assert (await platform.post("/v1/admin/tenants", json=bad)).status_code == 400
    assert len(await stack.sql("SELECT FROM tenants")) == 1


async def test_a_suspended_tenant_is_out(stack: Stack, above: dict[str, str]) -> None:
    """Its keys and its people, on every route and at the login, with a word that says why; and in
    again when it is resumed. Others notice nothing.
    """
    async with client(stack, above) as platform:
        made = await make(platform)
        chosen = {"token": made["link"]["token"], "password": CHOSEN}
        await post(stack, "/v1/auth/password/reset", chosen)
        signed_in = await tokens(stack, ZE, CHOSEN)
        path = f"/v1/admin/tenants/{made['id']}"
        async with client(stack, bearer(signed_in)) as ze:
            key = (await ze.post("/v1/api-keys", json={"name": "k"})).json()["key"]
            for _ in range(2):
                assert (await platform.post(f"{path}/suspend")).json()["suspended_at"] is not None
            async with client(stack, {"x-api-key": key}) as gateway:
                for response in (
                    await ze.get("/v1/sensors"),
                    await gateway.post("/v1/readings", json=row(NOW_MS, 1.0)),
                    await gateway.get("/v1/me"),
                    await login(stack, ZE, CHOSEN),
                ):
                    said = (response.status_code, response.json()["code"])
                    assert said == (403, "tenant_suspended")
                assert (await login(stack, ZE, "wrong")).status_code == 401
                again = {"refresh_token": signed_in["refresh_token"]}
                assert (await post(stack, "/v1/auth/refresh", again)).status_code == 403
                assert (await stack.send(row(NOW_MS, 1.0))).status_code == 200
                assert (await platform.post(f"{path}/resume")).json()["suspended_at"] is None
                assert (await ze.get("/v1/sensors")).status_code == 200
                assert (await post(stack, "/v1/auth/refresh", again)).status_code == 200
                sent = await gateway.post("/v1/readings", json=row(NOW_MS, 1.0))
                assert sent.status_code == 200
            log = (await ze.get("/v1/audit")).json()["data"]
    assert [e["action"] for e in log if e["action"].startswith("tenant.")] == [
        "tenant.resumed", "tenant.suspended", "tenant.created",
    ]  # fmt: skip


async def test_the_engine_learns_who_is_suspended(stack: Stack, above: dict[str, str]) -> None:
    """Of those with a rule of silence; and for how long."""
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    text = {"text": "rule silent on sensors when no data for 10m"}
    async with client(stack, {"x-api-key": other}) as theirs:
        await theirs.post("/v1/rules", json=text)
        tenant_id = (await theirs.get("/v1/me")).json()["tenant_id"]
    await stack.client.post("/v1/rules", json=text)
    own = await stack.tenant_no()
    assert len((await stack.store.waiting_tenants()).awake) == 2
    async with client(stack, above) as platform:
        await platform.post(f"/v1/admin/tenants/{tenant_id}/suspend")
    await stack.sql("UPDATE tenants SET suspended_at = suspended_at - interval '90 seconds'")
    waiting = await stack.store.waiting_tenants()
    assert waiting.awake == [own]
    (suspended_us,) = waiting.suspended_us.values()
    assert 90e6 <= suspended_us < 120e6


async def test_nobody_suspends_themselves_nor_who_is_not_there(
    stack: Stack, above: dict[str, str]
) -> None:
    """Wherever the one who asks is just visiting."""
    async with client(stack, above) as platform:
        own = (await platform.get("/v1/me")).json()["tenant_id"]
        made = await make(platform)
        for visiting in ({}, {"x-tenant-id": made["id"]}):
            path = f"/v1/admin/tenants/{own}/suspend"
            assert (await platform.post(path, headers=visiting)).status_code == 409
        for unknown in (uuid4(), "x"):
            for what in ("/suspend", "/resume"):
                path = f"/v1/admin/tenants/{unknown}{what}"
                assert (await platform.post(path)).status_code == 404
            assert (await platform.get(f"/v1/admin/tenants/{unknown}")).status_code == 404


async def test_a_visit_is_written_down_where_it_was(stack: Stack, above: dict[str, str]) -> None:
    """`X-Tenant-Id` opens any tenant to who looks after all, and the tenant sees it; to others it
    opens nothing, whether the tenant exists or not.
    """
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    async with client(stack, {"x-api-key": other}) as asking:
        await asking.post("/v1/readings", json=row(NOW_MS, 1.0, sensor="theirs"))
        tenant_id = (await asking.get("/v1/me")).json()["tenant_id"]
        async with client(stack, above | {"x-tenant-id": tenant_id}) as visitor:
            listed = (await visitor.get("/v1/sensors")).json()["data"]
            assert [sensor["name"] for sensor in listed] == ["theirs"]
            await visitor.post("/v1/rules", json={"text": "rule hot on sensors when t > 10"})
        log = (await asking.get("/v1/audit")).json()["data"][::-1]
    assert [(e["actor_name"], e["action"], e["detail"].get("path")) for e in log] == [
        (ABOVE, "tenant.visited", "/v1/sensors"),
        (ABOVE, "tenant.visited", "/v1/rules"),
        (ABOVE, "rule.created", None),
    ]
    await add_user(stack, "admin@example.org")
    plain = bearer(await tokens(stack, "admin@example.org"))
    for headers in (plain, {"x-api-key": stack.api_key}):
        said = set()
        for wanted in (tenant_id, str(uuid4()), "x"):
            async with client(stack, headers | {"x-tenant-id": wanted}) as asking:
                response = await asking.get("/v1/sensors")
                said.add((response.status_code, response.json()["detail"]))
        assert len(said) == 1
        assert next(iter(said))[0] == 403
    async with client(stack, above | {"x-tenant-id": str(uuid4())}) as visitor:
        assert (await visitor.get("/v1/sensors")).status_code == 404


async def test_the_platforms_role_sees_no_table(stack: Stack) -> None:
    """It may call its functions, and the application may not."""
    key = parse_key(stack.api_key)
    assert key is not None
    tables = await stack.sql(
        "SELECT table_name FROM information_schema.role_table_grants"
        " WHERE grantee = 'atalaia_platform'"
    )
    assert tables == []
    functions = await stack.sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND has_function_privilege('atalaia_platform', oid, 'EXECUTE') ORDER BY proname"
    )
    assert [row["proname"] for row in functions] == [
        "begin_erasure", "claim_mails", "end_mail_try", "erase_some", "expire_mails",
        "list_erasures", "list_tenants", "make_tenant", "show_erasure", "show_tenant",
        "suspend_tenant",
    ]  # fmt: skip
    for name in ("list_tenants(0, 9)", f"show_tenant('{uuid4()}')"):
        with pytest.raises(Exception, match="42501"):
            await stack.database.as_tenant(await stack.tenant_no(), partial(fetch_aio, name))
