"""What the next commit takes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atalaia.engine.group import Queue
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Incarnation, Work
from atalaia.engine.receipt import Receipt
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import CommitItem

LIMITS = EngineLimits(group_rows=10, group_items=6, tenant_share=0.5)


def work(tenant: int, rows: int, arrival: int, incarnation: Incarnation | None = None) -> Work:
    none = np.empty(0, np.int64)
    item = CommitItem(
        tenant_no=TenantNo(tenant), received_at=Micros(arrival),
        fresh_series=np.zeros(rows, np.int32), fresh_ts=np.zeros(rows, np.int64),
        fresh_value=np.zeros(rows), old_series=none.astype(np.int32), old_ts=none,
        old_value=none.astype(np.float64), touched=none.astype(np.int32), newest=none,
        rule_states=b"",
    )  # fmt: skip
    return Work(item, Receipt(), lambda _: None, incarnation or Incarnation())


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 15)), max_size=40))
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
        rows = sum(w.item.rows for w in group)
        assert rows <= LIMITS.group_rows or len(group) == 1
        taken += group
    for tenant in range(1, 5):
        arrivals = [w.item.received_at for w in taken if w.item.tenant_no == tenant]
        assert arrivals == [n for n, (t, _) in enumerate(works) if t == tenant]


def test_a_flood_leaves_room_for_others() -> None:
    """A tenant takes its share of a group while others wait, and all of it when alone."""
    queue = Queue(LIMITS)
    for arrival in range(20):
        queue.add(work(1, 2, arrival))
    queue.add(work(2, 1, 99))
    assert [w.item.tenant_no for w in queue.next_group()] == [1, 1, 2]
    assert [w.item.tenant_no for w in queue.next_group()] == [1] * 5


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
