"""Live is backtest: a recorded day through the real service and Postgres, then asked of the past.

The day is played on a clock that stands still but when it is moved, so that deadlines of silence
are met to the second.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from atalaia.engine.clock import SystemClock
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import NotFound
from atalaia.model.ids import DAY_US, Micros
from atalaia.rules.syntax import SEVERITY_ORDER
from atalaia.storage.cluster import Cluster
from tests.groups import REPLAY, fraction, group
from tests.rules.streams import rule_texts
from tests.stack import Stack, new_database, open_stack

pytestmark = pytest.mark.postgres

S = 1_000_000
KINDS = (
    "rule mean on sensors when avg(a, 10s) > 0.5 for 2s clear when avg(a, 10s) < 0 for 1s",
    'rule levels on sensor "s0" when stddev(a, 10s) > 0.4 severity info,'
    " warning when max(a, 3s) > 1, critical when b > a",
    "rule odd on sensors when anomaly(a, 1m) or median(b, 10s) > quantile(a, 0.3, 10s)",
    "rule unknown on sensors when rate(b, 3s) > 0.3 on no data alert",
    "rule silent on sensors when no data for 5s severity info",
    'rule quiet on sensor "s1" when no data for 31s severity critical',
)
SILENCES = (5 * S, 31 * S)

Row = tuple[str, str, int, float]  # sensor, metric, µs before its arrival, value
Sent = tuple[int, list[Row]]  # how long after the last batch, in tenths of a second


@st.composite
def days(draw: st.DrawFn) -> list[Sent]:
    """Batches of two sensors with gaps, late rows, lagging metrics and repeats of the last one."""
    lag = st.sampled_from([0, 0, 0, 0, 250_000, 9 * S, 70 * S])
    row = st.tuples(
        st.sampled_from(["s0", "s0", "s1"]), st.sampled_from("ab"), lag,
        st.integers(-6, 6).map(lambda n: n / 2),
    )  # fmt: skip
    pause = st.sampled_from([1, 5, 10, 10, 10, 20, 49, 50, 51, 70, 310, 650])
    batches = draw(
        st.lists(st.tuples(pause, st.lists(row, min_size=1, max_size=6)), min_size=20, max_size=60)
    )
    return [(pause, rows) for pause, rows in batches]


class Playing:
    """A wall clock that goes with trio's."""

    def __init__(self) -> None:
        self.start_us = (SystemClock().now_us() - DAY_US) // S * S
        self.start = trio.current_time()

    def now_us(self) -> Micros:
        return Micros(self.start_us + round(1e6 * (trio.current_time() - self.start)))


def as_batch(rows: Sequence[Row], now: int) -> Batch:
    names = tuple(dict.fromkeys(SeriesName(sensor, metric) for sensor, metric, _, _ in rows))
    return Batch(
        names=names,
        idx=np.array([names.index(SeriesName(s, m)) for s, m, _, _ in rows], np.int32),
        ts=np.array([now - lag for _, _, lag, _ in rows], np.int64),
        value=np.array([value for *_, value in rows], np.float64),
        row=np.arange(len(rows), dtype=np.int32),
        rejects=(),
        sent=len(rows),
    )


async def play(stack: Stack, day: Sequence[Sent], clock: MockClock, wall: Playing) -> Micros:
    """Send the batches at their times, the clock moved to every deadline between them."""
    tenant_no = await stack.tenant_no()
    deadlines: set[int] = set()

    async def move(to_us: int) -> None:
        clock.jump((to_us - wall.now_us()) / 1e6)
        await wait_all_tasks_blocked()
        try:  # after everything before it is committed
            await stack.gate.set_tags(tenant_no, {"nobody": {}}).wait()
        except NotFound:
            return

    # Half a tenth off the grid; a deadline is looked at a moment after its second began.
    at = wall.start_us + S // 20
    for pause, rows in [*day, (900, [])]:
        at += pause * S // 10
        for deadline in sorted(deadline for deadline in deadlines if deadline < at):
            if deadline > wall.now_us():
                await move(deadline + 1_000)
        await move(at)
        if rows:
            batch = as_batch(rows, at)
            await stack.gate.submit(tenant_no, batch).wait()
            deadlines |= {-(-(at + after) // S) * S for after in SILENCES}
    return wall.now_us()


async def shown(stack: Stack, rule_id: str) -> list[tuple[object, ...]]:
    """The alerts of a rule as live kept them, with the highest severity they had."""
    found = []
    for alert in await stack.alerts(f"&rule={rule_id}"):
        response = await stack.client.get(f"/v1/alerts/{alert['id']}")
        steps = response.json()["history"]
        peak = max((step["severity"] for step in steps), key=SEVERITY_ORDER.index)
        found.append(
            (alert["opened_at"], alert["sensor"], alert["id"], repr(alert["opened_value"]),
             alert["cleared_at"], peak)
        )  # fmt: skip
    return sorted(found, key=str)


async def replayed(stack: Stack, rule_id: str, since: int, until: int) -> list[tuple[object, ...]]:
    body = {"rule_id": rule_id, "order": "arrival", "from": since // 1000, "to": until // 1000 + 1}
    response = await stack.client.post("/v1/rules/backtest", json=body)
    last: dict[str, Any] = json.loads(response.text.splitlines()[-1])
    (trial,) = last["result"]["variants"]
    assert trial["live"]
    return sorted(
        (
            (a["opened_at"], a["sensor"], a["id"], repr(a["opened_value"]), a["cleared_at"],
             a["severity"])
            for a in trial["alerts"]
        ), key=str,
    )  # fmt: skip


async def compare(url: str, texts: Sequence[str], day: Sequence[Sent]) -> list[int]:
    """Play the day and ask for it again, rule by rule; returns how many alerts each opened."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    wall = Playing()
    opened: list[int] = []
    # Time that is moved in leaps would let the database, which is real, look asleep.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atalaia.storage.pulse.PERIOD_S", 1e9)
        await _compare(url, texts, day, clock, wall, opened)
    return opened


async def _compare(
    url: str, texts: Sequence[str], day: Sequence[Sent], clock: MockClock, wall: Playing,
    opened: list[int],
) -> None:  # fmt: skip
    async with open_stack(url, clock=wall) as stack:
        rules = [await stack.rule(text) for text in texts]
        until = await play(stack, day, clock, wall)
        for rule in rules:
            since = wall.start_us - 100 * S  # readings may be older than their batch
            live = await shown(stack, rule["id"])
            assert await replayed(stack, rule["id"], since, until) == live, rule["text"]
            opened.append(len(live))


@settings(max_examples=fraction(20))
@given(rule_texts("drawn"), days())
@group(REPLAY)
def test_a_recorded_day_gives_the_same_alerts(
    cluster: Cluster, kernel: None, text: str, day: list[Sent]
) -> None:
    """Of rules of every kind: ids, times, values and levels, to the bit."""
    with new_database(cluster) as url:
        trio.run(compare, url, [text, *KINDS], day, clock=MockClock())


def test_a_full_day_has_alerts_of_every_kind(cluster: Cluster, kernel: None) -> None:
    """So that the property above compares something."""
    random = np.random.default_rng(3)
    day = [
        (int(random.choice([10, 10, 20, 70, 400])),
         [(f"s{n % 2}", "ab"[n % 3 == 0], int(random.choice([0, 0, 9 * S])), float(value))
          for n, value in enumerate(random.integers(-4, 5, 6) / 2)])
        for _ in range(80)
    ]  # fmt: skip
    with new_database(cluster) as url:
        assert all(trio.run(compare, url, KINDS, day, clock=MockClock()))
