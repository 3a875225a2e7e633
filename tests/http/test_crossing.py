"""Ids of another tenant where no route has them in its path: in bodies, queries, headers, cursors;
and sweeps of all paths by everybody whom the other tenant has.
"""

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.http.test_walls import SWEPT, UNKNOWN, ask, belongings
from tests.people import add_user, bearer, client, tokens
from tests.stack import START_MS, Stack, make_tenant

pytestmark = pytest.mark.postgres

RULE = "rule mine on sensors when t > 1"

QUESTIONS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/alerts?rule={rule}", None),
    ("GET", "/v1/alerts?sensor={sensor}", None),
    ("GET", "/v1/audit?actor=key:{actor}", None),
    ("GET", "/v1/sensors/{sensor_id}", None),
    ("GET", "/v1/sensors/{sensor_id}/latest", None),
    ("GET", "/v1/sensors/{sensor_id}/readings?metric=t", None),
    ("GET", "/v1/export?from=0&sensor={sensor}", None),
    ("GET", "/v1/export?from=0&sensor={sensor_id}", None),
    ("POST", "/v1/query", {"bucket": "1h", "from": START_MS, "sensors": ["{sensor}"]}),
    ("POST", "/v1/query", {"bucket": "1h", "from": START_MS, "sensors": ["{sensor_id}"]}),
    ("POST", "/v1/query", {"points": 9, "sensors": ["{sensor_id}"], "metrics": ["t"]}),
    ("POST", "/v1/rules/backtest", {"rule_id": "{rule}"}),
    ("POST", "/v1/rules/backtest", {"rule_id": "{rule}", "text": RULE}),
    ("GET", "/v1/rules/{own_rule}/explain?sensor={sensor}", None),
)
"""What names a thing of the other tenant beside the path, or by its other name."""


async def everything(stack: Stack) -> list[str]:
    """All rows of the first tenant in all tables, but for when its key was used."""
    tables = await stack.sql(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " AND a.attname = 'tenant_id' WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition"
        " AND c.relnamespace = 'public'::regnamespace"
    )
    found = []
    for table in sorted(each["name"] for each in tables):
        rows = await stack.sql(
            f"SELECT to_jsonb(t) - 'last_used_at' AS row FROM {table} t WHERE tenant_id = 1"
        )
        found += sorted(f"{table} {each['row']}" for each in rows)
    return found


def filled(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"{(\w+)}", lambda found: ids[found[1]], value)
    if isinstance(value, list):
        return [filled(item, ids) for item in value]
    if isinstance(value, dict):
        return {name: filled(item, ids) for name, item in value.items()}
    return value


async def put(asking: httpx.AsyncClient, question: Any, ids: Mapping[str, str]) -> tuple[int, str]:
    """The answer, without what names the request and what was named in it."""
    method, path, body = (filled(part, ids) for part in question)
    response = await asking.request(method, path, json=body)
    said = re.sub(r'"request_id":"\w+"', "", response.text)
    for own in ids.values():
        said = said.replace(own, "ID") if len(own) > 1 else said
    return response.status_code, said


async def test_a_foreign_id_beside_the_path_is_an_unknown_one(stack: Stack) -> None:
    """The same answer, word for word, as for what does not exist; and not the owner's answer."""
    theirs = await belongings(stack)
    sensor = (await stack.client.get("/v1/sensors/theirs")).json()
    theirs |= {"sensor_id": sensor["id"], "actor": stack.api_key.split("_")[1]}
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    before = await all_but_audit(stack)
    async with client(stack, {"x-api-key": other}) as asking:
        mine = (await asking.post("/v1/rules", json={"text": RULE})).json()["id"]
        theirs["own_rule"] = mine
        unknown = {name: UNKNOWN.get(name, str(uuid4())) for name in theirs} | {"own_rule": mine}
        for question in QUESTIONS:
            foreign = await put(asking, question, theirs)
            assert foreign == await put(asking, question, unknown), question
            owners = await put(stack.client, question, theirs)
            assert foreign != owners or "own_rule" in question[1], question
    assert await all_but_audit(stack) == before


async def all_but_audit(stack: Stack) -> list[str]:
    """Where the owner's own questions are written down."""
    return [line for line in await everything(stack) if not line.startswith("audit")]


async def test_every_path_is_the_same_wall_for_people(stack: Stack) -> None:
    """An administrator of another tenant, as its key: foreign and unknown are one 404."""
    theirs = await belongings(stack)
    unknown = {name: UNKNOWN.get(name, str(uuid4())) for name in theirs}
    await make_tenant(stack.bridge, stack.database_url, "other")
    number = (await stack.sql("SELECT max(tenant_id) AS no FROM tenants"))[0]["no"]
    await add_user(stack, "admin@other.example", tenant_no=number)
    before = await everything(stack)
    async with client(stack, bearer(await tokens(stack, "admin@other.example"))) as asking:
        for route in SWEPT:
            foreign = await ask(asking, route, theirs)
            assert foreign == await ask(asking, route, unknown), route
            assert foreign[0] == 404, (route, foreign)
    assert await everything(stack) == before


async def test_a_cursor_of_another_tenant_shows_ones_own(stack: Stack) -> None:
    """Whatever page it stands for: what follows is the asking tenant's, never the other's."""
    for number in range(3):
        await stack.rule(f"rule r{number} on sensors when t > {number}")
    page = (await stack.client.get("/v1/rules?limit=1")).json()
    assert page["next_cursor"]
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    async with client(stack, {"x-api-key": other}) as asking:
        found = await asking.get("/v1/rules", params={"cursor": page["next_cursor"]})
        assert (found.status_code, found.json()["data"]) == (200, [])
