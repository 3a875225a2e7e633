"""Backtests of silence over a real Postgres: what arrived when, out of the stored readings."""

from collections.abc import Sequence
from typing import Any
from unittest import mock
from uuid import uuid4

import numpy as np
import pytest

from atalaia.engine import feed
from atalaia.model.batch import SeriesName
from atalaia.model.ids import Micros
from atalaia.ports import CommitItem
from tests.http.test_backtest import backtest
from tests.stack import START_MS, Stack

pytestmark = pytest.mark.postgres

S = 1_000_000
START = START_MS // 1_000 * S
"""On the grid, an hour ago."""

SILENT = "rule silent on sensors when no data for 10m severity critical"


async def store(
    stack: Stack, sensor: str, registered: int, rows: Sequence[tuple[int, ...]]
) -> None:
    """Rows of (arrival, ts, 1 for a late one), in seconds from START, in order of arrival."""
    number = await stack.tenant_no()
    _, (series,) = await stack.store.register(
        number, [SeriesName(sensor, "t")], Micros(START + registered * S)
    )
    for arrival, ts, *late in rows:
        times = np.array([START + ts * S])
        if len(stack.store.uncovered(times)):
            await stack.store.ensure_partitions(number, times, Micros(START))
        some = (np.array([series.series_no], np.int32), times, np.ones(1))
        none = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0))
        fresh, old = (none, some) if late else (some, none)
        item = CommitItem(
            tenant_no=number,
            received_at=Micros(START + arrival * S),
            fresh_series=fresh[0],
            fresh_ts=fresh[1],
            fresh_value=fresh[2],
            old_series=old[0],
            old_ts=old[1],
            old_value=old[2],
            touched=fresh[0],
            newest=fresh[1],
            rule_states=b"",
        )
        await stack.store.commit_group(uuid4(), [item])


def times(trial: dict[str, Any]) -> list[tuple[object, ...]]:
    """(sensor, opened, cleared, silent for) in seconds from START."""

    def second(text: str | None) -> float | None:
        return None if text is None else (np.datetime64(text[:-1], "us").astype(int) - START) / S

    return [
        (a["sensor"], second(a["opened_at"]), second(a["cleared_at"]), a["opened_value"])
        for a in trial["alerts"]
    ]


async def test_silence_is_read_off_the_arrivals(stack: Stack) -> None:
    """By arrival: what was kept and delivered late is heard when it came; late rows are not."""
    await store(stack, "calm", -900, [(n * 300 - 600, n * 300 - 600) for n in range(15)])
    await store(
        stack, "gap", -900, [(-400, -400), (100, 100), (500, 50, 1), (1501, 900), (1502, 901)]
    )
    await store(stack, "kept", -900, [(-700, -4000), (1000, -3999), (1001, -3998)])
    await store(stack, "new", 1200, [(2000, -9000), (2001, -8999)])
    await store(stack, "never", 300, [])
    body = {"from": START // 1000, "to": (START + 2700 * S) // 1000, "order": "event"}
    result = await backtest(stack, text=SILENT, **body)
    (trial,) = result["variants"]
    assert times(trial) == [
        ("kept", 0, 1000, 700), ("gap", 700, 1501, 600), ("never", 900, None, 600),
        ("kept", 1601, None, 600), ("new", 1800, 2000, 600), ("gap", 2102, None, 600),
        ("new", 2601, None, 600),
    ]  # fmt: skip
    assert (trial["for"], trial["threshold"], trial["severities"]["critical"]) == ("10m", None, 7)
    assert (result["order"], result["sensors"], result["readings"]) == ("arrival", 5, 17)
    assert [note.split()[0] for note in result["notes"]] == ["Silence", "Times"]
    with mock.patch.multiple(feed, CHUNK_ROWS=2, MOST_ROWS=4, FIRST_SLICE_US=S):
        assert await backtest(stack, text=SILENT, **body) == result


async def test_a_sweep_of_silence_beside_the_live_rule(stack: Stack) -> None:
    """`for` is how long the silence must last."""
    await store(stack, "s", 0, [(0, 0), (400, 400), (1200, 1200), (1300, 1300)])
    rule = await stack.rule(SILENT)
    body = {"from": START // 1000, "to": (START + 1400 * S) // 1000}
    result = await backtest(
        stack, text=SILENT.replace("10m", "5m"), sweep={"for": ["10m", "1h"]}, **body
    )
    found = [(v["for"], v["live"], v["opened"], v["diff"]) for v in result["variants"]]
    assert found == [
        ("5m", False, 2, {"kept": 1, "gone": 0, "new": 1}),
        ("10m", True, 1, None),
        ("1h", False, 0, {"kept": 0, "gone": 1, "new": 0}),
    ]
    assert result["variants"][1]["alerts"][0]["id"] is not None
    other = await backtest(stack, text="rule silent on sensors when t > 0", **body)
    assert (other["live"]["id"], other["variants"][0]["diff"]) == (rule["id"], None)
    assert [note.split(":")[0] for note in other["notes"]] == [
        "There is no comparison with the live rule"
    ]


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"for": ["500ms"]}, "whole seconds"),
        ({"for": ["31d"]}, "30 days"),
        ({"threshold": [3]}, "compares with none"),
    ],
)
async def test_a_sweep_that_silence_has_not_is_refused(
    stack: Stack, sweep: dict[str, object], words: str
) -> None:
    """As `for` of other rules is."""
    body = {"text": SILENT, "sweep": sweep}
    response = await stack.client.post("/v1/rules/backtest", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_sweep")
    assert words in response.json()["detail"]
