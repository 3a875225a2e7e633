"""How many there are of what is listed, for whoever asks."""

import pytest

from tests.people import add_key, add_user, bearer, client, tokens
from tests.stack import START_MS, Stack, make_tenant, row

pytestmark = pytest.mark.postgres


async def test_every_list_says_how_many_there_are(stack: Stack) -> None:
    """Of all pages, with what was filtered for, of this tenant alone; and only when asked."""
    await make_tenant(stack.bridge, stack.database_url, "other")
    await stack.sql("INSERT INTO metrics (tenant_id, metric, unit) VALUES (2, 'x', 'm')")
    for n in range(3):
        rule = await stack.rule(f"rule r{n} on sensors when t > 1")
        tags = {"group": "a" if n else "b", "profile": "p"}
        await stack.client.post("/v1/sensors", json={"name": f"s{n}", "tags": tags})
        await stack.client.put(f"/v1/metrics/m{n}", json={"unit": "m"})
        await stack.client.put(f"/v1/profiles/p{n}", json={})
        await add_user(stack, f"u{n}@example.org", platform=not n)
        await add_key(stack, "read")
    await stack.client.delete(f"/v1/rules/{rule['id']}")
    await stack.client.delete("/v1/sensors/s2")
    await stack.send([row(START_MS, 2, sensor=f"s{n}") for n in range(2)])
    expected = {
        "/v1/rules": 2, "/v1/sensors": 2, "/v1/sensors?group=a": 1, "/v1/sensors?profile=p": 2,
        "/v1/sensors?profile=x": 0, "/v1/alerts": 4, "/v1/alerts?sensor=s1": 2,
        "/v1/alerts?state=cleared": 0, f"/v1/alerts?from={START_MS + 1}": 0, "/v1/metrics": 3,
        "/v1/users": 4, "/v1/api-keys": 4, "/v1/profiles": 3, "/v1/groups": 2,
        "/v1/audit?action=rule.created": 3,
    }  # fmt: skip
    for path, total in expected.items():
        sign = "&" if "?" in path else "?"
        if path in ("/v1/profiles", "/v1/groups"):  # which are one page
            whole = (await stack.client.get(f"{path}?count=true")).json()
            assert (whole["total"], len(whole["data"])) == (total, total), path
            continue
        one = (await stack.client.get(f"{path}{sign}limit=1&count=true")).json()
        assert one["total"] == total, path
        all_of_them = (await stack.client.get(f"{path}{sign}limit=1000")).json()
        assert len(all_of_them["data"]) == total, path
        assert "total" not in all_of_them
        if one["next_cursor"] is not None:
            rest = f"{path}{sign}limit=1&count=true&cursor={one['next_cursor']}"
            answer = await stack.client.get(rest)
            assert answer.json()["total"] == total, "on every page"
    async with client(stack, bearer(await tokens(stack, "u0@example.org"))) as boss:
        assert (await boss.get("/v1/admin/tenants?limit=1&count=true")).json()["total"] == 2


async def test_what_is_no_answer_to_the_question_is_refused(stack: Stack) -> None:
    """True or false."""
    answer = await stack.client.get("/v1/rules?count=yes")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_parameter")
    assert "total" not in (await stack.client.get("/v1/rules?count=false")).json()
