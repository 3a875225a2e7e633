"""The walls between tenants: what belongs to another is, to every route and to the database beneath
it, what does not exist.
"""

import re
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from atalaia.http.access import ROUTES
from atalaia.ports import StoreRefused
from tests.people import add_user, client
from tests.stack import START_MS, Stack, make_tenant, row
from tests.tenants import tables_of_tenants

pytestmark = pytest.mark.postgres

BODIES: dict[str, Any] = {
    "POST /api/v1/<token>/telemetry": None,  # the token is the credential
    "PUT /v1/metrics/<path:metric>": None,  # says of one's own metric of that name
    "PUT /v1/profiles/<name>": None,
    "PATCH /v1/sensors/<sensor>": {"lateness": "1s"},
    "PUT /v1/sensors/<sensor>/tags": {"tags": {"a": "b"}},
    "PUT /v1/rules/<rule>": {"text": "rule theirs on sensors when t > 2"},
    "PATCH /v1/users/<user>": {"role": "viewer"},
}
"""What makes a request one that would change something."""

QUERIES = {
    "GET /v1/sensors/<sensor>/readings": "?metric=t",
    "GET /v1/rules/<rule>/explain": "?sensor=theirs",
}


async def belongings(stack: Stack) -> dict[str, str]:
    """One of everything that has an id, of the stack's own tenant."""
    rule = await stack.rule("rule hot on sensors when t > 1")
    await stack.send([row(START_MS, 2, sensor="theirs")])
    (alert,) = await stack.alerts()
    await stack.client.put("/v1/metrics/t", json={"unit": "°C"})
    await stack.client.put("/v1/profiles/boilers", json={"rules": ""})
    key = await stack.client.post("/v1/api-keys", json={"name": "k"})
    return {
        "name": "boilers",
        "rule": rule["id"],
        "alert": alert["id"],
        "sensor": "theirs",
        "path:metric": "t",
        "key": key.json()["id"],
        "user": str(await add_user(stack, "theirs@example.org")),
    }


UNKNOWN = {"sensor": "nobody", "path:metric": "u", "key": "0" * 16}


async def ask(asking: httpx.AsyncClient, route: str, ids: dict[str, str]) -> tuple[int, str]:
    """The status and everything that is said, but for what names the request and the id."""
    method, _, rule = route.partition(" ")
    path = re.sub("<([^>]+)>", lambda found: ids[found[1]], rule) + QUERIES.get(route, "")
    body = BODIES.get(route)
    response = await asking.request(method, path, json=body)
    said = re.sub(r'"request_id":"\w+"', "", response.text)
    for own in ids.values():
        said = said.replace(f'"{own}"', "ID").replace(f'\\"{own}\\"', "ID")
    return response.status_code, said


SWEPT = sorted(
    route
    for route in ROUTES
    if "<" in route
    and "<tenant>" not in route
    and ROUTES[route].role is not None
    and BODIES.get(route, "") is not None
)
"""<tenant> is for those who look after all of them; what is open is nobody's."""


async def test_another_tenants_id_is_an_unknown_one(stack: Stack) -> None:
    """On every route that takes one: the same 404 with the same words, and nothing is done."""
    theirs = await belongings(stack)
    unknown = {name: UNKNOWN.get(name, str(uuid4())) for name in theirs}
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    before = await everything(stack)
    async with client(stack, {"x-api-key": other}) as asking:
        for route in SWEPT:
            foreign = await ask(asking, route, theirs)
            nothing = await ask(asking, route, unknown)
            assert foreign == nothing, route
            assert foreign[0] == 404, (route, foreign)
    assert await everything(stack) == before
    assert len(SWEPT) > 20
    for route in SWEPT:  # or the sweep would prove nothing
        if route.startswith("GET"):
            assert (await ask(stack.client, route, theirs))[0] == 200, route


async def everything(stack: Stack) -> list[str]:
    """All that the first tenant has, as text, but for when its key was used."""
    found = []
    for table in ("rules", "sensors", "users", "api_keys", "alerts", "metrics", "profiles"):
        rows = await stack.sql(
            f"SELECT to_jsonb(t) - 'last_used_at' AS row FROM {table} t WHERE tenant_id = 1"
        )
        found += sorted(f"{table} {each['row']}" for each in rows)
    return found


