"""A tenant that has something in every table, for whoever takes all of it or leaves none."""

from typing import Any
from uuid import UUID

import attrs

from atalaia.model.ids import TenantNo
from tests.people import add_user, bearer, client, tokens
from tests.stack import NOW_MS, Stack, make_tenant, row

ABOVE = "above@example.org"
NAME = "Padaria do Zé"
SENSOR, METRIC = "forno-da-Zilda", "temperature"
ADMIN, INVITED = "zilda@padaria.example", "novo@padaria.example"
UNIT, PLACE, PROFILE, RULE = "°C", "Rua das Flores 7", "fornos", "quente"
PERSONAL = ("Zilda", "zilda", "padaria", "Padaria", "Flores", "fornos", "quente")
"""Words that are nowhere once the tenant is erased."""


@attrs.frozen
class Full:
    """number, tenant_id: the tenant's; key: of its own; secrets: what nobody else may ever see."""

    number: TenantNo
    tenant_id: UUID
    key: str
    secrets: tuple[str, ...]


async def above(stack: Stack) -> dict[str, str]:
    """The headers of who looks after all, in the stack's own tenant."""
    await add_user(stack, ABOVE, platform=True)
    return bearer(await tokens(stack, ABOVE))


async def fill(stack: Stack, name: str = NAME) -> Full:
    """A tenant with a row in every table that has a tenant_id; a test asks the catalogue whether
    that is so.
    """
    key = await make_tenant(stack.bridge, stack.database_url, name)
    async with client(stack, {"x-api-key": key}) as own:
        tenant_id = UUID((await own.get("/v1/me")).json()["tenant_id"])
        query = "SELECT tenant_id AS no FROM tenants WHERE tenant_uuid = $1"
        number = TenantNo((await stack.sql(query, tenant_id))[0]["no"])
        admin = f"{name}.{ADMIN}".replace(" ", "").lower().encode("ascii", "ignore").decode()
        await add_user(stack, admin, tenant_no=number)
        signed_in = await tokens(stack, admin)
        done: list[Any] = [
            await own.post(
                "/v1/users",
                json={"email": f"{number}.{INVITED}"},
                headers={"idempotency-key": "once"},
            ),
            await own.put(f"/v1/metrics/{METRIC}", json={"unit": UNIT}),
            await own.put(f"/v1/profiles/{PROFILE}", json={"rules": ""}),
            await own.post(
                "/v1/rules", json={"text": f"rule {RULE} on sensors when {METRIC} > 100"}
            ),
            await own.post(
                "/v1/readings",
                json=[
                    row(NOW_MS - 100 * 86_400_000 + n, 20.1 + n, METRIC, SENSOR) for n in range(3)
                ],
            ),
            await own.post("/v1/readings", json=row(NOW_MS - 7_200_000, 101.5, METRIC, SENSOR)),
            await own.post("/v1/readings", json=row(NOW_MS - 7_200_001, 0.1 + 0.2, METRIC, SENSOR)),
            await own.patch(f"/v1/sensors/{SENSOR}", json={"place": PLACE}),
            await own.post("/v1/tickets"),
        ]  # fmt: skip
        assert [one.status_code for one in done if one.status_code >= 300] == [], [
            one.text for one in done
        ]
    await _what_no_request_makes(stack, number)
    secrets = (
        key.split("_")[2],
        signed_in["refresh_token"],
        signed_in["access_token"],
        done[0].json()["link"]["token"],
        done[-1].json()["ticket"],
    )
    return Full(number, tenant_id, key, secrets)


async def _what_no_request_makes(stack: Stack, number: TenantNo) -> None:
    """What could not be stored; and what the task of the rollups would come to make."""
    await stack.sql(
        "INSERT INTO dead_letters (tenant_id, reason, rows, payload) VALUES ($1, 'x', 1, '{}')",
        number,
    )
    await stack.sql(
        "INSERT INTO rollups SELECT tenant_id, 0, series_id, to_timestamp(0),"
        " decode(repeat('00', 64), 'hex')"
        " FROM series WHERE tenant_id = $1",
        number,
    )
    await stack.sql(
        "INSERT INTO idempotency_keys VALUES ($1, '\\x00', '\\x00', gen_random_uuid())", number
    )
    await stack.sql(
        "INSERT INTO arrivals VALUES ($1, 0, '', '', '', '') ON CONFLICT DO NOTHING", number
    )
    await stack.sql("INSERT INTO rollup_marks VALUES ($1, to_timestamp(0), 0)", number)
    await stack.sql(
        "INSERT INTO rollup_notes VALUES ($1, to_timestamp(0), '', '') ON CONFLICT DO NOTHING",
        number,
    )


async def tables_of_tenants(stack: Stack) -> list[str]:
    """Read from the catalogue; readings among them."""
    rows = await stack.sql(
        "SELECT c.relname AS name FROM pg_class c"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace"
        " AND NOT c.relispartition ORDER BY 1"
    )
    return [each["name"] for each in rows]


async def counts(stack: Stack, number: TenantNo) -> dict[str, int]:
    """How many rows of a tenant each table has."""
    return {
        table: (await stack.sql(f"SELECT count(*) AS n FROM {table} WHERE tenant_id = $1", number))[
            0
        ]["n"]
        for table in await tables_of_tenants(stack)
    }


async def dump(stack: Stack) -> str:
    """The whole database as text, but for what the catalogue itself says."""
    rows = await stack.sql(
        "SELECT relname AS name FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relnamespace = 'public'::regnamespace AND NOT relispartition"
    )
    found = []
    for each in rows:
        name = each["name"]
        found += [
            f"{name} {line['text']}"
            for line in await stack.sql(f"SELECT to_jsonb(t)::text AS text FROM {name} t")
        ]
    return "\n".join(found)
