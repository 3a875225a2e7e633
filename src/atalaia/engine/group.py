"""What the next commit takes: deficit round robin over the tenants that wait (Shreedhar and
Varghese, 1995), bounded by what it costs, in rows, and by items. Pure: knows neither channels nor
clocks.

Each tenant has a turn per group, whatever the others queue; one that is alone fills the group.
"""

from collections import deque

import attrs

from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Work
from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Line:
    """One tenant's works, in order of arrival. credit: rows' worth that it may still commit."""

    works: deque[Work] = attrs.field(factory=deque)
    credit: int = 0
    in_turn: bool = False


@attrs.define(eq=False)
class Queue:
    """Works waiting for a commit: a line per tenant, the lines in a ring."""

    _limits: EngineLimits
    _lines: dict[TenantNo, Line] = attrs.field(factory=dict)
    _ring: deque[TenantNo] = attrs.field(factory=deque)
    _count: int = 0

    def __len__(self) -> int:
        return self._count

    def add(self, work: Work) -> None:
        """Behind its tenant's other works; a tenant without any comes last in the ring."""
        tenant = work.item.tenant_no
        line = self._lines.get(tenant)
        if line is None:
            line = self._lines[tenant] = Line()
            self._ring.append(tenant)
        line.works.append(work)
        self._count += 1

    def take_broken(self) -> list[Work]:
        """Remove and return the works whose incarnation may commit no more.

        A look at each line's first: the next incarnation begins when all of this one are settled.
        """
        broken = [no for no, line in self._lines.items() if line.works[0].incarnation.broken]
        works = [work for tenant in broken for work in self._lines.pop(tenant).works]
        if broken:
            self._ring = deque(tenant for tenant in self._ring if tenant in self._lines)
        self._count -= len(works)
        return works

    def next_group(self) -> list[Work]:
        """Remove and return the next group; at least one work when any waits.

        A turn that the group's bounds cut off goes on first in the next group. Credit that is not
        enough for a large batch is kept for the next turn. Cost: what is taken; turns that take
        nothing are as many as a batch has times the credit of a turn.
        """
        group: list[Work] = []
        rows = 0
        while self._ring:
            turns = len(self._ring)
            for _ in range(turns):
                line = self._begin_turn()
                while line.works:
                    work = line.works[0]
                    size = work.size
                    if group and (
                        rows + size > self._limits.group_rows
                        or len(group) >= self._limits.group_items
                    ):
                        return group
                    if size > line.credit:
                        break
                    group.append(line.works.popleft())
                    rows += size
                    line.credit -= size
                    self._count -= 1
                self._end_turn(line)
            if group and turns > 1:
                break
        return group

    def _begin_turn(self) -> Line:
        line = self._lines[self._ring[0]]
        if not line.in_turn:
            line.in_turn = True
            line.credit += self._limits.turn_rows
        return line

    def _end_turn(self, line: Line) -> None:
        tenant = self._ring.popleft()
        line.in_turn = False
        if line.works:
            self._ring.append(tenant)
        else:
            del self._lines[tenant]  # and its credit: nobody saves while not waiting
