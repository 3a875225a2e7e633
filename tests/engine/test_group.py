"""What the next commit takes."""

from collections import Counter
from uuid import UUID

import attrs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atalaia.engine.group import Queue
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import ITEM_ROWS, Incarnation, Work
from atalaia.engine.receipt import Receipt
from atalaia.model.alert import Transition
from atalaia.model.ids import Micros, RuleNo, SensorNo, TenantNo
from atalaia.ports import CommitItem

STEP = Transition(
    "opened", UUID(int=1), RuleNo(1), 1, SensorNo(1), "info", Micros(0), Micros(0), None, ()
)
LIMITS = EngineLimits(group_rows=100, group_items=6, turn_rows=40)


def work(
    tenant: int, rows: int, arrival: int, incarnation: Incarnation | None = None, steps: int = 0
) -> Work:
    item = CommitItem(
        TenantNo(tenant), Micros(arrival), b"", fresh_series=np.zeros(rows, np.int32),
        fresh_ts=np.zeros(rows, np.int64), fresh_value=np.zeros(rows), transitions=[STEP] * steps,
    )  # fmt: skip
    return Work(item, Receipt(), lambda _: None, incarnation or Incarnation())


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 150)), max_size=40))
def test_groups_are_bounded_keep_each_tenants_order_and_lose_nothing(
    works: list[tuple[int, int]],
) -> None:
    """Whatever waits: every work in one group, in its tenant's order, at least one per group."""
    queue = Queue(LIMITS)
    for arrival, (tenant, rows) in enumerate(works):
        queue.add(work(tenant, rows, arrival))
    taken: list[Work] = []
    while len(queue):
        group = queue.next_group()
        assert group
        assert len(group) <= LIMITS.group_items
        assert sum(w.size for w in group) <= LIMITS.group_rows or len(group) == 1
        taken += group
    for tenant in range(1, 5):
        arrivals = [w.item.received_at for w in taken if w.item.tenant_no == tenant]
        assert arrivals == [n for n, (t, _) in enumerate(works) if t == tenant]


def test_alerts_weigh_more_than_readings() -> None:
    """Four openings fill a group of a hundred rows: whoever opens thousands is not let by."""
    queue = Queue(LIMITS)
    for arrival in range(4):
        queue.add(work(1, 1, arrival, steps=2))
    queue.add(work(2, 1, 99))
    assert [w.item.tenant_no for w in queue.next_group()] == [2]
    assert [w.item.tenant_no for w in queue.next_group()] == [1]


def test_a_flood_leaves_room_for_others() -> None:
    """A tenant has a turn in each group while others wait, and all of the group when alone."""
    queue = Queue(LIMITS)
    for arrival in range(20):
        queue.add(work(1, 10, arrival))
    queue.add(work(2, 1, 99))
    assert [w.item.tenant_no for w in queue.next_group()] == [1, 1, 2]
    assert [w.item.tenant_no for w in queue.next_group()] == [1] * 5


works_of_others = st.lists(
    st.lists(st.integers(0, 150), min_size=1, max_size=30), min_size=1, max_size=5
)


@given(works_of_others, st.integers(0, 20), st.integers(0, LIMITS.turn_rows - ITEM_ROWS))
def test_nobody_waits_for_more_than_a_turn_of_each_other(
    others: list[list[int]], before: int, rows: int
) -> None:
    """Whatever they queue, and wherever in the ring the newcomer comes.

    What another commits meanwhile is the rest of a turn, a turn, and the credit that it had saved
    for a batch larger than that.
    """
    queue = Queue(LIMITS)
    for tenant, sizes in enumerate(others, 2):
        for arrival, size in enumerate(sizes):
            queue.add(work(tenant, size, arrival))
    for _ in range(before):
        queue.next_group()
    queue.add(work(1, rows, 0))
    overtakers: Counter[int] = Counter()
    while True:
        group = queue.next_group()
        for w in group:
            if w.item.tenant_no == 1:
                break
            overtakers[w.item.tenant_no] += w.size
        else:
            continue
        break
    largest = max(max(sizes) for sizes in others) + ITEM_ROWS
    assert max(overtakers.values(), default=0) <= 2 * LIMITS.turn_rows + largest


@given(works_of_others)
def test_everybody_who_waits_has_its_share_of_the_rows(others: list[list[int]]) -> None:
    """While two tenants wait, neither is ahead of the other by more than two turns and a batch."""
    queue = Queue(LIMITS)
    for tenant, sizes in enumerate(others, 1):
        for arrival, size in enumerate(sizes):
            queue.add(work(tenant, size, arrival))
    left = {tenant: len(sizes) for tenant, sizes in enumerate(others, 1)}
    had = dict.fromkeys(left, 0)
    largest = max(max(sizes) for sizes in others) + ITEM_ROWS
    while len(queue):
        for w in queue.next_group():
            had[w.item.tenant_no] += w.size
            left[w.item.tenant_no] -= 1
            waiting = [had[tenant] for tenant, count in left.items() if count]
            if len(waiting) > 1:
                assert max(waiting) - min(waiting) <= 2 * LIMITS.turn_rows + largest


def test_a_group_costs_what_it_takes_not_what_waits() -> None:
    """Looks at works: one beyond what is taken from each line that is visited."""
    looked = 0

    class Watched(CommitItem):
        @property
        def rows(self) -> int:
            nonlocal looked
            looked += 1
            return 1

    queue = Queue(EngineLimits())
    template = work(1, 1, 0)
    fields = {a.name: getattr(template.item, a.name) for a in attrs.fields(CommitItem)}
    for n in range(5_000):
        item = Watched(**fields | {"tenant_no": TenantNo(n % 5)})
        queue.add(attrs.evolve(template, item=item))
    taken = len(queue.next_group())
    assert taken == EngineLimits().group_items
    assert looked <= taken + 5


def test_works_of_a_broken_incarnation_are_taken_out() -> None:
    """They may not be committed any more."""
    queue = Queue(LIMITS)
    broken = Incarnation()
    queue.add(work(1, 1, 1, broken))
    queue.add(work(2, 1, 2))
    assert queue.take_broken() == []
    broken.break_off()
    assert [w.item.tenant_no for w in queue.take_broken()] == [1]
    assert [w.item.tenant_no for w in queue.next_group()] == [2]
