"""How much poison is too much. A broken device fills the dead letters; a broken release of ours
would empty every queue into them, and is stopped. Pure: knows no clock."""

from collections import deque
from uuid import UUID

import attrs

WINDOW_S = 60.0


@attrs.define(eq=False)
class PoisonCount:
    """Counts poison of the last minute: of one tenant at most its share.

    Memory: no more times than are counted, however much poison there is.
    """

    per_minute: int
    per_tenant: int
    _seen: dict[UUID | None, deque[float]] = attrs.field(factory=dict)

    def add(self, tenant_id: UUID | None, now_s: float) -> bool:
        """Note one message; True when it is too much. None: no tenant can be blamed."""
        most = self.per_minute + 1 if tenant_id is None else self.per_tenant
        self._seen.setdefault(tenant_id, deque(maxlen=most)).append(now_s)
        for times in self._seen.values():
            while times and now_s - times[0] > WINDOW_S:
                times.popleft()
        self._seen = {tenant: times for tenant, times in self._seen.items() if times}
        return sum(map(len, self._seen.values())) > self.per_minute
