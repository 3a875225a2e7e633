"""Rules are checked before they are saved: lints, cost and the sensors they match."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atalaia.engine.limits import EngineLimits
from atalaia.model.ids import DAY_US
from atalaia.rules.syntax import Selector, TagTest
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

TEXT = """rule hot on sensors "boiler-*"
  when avg(t, 5m) > 30 and count(t, 1m) >= 0
rule cold on sensors when min(t, 5m) < 2
"""


async def test_a_check_says_lints_cost_and_matches(stack: Stack) -> None:
    """Per rule of the text; nothing is saved."""
    sensors = ["boiler-1", "boiler-2", "pump"]
    await stack.send([row(START_MS, 1, sensor=sensor) for sensor in sensors])
    response = await stack.client.post("/v1/rules/check", json={"text": TEXT})
    assert response.status_code == 200, response.text
    hot, cold = response.json()["rules"]
    (lint,) = hot["lints"]
    assert (lint["code"], lint["line"], lint["column"]) == ("always_true", 2, 28)
    assert (hot["name"], hot["matches"], cold["name"], cold["matches"]) == ("hot", 2, "cold", 3)
    cost = hot["cost"]
    assert (cost["interval"], cost["windows"], cost["new_windows"]) == ("1s", 2, 2)
    assert 5_000 < cost["bytes_per_sensor"] < 8_000
    assert cost["bytes"] == 2 * cost["bytes_per_sensor"]
    assert 50 < cost["ns_per_reading"] < 300
    assert (cold["lints"], cold["cost"]["new_windows"]) == ([], 1)
    assert (await stack.client.get("/v1/rules")).json()["data"] == []


async def test_windows_of_rules_in_force_are_free(stack: Stack) -> None:
    """And their twins are told; a rule out of service counts for nothing."""
    made = await stack.rule("rule warm on sensors when avg(t, 5m) > 30")
    body = {"text": "rule hot on sensors when avg(t, 5m) > 30", "interval": "10s"}
    (hot,) = (await stack.client.post("/v1/rules/check", json=body)).json()["rules"]
    assert [lint["code"] for lint in hot["lints"]] == ["duplicate_rule", "no_sensors"]
    assert hot["cost"] == {
        "interval": "10s", "windows": 1, "new_windows": 0,
        "bytes_per_sensor": 8, "bytes": 0, "ns_per_reading": 5,
    }  # fmt: skip
    await stack.client.post(f"/v1/rules/{made['id']}/disable")
    (hot,) = (await stack.client.post("/v1/rules/check", json=body)).json()["rules"]
    assert [lint["code"] for lint in hot["lints"]] == ["no_sensors"]
    assert hot["cost"]["new_windows"] == 1


async def test_a_check_knows_the_retention(database_url: str) -> None:
    """Windows beyond it lose readings at a restart."""
    async with open_stack(database_url, limits=EngineLimits(retention_us=DAY_US)) as stack:
        body = {"text": "rule hot on all sensors when avg(t, 25h) > 30"}
        (hot,) = (await stack.client.post("/v1/rules/check", json=body)).json()["rules"]
        assert "window_beyond_retention" in [lint["code"] for lint in hot["lints"]]


async def test_a_check_knows_the_tenants_own_retention(stack: Stack) -> None:
    """What it keeps for a shorter time than the service does is gone all the same."""
    body = {"text": "rule hot on all sensors when avg(t, 25h) > 30"}
    for days, said in ((None, False), (2, False), (1, True)):
        await stack.client.put("/v1/settings/retention", json={"days": days})
        (hot,) = (await stack.client.post("/v1/rules/check", json=body)).json()["rules"]
        codes = [lint["code"] for lint in hot["lints"]]
        assert ("window_beyond_retention" in codes) == said


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "rule x on sensors when t >"}, 422, "invalid_rule"),
        ({"text": "rule x on sensors when t > 1", "interval": "soon"}, 400, "bad_body"),
        ({"text": "rule x on sensors when t > 1", "interval": "0s"}, 400, "bad_body"),
        ({"text": "rule x on sensors when t > 1", "interval": 7}, 400, "bad_body"),
        ({"texts": ""}, 400, "bad_body"),
    ],
)
async def test_bad_checks_are_named(
    stack: Stack, body: dict[str, object], status: int, code: str
) -> None:
    """As elsewhere."""
    response = await stack.client.post("/v1/rules/check", json=body)
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_a_saved_rule_comes_with_its_lints(stack: Stack) -> None:
    """When it is made and when it is replaced; a renamed rule is no twin of itself."""
    await stack.send([row(START_MS, 1)])
    made = await stack.rule("rule hot on sensors when t > 30 clear when t < 31")
    assert [lint["code"] for lint in made["lints"]] == ["clear_overlaps"]
    body = {"text": "rule warm on sensors when t > 30 clear when t < 31"}
    again = await stack.client.put(f"/v1/rules/{made['id']}", json=body)
    assert [lint["code"] for lint in again.json()["lints"]] == ["clear_overlaps"]
    body = {"text": "rule warm on sensors when t > 30"}
    assert (await stack.client.put(f"/v1/rules/{made['id']}", json=body)).json()["lints"] == []


NAMES = ["a", "ab", "a_b", "a-b", "b:a", "A", "a.b.c"]
TAGS: list[dict[str, str]] = [
    {}, {"k": "a"}, {"k": "a%b", "j": "x"}, {"k": "\\", "j": ""}, {"j": "a_b"}, {"k": "*"},
    {"k": "ação"},
]  # fmt: skip
PATTERNS = st.text("ab%_\\*?.ãç", max_size=5)
SELECTORS = st.builds(
    Selector,
    name=st.none() | PATTERNS,
    exact=st.booleans(),
    tags=st.lists(
        st.builds(TagTest, tag=st.sampled_from("kji"), pattern=PATTERNS, exact=st.booleans()),
        max_size=2,
    ).map(tuple),
)


async def test_the_database_counts_what_the_engine_matches(stack: Stack) -> None:
    """Patterns mean the same in SQL, whatever stands in them."""
    await stack.send([row(START_MS, 1, sensor=name) for name in NAMES])
    for name, tags in zip(NAMES, TAGS, strict=True):
        await stack.client.put(f"/v1/sensors/{name}/tags", json={"tags": tags})
    drawn = [Selector(), Selector(name=NAMES[0], exact=True), Selector(name="none", exact=True)]

    @settings(max_examples=300, database=None)
    @given(SELECTORS)
    def draw(selector: Selector) -> None:
        drawn.append(selector)

    draw()
    counted = await stack.queries.count_sensors(await stack.tenant_no(), drawn)
    for selector, count in zip(drawn, counted, strict=True):
        matching = [n for n, t in zip(NAMES, TAGS, strict=True) if selector.matches(n, t)]
        assert count == len(matching), selector
    assert {0, 1, len(NAMES)} <= set(counted)
