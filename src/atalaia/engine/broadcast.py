"""What was committed, told to whoever follows it. Never before the commit, and never waiting.

Each follower has a bounded buffer: one that does not keep up loses all of it at once, is told so,
and nobody else notices.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import trio

from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import CommitItem

MOST_ROWS = 50_000  # of one follower: about 1 MB
MOST_PARTS = 2_000


@attrs.frozen(eq=False)
class Committed:
    """The readings of one item. late: how many of the old ones were new. follows: there are none
    between these and those before them that nobody was told of.
    """

    received_at: Micros
    fresh: tuple[Int32s, Int64s, Floats]
    old: tuple[Int32s, Int64s, Floats]
    late: int
    follows: bool = True

    def __len__(self) -> int:
        return len(self.fresh[1]) + (len(self.old[1]) if self.late else 0)


@attrs.define(eq=False)
class Follower:
    """alerts: there are new steps of alerts. dropped: it did not keep up. closed: it is to end.
    lost: it was not told of a commit that may stand.
    """

    readings: bool
    alerts: bool = True
    dropped: bool = False
    closed: bool = False
    lost: bool = False
    _parts: deque[Committed] = attrs.field(factory=deque)
    _rows: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self, item: CommitItem, late: int) -> None:
        if item.transitions:
            self.alerts = True
            self._news.set()
        if not self.readings or not item.rows or self.dropped:
            return
        part = Committed(
            item.received_at,
            (item.fresh_series, item.fresh_ts, item.fresh_value),
            (item.old_series, item.old_ts, item.old_value),
            late,
            not self.lost,
        )
        if not len(part):
            return
        self.lost = False
        self._parts.append(part)
        self._rows += len(part)
        if self._rows > MOST_ROWS or len(self._parts) > MOST_PARTS:
            self.dropped = True
            self._parts.clear()
        self._news.set()

    def take(self) -> Committed | None:
        """The next readings, in the order of their commits; None: there are none now."""
        if not self._parts:
            return None
        part = self._parts.popleft()
        self._rows -= len(part)
        return part

    def close(self) -> None:
        self.closed = True
        self._news.set()

    async def news(self) -> None:
        """Wait until there may be something new since this was last asked."""
        await self._news.wait()
        self._news = trio.Event()


@attrs.define(eq=False)
class Broadcast:
    """The followers of every tenant."""

    _followers: dict[TenantNo, set[Follower]] = attrs.field(factory=dict)

    def tell(self, items: Sequence[CommitItem], late: Sequence[int]) -> None:
        """These were committed just now."""
        if not self._followers:
            return
        for item, count in zip(items, late, strict=True):
            for follower in self._followers.get(item.tenant_no, ()):
                follower.tell(item, count)

    def lose(self, items: Iterable[CommitItem]) -> None:
        """These were given up: whether they were committed will be known when the next one is."""
        for item in items:
            for follower in self._followers.get(item.tenant_no, ()):
                follower.lost = True

    @contextmanager
    def followed(self, tenant_no: TenantNo, follower: Follower) -> Iterator[None]:
        """Inside, it is told whatever is committed."""
        self._followers.setdefault(tenant_no, set()).add(follower)
        try:
            yield
        finally:
            mine = self._followers[tenant_no]
            mine.remove(follower)
            if not mine:
                del self._followers[tenant_no]