async def test_without_the_applications_filter_the_database_shows_nothing(stack: Stack) -> None:
    """Every table is asked for everybody's rows, by name, in one tenant's transaction and in one
    without any: row-level security alone hides what others have, and lets nobody touch it.
    """
    await belongings(stack)
    await stack.client.post("/v1/users", json={"email": "new@example.org"})
    await make_tenant(stack.bridge, stack.database_url, "other")
    other = (await stack.sql("SELECT max(tenant_id) AS no FROM tenants"))[0]["no"]
    tried, seen_by_owner = 0, set()
    for table in await tables_of_tenants(stack):
        rows = await stack.sql(f"SELECT count(*) AS n FROM {table} WHERE tenant_id <> {other}")
        if rows[0]["n"]:
            seen_by_owner.add(table)
        changes = [
            f"UPDATE {table} SET {column} = {column}" for column in await writable(stack, table)
        ]
        for tenant_no in (other, 0):
            for statement in (
                f"SELECT count(*) FROM {table} WHERE tenant_id <> {other}",
                *(
                    f"WITH done AS ({change} WHERE tenant_id <> {other} RETURNING 1)"
                    " SELECT count(*) FROM done"
                    for change in (f"DELETE FROM {table}", *changes)
                ),
            ):
                assert await touched(stack, tenant_no, statement) == 0, statement
                tried += 1
    assert len(seen_by_owner) >= 12, "there was something to see"
    assert tried > 100


async def writable(stack: Stack, table: str) -> list[str]:
    """Columns that the application may change."""
    rows = await stack.sql(
        "SELECT column_name AS name FROM information_schema.column_privileges"
        " WHERE grantee = 'atalaia_app' AND privilege_type = 'UPDATE' AND table_name = $1",
        table,
    )
    return [each["name"] for each in rows]


async def touched(stack: Stack, tenant_no: int, statement: str) -> int:
    """How many rows; none where the privilege is missing already."""

    async def work(connection: asyncpg.Connection) -> int:
        return int(await connection.fetchval(statement))

    try:
        return await stack.database.as_tenant(tenant_no, work)  # type: ignore[arg-type]
    except StoreRefused as error:
        assert "42501" in str(error), error
        return 0


async def test_a_row_for_another_tenant_is_refused(stack: Stack) -> None:
    """Where the application may insert, it may for the tenant of its transaction alone."""
    await make_tenant(stack.bridge, stack.database_url, "other")
    numbers = await stack.sql("SELECT tenant_id AS no FROM tenants ORDER BY 1")
    own, other = (each["no"] for each in numbers)
    for statement in (
        "INSERT INTO users (tenant_id, user_id, email, role) VALUES ($1, $2, 'x@y', 'admin')",
        "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes)"
        " VALUES ($1, $2::uuid::text, '', '', '{admin}')",
        "INSERT INTO outbox_mails (tenant_id, mail_id, kind, recipient, params)"
        " VALUES ($1, $2, '', '', '{}')",
        "INSERT INTO audit (tenant_id, actor, actor_name, action, target, detail)"
        " VALUES ($1, $2::uuid::text, '', '', '', '{}')",
        "INSERT INTO metrics (tenant_id, metric, unit) VALUES ($1, $2::uuid::text, 'x')",
        "INSERT INTO tickets (tenant_id, ticket_hash, key_id, expires_at)"
        " VALUES ($1, uuid_send($2), '', now())",
    ):

        async def work(
            connection: asyncpg.Connection, tenant_no: int, statement: str = statement
        ) -> None:
            await connection.execute(statement, tenant_no, uuid4())

        await stack.database.as_tenant(own, lambda c, work=work: work(c, own))  # type: ignore[misc]
        with pytest.raises(StoreRefused, match="42501"):
            await stack.database.as_tenant(own, lambda c, work=work: work(c, other))  # type: ignore[misc]


async def test_nobody_becomes_another_tenant_by_saying_so(stack: Stack) -> None:
    """Neither in a body, nor in a query, nor in a header."""
    await stack.send([row(START_MS, 2, sensor="theirs")])
    mine = (await stack.client.get("/v1/me")).json()["tenant_id"]
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    async with client(stack, {"x-api-key": other}) as asking:
        for query in (f"?tenant_id={mine}", "?tenant_no=1", f"?tenant={mine}"):
            refused = await asking.get(f"/v1/sensors{query}")
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_parameter")
        for header in ("x-tenant", "x-tenant-no", "x-atalaia-tenant", "x-forwarded-user"):
            found = await asking.get("/v1/sensors", headers={header: mine})
            assert found.json()["data"] == []
        assert (await asking.get("/v1/sensors", headers={"x-tenant-id": mine})).status_code == 403
        for path, body in (
            ("/v1/rules", {"text": "rule r on sensors when t > 1"}),
            ("/v1/users", {"email": "a@example.org"}),
            ("/v1/api-keys", {"name": "k"}),
        ):
            sent = await asking.post(path, json=body | {"tenant_id": mine})
            assert (sent.status_code, sent.json()["code"]) == (400, "bad_body")
