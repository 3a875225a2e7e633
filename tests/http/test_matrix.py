"""Who gets what from each route: a table of the statuses that a real server gave, kept beside this.

    ATALAIA_WRITE_GOLDEN=1 .venv/bin/python -m pytest -q tests/http/test_matrix.py

writes it anew; what changed is then read like any other change. Ids are those of tenant A, so that
a column of A says what the owner gets, and one of B what another tenant does.
"""

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import httpx
import pytest

from atalaia.http.access import ROUTES
from atalaia.http.archive import ZIP
from atalaia.model.ids import TenantNo
from atalaia.model.principal import ROLES, SCOPES
from tests.http.test_walls import BODIES, QUERIES
from tests.people import add_key, add_user, bearer, client, tokens
from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres

GOLDEN = Path(__file__).with_name("matrix.golden.md")
HEAD = """# Statuses by route and caller

Ids are those of tenant A, bodies are empty where a body would make something. Written by
`tests/http/test_matrix.py`, which compares it.

"""
MORE_BODIES: dict[str, Any] = {
    "PATCH /v1/settings": {"lateness": "0s"},
    "PUT /v1/settings/retention": {"days": None},
    "PUT /v1/profiles/<name>": {"rules": ""},
    "PUT /v1/metrics/<path:metric>": {"unit": "°C"},
    "PUT /v1/rules/<rule>": {"text": "rule hot on sensors when t > 1"},
}


@attrs.frozen
class Caller:
    """One who asks. key: of a key, for where it stands in the path."""

    name: str
    asking: httpx.AsyncClient
    key: str = "x"


@attrs.define(eq=False)
class Owned:
    """One of everything that has an id, of tenant A; what was deleted is made again."""

    stack: Stack
    ids: dict[str, str] = attrs.field(factory=dict)
    sent: int = 0

    async def renew(self, name: str) -> None:
        send = self.stack.client
        match name:
            case "rule":
                rule = await self.stack.rule("rule hot on sensors when t > 1")
                self.ids[name] = rule["id"]
            case "sensor":
                self.sent += 1
                await self.stack.send([row(START_MS + self.sent, 2, sensor="theirs")])
                self.ids[name] = "theirs"
            case "alert":
                self.ids[name] = (await self.stack.alerts())[0]["id"]
            case "key":
                made = await send.post("/v1/api-keys", json={"name": "spare"})
                self.ids[name] = made.json()["id"]
            case "user":
                self.ids[name] = str(await add_user(self.stack, f"{uuid4()}@example.org"))
            case "name":
                await send.put("/v1/profiles/boilers", json={"rules": ""})
                self.ids[name] = "boilers"
            case "path:metric":
                await send.put("/v1/metrics/t", json={"unit": "°C"})
                self.ids[name] = "t"

    def path(self, route: str, caller: Caller) -> str:
        """Tenants are nobody's here: what is done to one is not undone."""
        ids = self.ids | {"token": caller.key}
        rule = route.partition(" ")[2]
        path = re.sub("<([^>]+)>", lambda found: ids.get(found[1], str(uuid4())), rule)
        dry = "?dry_run=true" if rule.endswith(":import") else ""
        return path + QUERIES.get(route, dry)


@asynccontextmanager
async def everybody(stack: Stack) -> AsyncIterator[list[Caller]]:
    """Nobody; and in both tenants a person of each role and a key of each scope."""
    await make_tenant(stack.bridge, stack.database_url, "B")
    async with AsyncExitStack() as opened:

        async def caller(name: str, headers: Mapping[str, str], key: str = "x") -> Caller:
            return Caller(name, await opened.enter_async_context(client(stack, headers)), key)

        found = [await caller("nobody", {})]
        numbers = await stack.sql("SELECT tenant_id AS no FROM tenants ORDER BY 1")
        for tenant, number in zip("AB", (TenantNo(each["no"]) for each in numbers), strict=True):
            for role in (*ROLES, "platform") if tenant == "A" else ROLES:
                email = f"{role}-{tenant}@example.org".lower()
                is_platform = role == "platform"
                await add_user(stack, email, "admin" if is_platform else role,
                               platform=is_platform, tenant_no=number)  # fmt: skip
                found.append(await caller(f"{tenant} {role}", bearer(await tokens(stack, email))))
            for scope in SCOPES:
                key = await add_key(stack, scope, tenant_no=number)
                found.append(await caller(f"{tenant} `{scope}`", {"x-api-key": key}, key))
        yield found


async def status(owned: Owned, route: str, caller: Caller) -> int:
    """What this caller gets now; whatever it took away is there again afterwards."""
    method = route.partition(" ")[0]
    body = (BODIES | MORE_BODIES).get(route)
    async with caller.asking.stream(method, owned.path(route, caller), json=body) as response:
        got = response.status_code
        if response.headers.get("content-type") == ZIP:  # or the next one would have to wait
            await response.aread()
    if got < 300 and (method == "DELETE" or route.endswith("/rotate")):
        await owned.renew(re.findall("<([^>]+)>", route)[-1])
        if "<sensor>" in route or "<rule>" in route:
            await owned.renew("sensor")  # and its alert
    return got


async def matrix(stack: Stack) -> str:
    owned = Owned(stack)
    for name in ("rule", "sensor", "alert", "key", "user", "name", "path:metric"):
        await owned.renew(name)
    async with everybody(stack) as callers:
        lines = ["| route | " + " | ".join(caller.name for caller in callers) + " |",
                 "|---" * (len(callers) + 1) + "|"]  # fmt: skip
        for route in sorted(ROUTES, key=lambda route: (route.partition(" ")[2], route)):
            got = [str(await status(owned, route, caller)) for caller in callers]
            lines.append(f"| `{route}` | " + " | ".join(got) + " |")
    return HEAD + "\n".join(lines) + "\n"


async def test_the_statuses_are_those_of_the_table(stack: Stack) -> None:
    """Every route, every caller; a route that is new is a line that is missing."""
    found = await matrix(stack)
    if os.environ.get("ATALAIA_WRITE_GOLDEN"):
        GOLDEN.write_text(found)
    kept = GOLDEN.read_text().splitlines()
    changed = [line for line in found.splitlines() if line not in kept]
    assert changed == [], "read them; if they are right, write the table anew (see above)"
    assert kept == found.splitlines()


def rows_of_the_table() -> dict[str, dict[str, int]]:
    head, _, *lines = GOLDEN.read_text().removeprefix(HEAD).splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    found = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[cells[0].strip("`")] = dict(zip(names[1:], map(int, cells[1:]), strict=True))
    return found


def test_the_table_says_what_a_table_of_walls_must() -> None:
    """Read as a stranger would: nobody gets in without a credential, no B sees what is A's, no
    status is a 5xx, whoever may more is refused nothing that others get.
    """
    for route, got in rows_of_the_table().items():
        method, _, rule = route.partition(" ")
        assert max(got.values()) < 500, route
        if ROUTES[route].role is not None:
            assert got["nobody"] == 401, route
        theirs = {name: status for name, status in got.items() if name.startswith("B ")}
        names_a_thing = "<" in rule and "<token>" not in rule and method != "PUT"
        if names_a_thing or route in ("PUT /v1/sensors/<sensor>/tags", "PUT /v1/rules/<rule>"):
            assert set(theirs.values()) <= {403, 404}, route
        for tenant in "AB":
            ranks = [got[f"{tenant} {role}"] for role in ROLES]
            refused = [status == 403 for status in ranks]
            assert refused == sorted(refused, reverse=True), route
