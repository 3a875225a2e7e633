"""An actor that rests and returns, is rebuilt by an edit, or commits a batch in parts, goes on as
if nothing had happened.
"""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import trio

from atalaia.engine.limits import EngineLimits
from atalaia.storage.cluster import Cluster
from tests.stack import START_MS, Stack, new_database, open_stack, row

pytestmark = pytest.mark.postgres

RULES = (
    "rule mean on sensors when avg(t, 30s) > 2.5 for 5s clear when avg(t, 30s) < 1 for 3s",
    "rule rough on sensors when stddev(t, 20s) > 3.1 severity info, critical when max(t, 9s) > 5",
    "rule odd on sensors when anomaly(t, 1m) > 1.5 or rate(t, 15s) > 0.4",
)
BATCHES, EACH = 24, 10
IDLE_S = 0.05


async def rest(stack: Stack, _: Sequence[dict[str, Any]]) -> None:
    """Until nothing of the tenant is left in memory."""
    with trio.fail_after(10):
        while stack.gate._tenants:
            await trio.sleep(IDLE_S)


async def edit(stack: Stack, rules: Sequence[dict[str, Any]]) -> None:
    """One more rule, and another name of an old one: neither changes what is judged by these."""
    body = {"text": RULES[0].replace("rule mean", "rule average")}
    response = await stack.client.put(f"/v1/rules/{rules[0]['id']}", json=body)
    assert (response.status_code, response.json()["version"]) == (200, 1)
    response = await stack.client.put(f"/v1/rules/{rules[0]['id']}", json={"text": RULES[0]})
    assert response.status_code == 200
    await stack.rule(f"rule more{response.json()['revision']} on sensors when avg(t, 45s) > 99")


async def play(url: str, disturb: Any, limits: EngineLimits) -> list[tuple[object, ...]]:
    """Everything of the alerts but ids and arrivals, which no two runs share."""
    async with open_stack(url, limits=limits) as stack:
        rules = [await stack.rule(text) for text in RULES]
        for n in range(BATCHES):
            seconds = range(EACH * n, EACH * (n + 1))
            waves = [(s, 5 * math.sin(s / 9) + s % 7 * 0.37) for s in seconds]
            await stack.send([row(START_MS + 1000 * s, wave) for s, wave in waves])
            if disturb is not None and n % 3 != 1:
                await disturb(stack, rules)
        found = []
        for alert in await stack.alerts():
            response = await stack.client.get(f"/v1/alerts/{alert['id']}")
            history = [(s["kind"], s["at"], repr(s["value"])) for s in response.json()["history"]]
            found.append((alert["rule"]["name"], alert["opened_at"], str(history)))
    return sorted(found)


async def part(stack: Stack, rules: Sequence[dict[str, Any]]) -> None:
    """Nothing; the limits have each item hold one step of an alert."""


@pytest.mark.parametrize("disturb", [rest, edit, part])
def test_the_alerts_are_those_of_an_undisturbed_life(
    cluster: Cluster, kernel: None, disturb: Any
) -> None:
    """After two of three batches something happens; not a bit of the alerts shows it."""
    limits = EngineLimits(
        idle_s=IDLE_S if disturb is rest else 300, item_steps=1 if disturb is part else 256
    )
    with new_database(cluster) as calm, new_database(cluster) as rough:
        alerts = trio.run(play, calm, None, EngineLimits())
        assert len(alerts) > 8
        assert trio.run(play, rough, disturb, limits) == alerts
