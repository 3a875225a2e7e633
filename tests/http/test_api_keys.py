"""Keys: shown once, bounded, replaced without a gap, revoked at once."""

import time
from datetime import datetime
from typing import Any

import httpx
import pytest
import trio

from atalaia.http import auth
from atalaia.http.upkeep import write_down
from tests.people import client
from tests.stack import NOW_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "KEEP_S", 0.0)


async def create(stack: Stack, **body: Any) -> dict[str, Any]:
    response = await stack.client.post("/v1/api-keys", json={"name": "gateway"} | body)
    assert response.status_code == 201, response.text
    return response.json()  # type: ignore[no-any-return]


async def ask(stack: Stack, key: str, path: str = "/v1/me") -> httpx.Response:
    async with client(stack, {"x-api-key": key}) as asking:
        return await asking.get(path)


async def test_a_key_is_shown_once(stack: Stack) -> None:
    """And is nowhere to be found: the database has a hash of it."""
    made = await create(stack)
    assert (made["name"], made["scopes"], made["expires_at"]) == ("gateway", ["ingest"], None)
    async with client(stack, {"x-api-key": made["key"]}) as gateway:
        sent = await gateway.post("/v1/readings", json=row(NOW_MS, 1.0))
        assert sent.status_code == 200
        assert (await gateway.get("/v1/sensors")).status_code == 403
        assert (await gateway.get("/v1/me")).json()["scopes"] == ["ingest"]
    for path in ("", f"/{made['id']}"):
        said = await stack.client.get(f"/v1/api-keys{path}")
        assert made["key"][-20:] not in said.text
        assert made["id"] in said.text
    dump = str(await stack.sql("SELECT k::text FROM api_keys k"))
    dump += str(await stack.sql("SELECT a::text FROM audit a"))
    assert made["key"].rpartition("_")[2] not in dump


