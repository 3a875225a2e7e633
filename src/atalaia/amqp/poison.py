"""How much poison is too much. A broken device fills the dead letters; a broken release of ours
would empty every queue into them, and is stopped. Pure: knows no clock."""

from collections import Counter, deque
from uuid import UUID

import attrs

WINDOW_S = 60.0


@attrs.define(eq=False)
class PoisonCount:
    """Counts poison of the last minute: of one tenant at most its share."""

    per_minute: int
    per_tenant: int
    _seen: deque[tuple[float, UUID | None]] = attrs.field(factory=deque)

    def add(self, tenant_id: UUID | None, now_s: float) -> bool:
        """Note one message; True when it is too much. None: no tenant can be blamed."""
        self._seen.append((now_s, tenant_id))
        while now_s - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        counts = Counter(tenant for _, tenant in self._seen)
        nobodys = counts.pop(None, 0)
        return nobodys + sum(min(n, self.per_tenant) for n in counts.values()) > self.per_minute
