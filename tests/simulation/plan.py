"""One seed to one schedule: who takes part, and what goes wrong when. Plain data."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

import attrs

from atalaia.engine.limits import EngineLimits
from atalaia.model.ids import HOUR_US, MINUTE_US, SECOND_US, TenantNo

Fault = Literal["before", "after", "hung", "slow", "bug"]
Ending = Literal["killed", "stopped", "superseded"]

CALLS = (
    "load",
    "warm",
    "register",
    "partitions",
    "commit",
    "bury",
    "settle",
    "housekeep",
    "waiting",
)
JUDGING = (
    "on sensors when avg(a, 10s) > 1 for 2s clear when avg(a, 10s) < 0 for 1s"
    " severity info, warning when max(a, 3s) > 3, critical when max(a, 3s) > 4",
    "on sensors when last(a, 3s) > 2",
    'on sensors "s1*" when count(a, 1m) >= 4 for 5s',
    "on sensors when sum(a, 30s) > 5 or b < -3 for 1s on no data alert",
    'on sensors where zone = "n" when min(a, 10s) < -2 clear when max(a, 10s) > 3 on no data clear',
    "on sensors when delta(a, 10s) > 3 severity critical",
    "on sensors when rate(b, 10s) > 0.4 for 500ms",
    "on sensors when abs(zscore(a, 1m)) > 1 for 1s",
    "on sensors when median(a, 30s) > 1 clear when median(a, 30s) < 0 for 3s",
    "on sensors when stddev(a, 10s) > 2 for 1s during daily 00:00-12:00 UTC",
    "on sensors when first(a, 10s) > 1 and last(b, 10s) < 2",
    'on sensors where zone = "n" when ewma(a, 10s) > 1.5 for 1s',
)
SILENT = (
    "on sensors when no data for 5s severity critical",
    'on sensors "s1*" when no data for 12s',
    'on sensors where zone = "n" when no data for 8s',
)
LATENESS_US = (1, 1_500_000, 5 * SECOND_US, 20 * SECOND_US, MINUTE_US)
NAMES = ("s1", "s1x", "s2", "s3")
"""Of sensors whose readings come in any order."""
KEPT_IN_ORDER = ("q1", "q2")
"""Of sensors whose readings a consumer sends in order."""


@attrs.frozen
class Storm:
    """From when to when calls of a kind fail, and how often each way."""

    since_s: float
    until_s: float
    rates: Mapping[str, Mapping[Fault, float]]


@attrs.frozen
class Life:
    """How a life of the process ends: after so many steps of the scheduler, or so long.

    down_s: until the next life begins.
    """

    ending: Ending
    after_steps: int | None
    after_s: float
    down_s: float


@attrs.frozen
class Plan:
    """victim: faults are this tenant's alone, and no other may notice; None: everybody's."""

    seed: int
    tenants: int
    victim: TenantNo | None
    limits: EngineLimits
    max_series: Sequence[int]
    lateness_us: Sequence[int]
    storms: Sequence[Storm]
    lives: Sequence[Life]
    clock_steps: Sequence[tuple[float, int]]
    gateways: int
    consumer: bool
    batches: int
    edits: int
    chunk_series: int
    housekeeping_s: float

    @property
    def calm_s(self) -> float:
        """From when on nothing goes wrong any more."""
        return max((storm.until_s for storm in self.storms), default=0.0)


def make_plan(seed: int) -> Plan:
    rng = Random(f"plan/{seed}")
    tenants = rng.choice([1, 2, 2, 3])
    alone = rng.random() < 0.2
    tenants = max(tenants, 2) if alone else tenants
    late = rng.random() < 0.7
    consumer = rng.random() < 0.4
    return Plan(
        seed=seed,
        tenants=tenants,
        victim=TenantNo(rng.randint(1, tenants)) if alone else None,
        limits=_limits(rng, alone=alone),
        max_series=[rng.choice([100, 100, 4]) for _ in range(tenants)],
        lateness_us=[rng.choice([0, *LATENESS_US]) if late else 0 for _ in range(tenants)],
        storms=_storms(rng, alone=alone),
        lives=[] if alone else [_life(rng) for _ in range(rng.choice([0, 1, 1, 2, 3]))],
        clock_steps=[
            (rng.uniform(0, 25), rng.choice([-1, 1]) * rng.choice(
                [SECOND_US // 2, 10 * SECOND_US, 20 * MINUTE_US, HOUR_US]))
            for _ in range(rng.choice([0, 0, 1, 2]))
        ],
        gateways=1 if consumer else rng.choice([1, 1, 2]),
        consumer=consumer,
        batches=rng.randint(2, 6),
        edits=rng.choice([0, 2, 3, 8]),
        chunk_series=rng.choice([1, 2, 500]),
        housekeeping_s=rng.choice([2.0, 10.0, 30.0]),
    )  # fmt: skip


def _limits(rng: Random, *, alone: bool) -> EngineLimits:
    inbox_rows = 150 if alone else rng.choice([12, 40, 200])
    return EngineLimits(
        inbox_rows=inbox_rows,
        total_rows=10_000 if alone else rng.choice([20, 1_000]),
        inbox_edits=rng.choice([2, 8]),
        group_rows=rng.choice([4, 12, 1_000]),
        group_items=rng.choice([2, 5, 50]),
        recoveries=rng.choice([2, 4]) if alone else rng.choice([1, 4]),
        idle_s=rng.choice([0.5, 4.0, 60.0]),
        snapshot_every=rng.choice([2, 4, 16]),
        commit_retry_s=rng.choice([0.5, 1.0, 8.0]),
        future_skew_us=MINUTE_US,
        crashes=2,
        quarantine_s=20.0,
        item_steps=rng.choice([1, 2, 256]),
        unsettled_steps=rng.choice([2, 256]),
    )


def _storms(rng: Random, *, alone: bool) -> list[Storm]:
    storms = []
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        since_s = rng.uniform(0, 15)
        calls = [call for call in CALLS if rng.random() < (0.5 if call != "commit" else 0.8)]
        rates = {call: _rates(rng, call, alone=alone) for call in calls}
        storms.append(Storm(since_s, since_s + rng.choice([0.3, 2, 6, 12]), rates))
    return storms


def _rates(rng: Random, call: str, *, alone: bool) -> Mapping[Fault, float]:
    if call == "commit" and alone:
        return {}  # a commit is everybody's; the victim has poison instead
    rates: dict[Fault, float] = {}
    for fault in ("before", "after", "slow"):
        rates[fault] = rng.choice([0, 0.1, 0.4])
    if call == "commit":
        rates["hung"] = rng.choice([0, 0.2, 0.4])
    if call == "load":
        rates["bug"] = rng.choice([0, 0, 0.4])
    return rates


def _life(rng: Random) -> Life:
    return Life(
        ending=rng.choice(["killed", "killed", "killed", "stopped", "superseded"]),
        after_steps=rng.choice([None, rng.randint(5, 60), rng.randint(20, 600)]),
        after_s=rng.uniform(0.1, 12),
        down_s=rng.choice([0.0, 0.1, 2.0, 20.0]),
    )
