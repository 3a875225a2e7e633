"""Who did what: every act once, with whoever did it, in the act's own transaction."""

from typing import Any

import pytest

from atalaia.http import sessions as sessions_module
from atalaia.http.upkeep import write_down
from atalaia.ports import StoreRefused
from tests.people import add_user, bearer, client, login, tokens
from tests.stack import NOW_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres

ADMIN = "admin@example.org"
HOT = "rule hot on sensors when t > 10"


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "KEEP_S", 0.0)


async def entries(stack: Stack, query: str = "") -> list[dict[str, Any]]:
    response = await stack.client.get(f"/v1/audit?limit=1000{query}")
    assert response.status_code == 200, response.text
    return response.json()["data"][::-1]  # type: ignore[no-any-return]


async def test_each_change_is_written_down_with_whoever_made_it(stack: Stack) -> None:
    """Rules, tags, lateness, keys, users and sessions, over each of their ways."""
    user_id = await add_user(stack, ADMIN)
    await stack.send(row(NOW_MS, 1.0))
    async with client(stack, bearer(await tokens(stack, ADMIN))) as admin:
        rule = (await admin.post("/v1/rules", json={"text": HOT})).json()["id"]
        await admin.put(f"/v1/rules/{rule}", json={"text": HOT.replace("10", "11")})
        await admin.post(f"/v1/rules/{rule}/disable")
        await admin.post(f"/v1/rules/{rule}/enable")
        await admin.put("/v1/sensors/s/tags", json={"tags": {"a": "b"}})
        await admin.patch("/v1/sensors/s", json={"lateness": "30s"})
        await admin.patch("/v1/settings", json={"lateness": "5s"})
        for days in (9, 9, None):
            await admin.put("/v1/settings/retention", json={"days": days})
        await admin.get("/v1/export?from=2026-01-01T00:00:00Z&sensor=s&sensor=r")
        await admin.delete(f"/v1/rules/{rule}")
        await admin.delete("/v1/sensors/s")
        key = (await admin.post("/v1/api-keys", json={"name": "k"})).json()["id"]
        new = (await admin.post(f"/v1/api-keys/{key}/rotate")).json()["id"]
        await admin.delete(f"/v1/api-keys/{new}")
        invited = (await admin.post("/v1/users", json={"email": "n@example.org"})).json()["id"]
        await admin.patch(f"/v1/users/{invited}", json={"role": "operator"})
        await admin.post(f"/v1/users/{invited}/link")
        await admin.delete(f"/v1/users/{invited}")
    found = await entries(stack)
    assert [(entry["action"], entry["target"]) for entry in found][1:] == [
        ("rule.created", rule), ("rule.replaced", rule), ("rule.disabled", rule),
        ("rule.enabled", rule), ("sensor.tagged", "s"), ("sensor.changed", "s"),
        ("settings.changed", ""), ("settings.retention_changed", ""),
        ("settings.retention_changed", ""), ("readings.exported", ""),
        ("rule.deleted", rule), ("sensor.removed", "s"),
        ("key.created", key),
        ("key.rotated", new), ("key.revoked", new), ("user.invited", invited),
        ("user.changed", invited), ("user.link_sent", invited), ("user.deleted", invited),
    ]  # fmt: skip
    assert {(entry["actor"], entry["actor_name"]) for entry in found} == {
        (f"user:{user_id}", ADMIN)
    }
    assert [entry["seq"] for entry in found] == list(range(1, len(found) + 1))
    assert found[1]["detail"] == {"name": "hot", "version": 1, "revision": 1}
    assert found[5]["detail"] == {"tags": {"a": "b"}}
    assert found[6]["detail"] == {"lateness": "30s"}
    assert found[8]["detail"] == {"days": 9, "days_before": None}
    assert found[9]["detail"] == {"days": None, "days_before": 9}
    assert found[10]["detail"] == {"asked": "from=2026-01-01T00:00:00Z&sensor=s&sensor=r"}


async def test_a_key_is_named_and_an_import_too(stack: Stack) -> None:
    """By its id, which stays, and as it is called."""
    await stack.client.post("/v1/rules:import", content=f"rules:\n- text: {HOT}\n")
    (entry,) = await entries(stack)
    assert (entry["action"], entry["actor_name"]) == ("rule.created", "first key")
    assert entry["actor"] == f"key:{stack.api_key.split('_')[1]}"


async def test_what_is_refused_or_changes_nothing_is_not_written(stack: Stack) -> None:
    """The audit tells of what was done."""
    await stack.client.post("/v1/rules", json={"text": "no rule"})
    await stack.client.delete("/v1/rules/00000000-0000-7000-8000-000000000000")
    await stack.client.put("/v1/sensors/nobody/tags", json={"tags": {}})
    await stack.client.patch("/v1/settings", json={"lateness": "0s"})
    await stack.client.get("/v1/rules")
    assert await entries(stack) == []


