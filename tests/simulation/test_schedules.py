"""Schedules of faults, each from its seed: every promise of the engine is kept in all of them."""

import os

import pytest

from atalaia.ports import CommitItem
from tests.simulation.bugs import BUGS, Bug
from tests.simulation.run import simulate, tell

SCHEDULES = 60 if os.environ.get("NUMBA_DISABLE_JIT") else 1_000
"""As plain Python, for the coverage, fewer do."""
PARTS = 10


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_is_kept(part: int) -> None:
    """Of those that fail the first is told, with the command that shows it again."""
    for seed in range(part, SCHEDULES, PARTS):
        outcome = simulate(seed)
        if outcome.failure is not None:
            pytest.fail(tell(outcome), pytrace=False)


@pytest.mark.parametrize("seed", [1, 4, 33, 61])
def test_a_seed_is_one_schedule(seed: int) -> None:
    """Every step of it, every id and every time of it, the second time as the first."""
    first = simulate(seed)
    assert tell(first) == tell(simulate(seed))
    assert tell(first) != tell(simulate(seed + 1))
    assert len(first.world.journal) > 3


def test_schedules_meet_every_kind_of_fault() -> None:
    """A generator that forgot one would promise what it does not test."""
    events, answers, kinds = set[str](), set[str](), set[object]()
    for seed in range(150):
        world = simulate(seed).world
        for _, event, details in world.trace:
            events.add(
                f"{event} {details['call']} {details['kind']}" if event == "fault" else event
            )
        answers |= set(world.answers)
        for entry in world.journal:
            kinds |= {(step.kind, step.reason) for step in entry.item.transitions}
            kinds |= _kinds(entry.item)
        events |= {"wave failed" for _, event, told in world.trace
                   if event == "waved" and told["failed"]}  # fmt: skip
    assert {"fault commit before", "fault commit after", "fault commit hung", "fault commit slow",
            "fault load bug", "fault load before", "fault register after", "killed", "stopping",
            "paused", "fenced", "register", "wave failed", "log batch_refused",
            "log tenant_quarantined"} <= events  # fmt: skip
    assert {"ok", "unavailable", "overloaded", "saturated", "closing", "quarantined",
            "dead_lettered", "name_taken"} <= answers  # fmt: skip
    assert {("opened", None), ("raised", None), ("cleared", "condition"),
            ("cleared", "rule_changed"), ("cleared", "rule_deleted"), ("cleared", "sensor_deleted"),
            "snapshot", "delta", "waits", "a part, and some of it waits",
            "lateness of a sensor", "lateness of a tenant", "a part of what waited",
            "a sensor is removed"} <= kinds  # fmt: skip


def _kinds(item: CommitItem) -> set[object]:
    """What an item may be that another one is not."""
    kinds: set[object] = {"snapshot" if item.snapshot else "delta"}
    if len(item.judged):
        kinds.add("waits")
        if item.following:
            kinds.add("a part, and some of it waits")
    if item.lateness_write is not None:
        one = item.lateness_write.sensor_no is not None
        kinds.add("lateness of a sensor" if one else "lateness of a tenant")
    elif len(item.touched) and not item.rows and not item.snapshot:
        kinds.add("a part of what waited")
    if item.removal is not None:
        kinds.add("a sensor is removed")
    return kinds


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_fault_made_on_purpose_applies(bug: Bug) -> None:
    """Its text is in the source, once; `python -m tests.simulation.bugs` finds them all."""
    assert bug.path.read_text().count(bug.old) == 1