async def test_scopes_open_what_they_say(stack: Stack) -> None:
    """`admin` is all of them."""
    reader = await create(stack, scopes=["read"])
    assert (await ask(stack, reader["key"], "/v1/sensors")).status_code == 200
    assert (await ask(stack, reader["key"], "/v1/api-keys")).status_code == 403
    everything = await create(stack, scopes=["admin"])
    for path in ("/v1/sensors", "/v1/api-keys", "/v1/audit"):
        assert (await ask(stack, everything["key"], path)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": "x" * 65}, {"name": "a\nb"}, {"scopes": []}, {"scopes": ["root"]},
     {"scopes": "read"}, {"expires_in": "soon"}, {"expires_in": "0s"}, {"expires_in": "99999d"},
     {"tenant_id": 1}, {"key_id": "0" * 16}],
)  # fmt: skip
async def test_a_bad_key_is_not_made(stack: Stack, body: dict[str, Any]) -> None:
    response = await stack.client.post("/v1/api-keys", json={"name": "x"} | body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_body")


async def test_a_key_ends(stack: Stack) -> None:
    """When it was said, without anybody's doing."""
    made = await create(stack, expires_in="90d", scopes=["read"])
    until = datetime.fromisoformat(made["expires_at"])
    assert abs((until.timestamp() * 1000 - NOW_MS) / 86_400_000 - 90) < 1
    assert (await ask(stack, made["key"])).status_code == 200
    await stack.sql("UPDATE api_keys SET expires_at = now() WHERE key_id = $1", made["id"])
    assert (await ask(stack, made["key"])).status_code == 401


async def test_a_key_is_replaced_without_a_gap(stack: Stack) -> None:
    """Both hold while the new one is brought to where the old one is; then the new one alone."""
    old = await create(stack, scopes=["read", "rules"], expires_in="30d")
    await stack.sql(
        "UPDATE api_keys SET readings_per_s = 7, bytes_per_s = 700 WHERE key_id = $1", old["id"]
    )
    response = await stack.client.post(f"/v1/api-keys/{old['id']}/rotate", json={"overlap": "1h"})
    new = response.json()
    assert response.status_code == 201
    assert (new["readings_per_s"], new["bytes_per_s"]) == (7, 700)
    assert (new["name"], new["scopes"]) == (old["name"], old["scopes"])
    assert new["expires_at"] is not None
    assert new["key"] != old["key"]
    for key in (old, new):
        assert (await ask(stack, key["key"])).status_code == 200
    await stack.sql(
        "UPDATE api_keys SET expires_at = expires_at - interval '1 hour' WHERE key_id = $1",
        old["id"],
    )
    assert (await ask(stack, old["key"])).status_code == 401
    assert (await ask(stack, new["key"])).status_code == 200
    again = await stack.client.post(f"/v1/api-keys/{old['id']}/rotate")
    assert again.status_code == 404, "what has ended is not replaced"
    at_once = await stack.client.post(f"/v1/api-keys/{new['id']}/rotate", json={"overlap": "0s"})
    assert at_once.status_code == 201
    assert (await ask(stack, new["key"])).status_code == 401
    bad = await stack.client.post(
        f"/v1/api-keys/{at_once.json()['id']}/rotate", json={"overlap": "31d"}
    )
    assert bad.status_code == 400


async def test_a_key_is_replaced_once(stack: Stack) -> None:
    """By however many at a time; the one that replaced it goes on, and lives as long."""
    old = await create(stack, scopes=["read"], expires_in="30d")
    statuses: list[int] = []

    async def rotate() -> None:
        response = await stack.client.post(f"/v1/api-keys/{old['id']}/rotate")
        statuses.append(response.status_code)
        if response.status_code == 409:
            assert response.json()["code"] == "already_rotated"
        else:
            made.append(response.json())

    made: list[dict[str, Any]] = []
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(rotate)
    assert sorted(statuses) == [201] + [409] * 5
    (new,) = made
    following = (await stack.client.post(f"/v1/api-keys/{new['id']}/rotate")).json()
    assert following["expires_at"] > new["created_at"]
    (lives,) = await stack.sql(
        "SELECT round(extract(epoch FROM expires_at - created_at) / 86400)::int AS days"
        " FROM api_keys WHERE key_id = $1", following["id"],
    )  # fmt: skip
    assert lives["days"] == 30


async def test_a_revoked_key_is_out(stack: Stack) -> None:
    """Once; another tenant's is none, nor is what no key's id looks like."""
    made = await create(stack)
    other = await make_tenant(stack.bridge, stack.database_url)
    async with client(stack, {"x-api-key": other}) as asking:
        for path in (f"/v1/api-keys/{made['id']}", "/v1/api-keys/" + "0" * 16, "/v1/api-keys/x"):
            assert (await asking.delete(path)).status_code == 404
            assert (await asking.post(f"{path}/rotate")).status_code == 404
            assert (await asking.get(path)).status_code == 404
    assert (await ask(stack, made["key"])).status_code == 200
    path = f"/v1/api-keys/{made['id']}"
    assert [(await stack.client.delete(path)).status_code for _ in range(2)] == [204, 404]
    assert (await ask(stack, made["key"])).status_code == 401


async def test_when_a_key_was_used_is_written_down_in_one_go(stack: Stack) -> None:
    """Not with each request; and never back in time."""
    made = await create(stack)
    path = f"/v1/api-keys/{made['id']}"
    for _ in range(3):
        await ask(stack, made["key"])
    assert (await stack.client.get(path)).json()["last_used_at"] is None
    await write_down(stack.front.authenticator, stack.sessions)
    used = (await stack.client.get(path)).json()["last_used_at"]
    assert abs(datetime.fromisoformat(used).timestamp() - time.time()) < 600
    await stack.sessions.people.touch_keys({made["id"]: 1})  # type: ignore[dict-item]
    assert (await stack.client.get(path)).json()["last_used_at"] == used


async def test_what_cannot_be_written_now_is_written_later(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses of keys and refused logins survive a moment without the database."""
    from atalaia.ports import StoreUnavailable

    made = await create(stack)
    await ask(stack, made["key"])
    stack.sessions.failures["nobody@example.org"] = 2

    async def away(used: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(type(stack.sessions.people), "touch_keys", lambda _, used: away(used))
        await write_down(stack.front.authenticator, stack.sessions)
    assert made["id"] in stack.front.authenticator.used
    assert stack.sessions.failures == {"nobody@example.org": 2}
    await write_down(stack.front.authenticator, stack.sessions)
    assert stack.sessions.failures == {}
    said = (await stack.client.get(f"/v1/api-keys/{made['id']}")).json()
    assert said["last_used_at"] is not None


async def test_a_tenant_has_so_many_keys(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that hold count."""
    from atalaia.storage import keys

    monkeypatch.setattr(keys, "MOST_KEYS", 2)
    made = await create(stack)
    response = await stack.client.post("/v1/api-keys", json={"name": "x"})
    assert (response.status_code, response.json()["code"]) == (409, "too_many_keys")
    await stack.client.delete(f"/v1/api-keys/{made['id']}")
    await create(stack)


async def test_keys_come_in_pages(stack: Stack) -> None:
    """Each once, by id."""
    for _ in range(4):
        await create(stack)
        await trio.lowlevel.checkpoint()
    seen, cursor = [], ""
    while cursor is not None:
        page = (await stack.client.get(f"/v1/api-keys?limit=2{cursor}")).json()
        seen += [key["id"] for key in page["data"]]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert seen == sorted(set(seen))
    assert len(seen) == 5
