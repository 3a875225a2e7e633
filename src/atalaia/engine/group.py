"""What the next commit takes: first come, first served, bounded by rows and items, with a cap
on one tenant's share while others wait. Pure: knows neither channels nor clocks.
"""

from collections import deque

import attrs

from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Work
from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Queue:
    """Works waiting for a commit, in order of arrival."""

    _limits: EngineLimits
    _waiting: deque[Work] = attrs.field(factory=deque)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Work) -> None:
        self._waiting.append(work)

    def take_broken(self) -> list[Work]:
        """Remove and return the works whose incarnation may commit no more."""
        broken = [work for work in self._waiting if work.incarnation.broken]
        if broken:
            self._waiting = deque(work for work in self._waiting if not work.incarnation.broken)
        return broken

    def next_group(self) -> list[Work]:
        """Remove and return the next group; at least one work when any waits.

        A tenant beyond its share waits with all its later works, so that its order stands.
        """
        limits = self._limits
        crowded = len({work.item.tenant_no for work in self._waiting}) > 1
        share = int(limits.group_rows * limits.tenant_share) if crowded else limits.group_rows
        group: list[Work] = []
        left: deque[Work] = deque()
        rows = 0
        taken: dict[TenantNo, int] = {}
        held: set[TenantNo] = set()
        while self._waiting:
            work = self._waiting.popleft()
            tenant, size = work.item.tenant_no, work.item.rows
            full = rows + size > limits.group_rows or len(group) >= limits.group_items
            if group and full:
                left.append(work)
                break
            if tenant in held or (taken.get(tenant, 0) and taken[tenant] + size > share):
                held.add(tenant)
                left.append(work)
                continue
            group.append(work)
            rows += size
            taken[tenant] = taken.get(tenant, 0) + size
        self._waiting = left + self._waiting
        return group
