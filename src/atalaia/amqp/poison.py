"""How much poison is too much, and how much of it is kept. A broken device fills the dead letters
up to its tenant's share; a broken release of ours would empty every queue into them, and is
stopped. Pure: knows no clock."""

from collections import deque
from uuid import UUID

import attrs

WINDOW_S = 60.0
HOUR_S = 3600.0
KEEP = 20_000  # tenants that are told apart
OF_ITS_DATA = frozenset({
    "future_timestamp", "too_old", "too_many_series",
    "retry_later", "too_much_memory", "quarantined", "queue_for_later_full",
})  # fmt: skip
"""Reasons that say nothing of a release: what was sent, and how much."""


@attrs.define(eq=False)
class PoisonCount:
    """Of the messages of the last minute, those that are poison: of one tenant at most its share.

    Memory: no more times than are counted, however much poison there is.
    """

    per_minute: int
    per_tenant: int
    share: float
    _seen: dict[UUID | None, deque[float]] = attrs.field(factory=dict)
    _good: deque[list[float]] = attrs.field(factory=deque)  # [second, messages]

    def good(self, now_s: float) -> None:
        """Note one message that was stored."""
        if not self._good or now_s - self._good[-1][0] >= 1.0:
            self._good.append([now_s, 0])
        self._good[-1][1] += 1
        while now_s - self._good[0][0] > WINDOW_S:
            self._good.popleft()

    def add(self, tenant_id: UUID | None, reason: str, now_s: float) -> bool:
        """Note one message; True when it is too much. None: no tenant can be blamed."""
        if reason in OF_ITS_DATA:
            return False
        most = self.per_minute + 1 if tenant_id is None else self.per_tenant
        self._seen.setdefault(tenant_id, deque(maxlen=most)).append(now_s)
        for times in self._seen.values():
            while times and now_s - times[0] > WINDOW_S:
                times.popleft()
        self._seen = {tenant: times for tenant, times in self._seen.items() if times}
        poison = sum(map(len, self._seen.values()))
        good = sum(count for at, count in self._good if now_s - at <= WINDOW_S)
        return poison > self.per_minute and poison > self.share * (poison + good)

    def forget(self) -> None:
        """After a stop: what comes now shall say whether it was mended."""
        self._seen.clear()
        self._good.clear()


@attrs.define(eq=False)
class LetterShare:
    """What may be added to the dead letters within an hour, of each tenant."""

    letters: int
    size: int  # bytes
    _since: float = 0.0
    _had: dict[UUID | None, tuple[int, int]] = attrs.field(factory=dict)

    def allows(self, tenant_id: UUID | None, size: int, now_s: float) -> bool:
        """Whether there is room for one more, which is noted then."""
        if now_s - self._since > HOUR_S:
            self._since = now_s
            self._had.clear()
        if tenant_id not in self._had and len(self._had) >= KEEP:
            tenant_id = None
        letters, had = self._had.get(tenant_id, (0, 0))
        if letters >= self.letters or (had and had + size > self.size):
            return False
        self._had[tenant_id] = letters + 1, had + size
        return True
