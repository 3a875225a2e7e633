"""`atalaia rules explain` as its users meet it, against the real service."""

import json

import pytest

from tests.cli.runner import Runner
from tests.stack import START_MS, row

pytestmark = pytest.mark.postgres


async def test_a_person_reads_why_not(cli: Runner) -> None:
    """The sentence first, then the state, the numbers, and what suppresses it."""
    await cli.stack.rule(
        "rule hot on sensors when avg(t, 1m) > 10 and u > 1 for 1m clear when t < 2"
        " severity info, critical when t > 90"
    )
    await cli.stack.send([row(START_MS, 4)])
    code, said = await cli("rules", "explain", "hot", "--sensor", "s")
    assert code == 0, said
    assert said.startswith("No alert: avg(t, 1m) is 4 and must be more than 10: 6 to go (1 more")
    for line in (
        "rule hot, version 1 sensor s state idle judged at 20",
        "when avg(t, 1m) > 10 and last(u, 5m) > 1: does not hold",
        "avg(t, 1m) > 10 does not hold: avg(t, 1m) is 4, 6 to go",
        'last(u, 5m) > 1 unknown: the sensor has sent no "u" yet',
        "earliest 20",
        "1m after the sensor's newest reading",
    ):
        assert line in said, said
    await cli.stack.send([row(START_MS + n, 95, m) for n in (1, 60_001) for m in "tu"])
    code, said = await cli("rules", "explain", "hot", "--sensor", "s")
    assert "clear when last(t, 5m) < 2: does not hold" in said
    assert "critical last(t, 5m) > 90: holds" in said
    assert "[already_open] Alert " in said
    code, said = await cli("rules", "explain", "hot", "--sensor", "s", "--json")
    assert (code, json.loads(said)["state"]) == (0, "open")


async def test_what_is_not_there_is_named(cli: Runner) -> None:
    """A rule, a sensor, a server: one sentence and a code."""
    await cli.stack.rule("rule silent on sensors when no data for 10m")
    code, said = await cli("rules", "explain", "cold", "--sensor", "s")
    assert (code, 'no rule named "cold"' in said) == (1, True)
    code, said = await cli("rules", "explain", "silent", "--sensor", "s")
    assert (code, 'There is no sensor named "s".' in said) == (1, True)
    await cli.stack.send([row(START_MS, 4)])
    code, said = await cli("rules", "explain", "silent", "--sensor", "s")
    assert (code, "silent since 20" in said, "deadline 20" in said) == (0, True, True), said
    code, said = await cli(
        "rules", "explain", "x", "--sensor", "s", "--url", "http://127.0.0.1:1", "--key", "x",
        server=False,
    )  # fmt: skip
    assert (code, "does not answer" in said, "Traceback" in said) == (1, True, False)
