"""`atalaia alerts` as its users meet it, against the real service."""

import json

import pytest

from tests.cli.runner import Runner
from tests.stack import START_MS, row

pytestmark = pytest.mark.postgres

MINUTE_MS = 60_000


async def open_and_clear(cli: Runner) -> None:
    """Two alerts of a rule: p1's has cleared, p2's is open."""
    await cli.stack.rule("rule hot on sensors when avg(t, 5m) > 20 and max(u, 5m) < 1")
    values = {"p1": (30, 30, -90), "p2": (10, 35.5, 35.5)}
    for n in range(3):
        await cli.stack.send(
            [
                row(START_MS + n * MINUTE_MS, value, sensor=sensor, metric=metric)
                for sensor, found in values.items()
                for metric, value in (("t", found[n]), ("u", 0.25))
            ]
        )


async def test_alerts_are_listed_and_told(cli: Runner) -> None:
    """Newest first; one by the beginning of its id, with its steps and its numbers."""
    assert await cli("alerts") == (0, "no alerts")
    code, said = await cli("alerts", "newest")
    assert (code, said) == (1, 'atalaia: There is no alert "newest"; `atalaia alerts` lists them.')
    await open_and_clear(cli)
    code, said = await cli("alerts")
    assert code == 0
    assert said.index("open warning hot p2") < said.index("warning hot p1")
    code, said = await cli("alerts", "--state", "cleared", "--json")
    (cleared,) = json.loads(said)
    assert (code, cleared["sensor"]) == (0, "p1")
    code, said = await cli("alerts", cleared["id"][:8].upper())
    assert code == 0
    assert said.startswith("hot v1 at p1: cleared opened ")
    assert "warning -10 arrived" in said
    assert "when it opened avg(t, 5m) = 30 max(u, 5m) = 0.25 t: 1 reading after " in said
    assert "what version 1 said then rule hot on sensors when" in said
    assert (await cli("alerts", "newest"))[1].startswith("hot v1 at p2: open ")
    code, said = await cli("alerts", cleared["id"], "--json")
    assert [step["kind"] for step in json.loads(said)["history"]] == ["opened", "cleared"]
    assert "p2" not in (await cli("alerts", "--sensor", "p1"))[1]
    assert len((await cli("alerts", "--limit", "1", "--json"))[1].split('"id"')) == 3  # the rule's


async def test_what_cannot_be_shown_is_said(cli: Runner) -> None:
    """In a sentence each: a beginning of two ids, a wrong state, a server that is not there."""
    await open_and_clear(cli)
    code, said = await cli("alerts", "")
    assert (code, 'The ids of 2 alerts begin with ""; give more of it.' in said) == (2, True)
    code, said = await cli("alerts", "--state", "shut")
    assert (code, "state: give one of open, cleared" in said) == (1, True)
    code, said = await cli("alerts", "--url", "http://127.0.0.1:1", "--key", "x", server=False)
    assert (code, "does not answer" in said, "Traceback" in said) == (1, True, False)


async def test_alerts_are_those_of_a_rule(cli: Runner) -> None:
    """Of the list and of newest: of two rules that fire, the one that is named."""
    await open_and_clear(cli)
    await cli.stack.rule("rule cold on sensors when t < 0")
    await cli.stack.send([row(START_MS + 9 * MINUTE_MS, -5, sensor="p3", metric="t")])
    assert (await cli("alerts", "newest"))[1].startswith("cold v1 at p3: open ")
    assert (await cli("alerts", "newest", "--rule", "hot"))[1].startswith("hot v1 at p2: open ")
    code, said = await cli("alerts", "--rule", "cold")
    assert (code, "p3" in said, "p2" in said) == (0, True, False)
    assert (await cli("alerts", "newest", "--sensor", "p1"))[1].startswith("hot v1 at p1: ")
    code, said = await cli("alerts", "--rule", "warm")
    assert (code, 'no rule named "warm"' in said) == (1, True)