async def test_it_is_searched(stack: Stack) -> None:
    """By actor, action, target and time; newest first, in pages that miss nothing. An address is
    that of a person, however a key is called.
    """
    user_id = await add_user(stack, ADMIN)
    for _ in range(2):
        await stack.client.post("/v1/api-keys", json={"name": "k"})
    named = (
        await stack.client.post("/v1/api-keys", json={"name": ADMIN, "scopes": ["admin"]})
    ).json()
    async with client(stack, {"x-api-key": named["key"]}) as machine:
        assert (await machine.post("/v1/api-keys", json={"name": "k"})).status_code == 201
    async with client(stack, bearer(await tokens(stack, ADMIN))) as person:
        assert (await person.get("/v1/me")).status_code == 200
    for actor in (ADMIN, "Admin@Example.org", f"user:{user_id}"):
        found = await entries(stack, f"&actor={actor}")
        assert [e["action"] for e in found] == ["session.began"], actor
    (made,) = await entries(stack, f"&target={named['id']}")
    assert made["action"] == "key.created"
    counted = await stack.client.get(f"/v1/audit?target={named['id']}&actor={ADMIN}&count=true")
    assert counted.json()["total"] == 0
    key = f"key:{stack.api_key.split('_')[1]}"
    assert len(await entries(stack, f"&actor={key}")) == 3
    assert [e["action"] for e in await entries(stack, "&action=session.began")] == ["session.began"]
    every = await entries(stack)
    assert await entries(stack, f"&from={every[1]['at']}&to={every[2]['at']}") == every[1:3]
    seen, cursor = [], ""
    while cursor is not None:
        page = (await stack.client.get(f"/v1/audit?limit=3{cursor}")).json()
        seen += page["data"]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert seen == every[::-1]
    bad = await stack.client.get("/v1/audit?actor=%00")
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_parameter")


async def test_refused_logins_are_written_down_later(stack: Stack) -> None:
    """How many there were, of accounts that exist; a wrong password is not in it."""
    user_id = await add_user(stack, ADMIN)
    for email in (ADMIN, ADMIN, "nobody@example.org"):
        assert (await login(stack, email, "a wrong password")).status_code == 401
    assert await entries(stack) == []
    await write_down(stack.front.authenticator, stack.sessions)
    (entry,) = await entries(stack)
    assert (entry["action"], entry["target"]) == ("session.refused", str(user_id))
    assert entry["detail"] == {"times": 2}
    await write_down(stack.front.authenticator, stack.sessions)
    assert len(await entries(stack)) == 1


async def test_another_tenant_sees_none_of_it(stack: Stack) -> None:
    """Each has a chain of its own, from the first row on."""
    await stack.client.post("/v1/api-keys", json={"name": "k"})
    other = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": other}) as asking:
        assert (await asking.get("/v1/audit")).json()["data"] == []
        await asking.post("/v1/api-keys", json={"name": "k"})
        (entry,) = (await asking.get("/v1/audit")).json()["data"]
    assert entry["seq"] == 1
    assert len(await entries(stack)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "SELECT * FROM audit_heads",
        "UPDATE audit_heads SET seq = 0",
        "INSERT INTO audit (tenant_id, seq, at, actor, actor_name, action, target, detail, hash)"
        " VALUES (1, 7, now(), '', '', '', '', '{}', '')",
        "SELECT chain_audit()",
    ],
)
async def test_the_application_only_adds(stack: Stack, statement: str) -> None:
    """And neither chooses the place, nor the time, nor the hash."""
    tenant_no = await stack.tenant_no()
    with pytest.raises(StoreRefused, match=r"42501|0A000"):
        await stack.database.as_tenant(tenant_no, lambda connection: connection.execute(statement))


async def test_nothing_is_written_of_what_did_not_happen(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction: when the audit cannot be written, the act is not done either."""
    await stack.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no'; END $$"
    )
    await stack.sql("CREATE TRIGGER z BEFORE INSERT ON audit EXECUTE FUNCTION refuse()")
    keys = len((await stack.client.get("/v1/api-keys")).json()["data"])
    assert (await stack.client.post("/v1/api-keys", json={"name": "k"})).status_code == 500
    response = await stack.client.post("/v1/rules", json={"text": HOT})
    assert (response.status_code, response.json()["code"]) == (422, "dead_lettered")
    assert len((await stack.client.get("/v1/api-keys")).json()["data"]) == keys
    assert (await stack.client.get("/v1/rules")).json()["data"] == []
