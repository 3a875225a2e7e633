"""Tenants by their public id, kept for a while: a message costs no query."""

from uuid import UUID

import attrs
import trio

from atalaia.model.ids import TenantNo
from atalaia.ports import Queries

KEEP_MISS_S = 5.0
KEEP = 20_000


@attrs.define(eq=False)
class Tenants:
    """A known tenant stays known (numbers are never reused); an unknown one is asked for again."""

    _queries: Queries
    _known: dict[UUID, TenantNo] = attrs.field(factory=dict)
    _unknown: dict[UUID, float] = attrs.field(factory=dict)

    async def find(self, tenant_id: UUID) -> TenantNo | None:
        """Raises StoreUnavailable, StoreRefused."""
        if tenant_id in self._known:
            return self._known[tenant_id]
        now = trio.current_time()
        if self._unknown.get(tenant_id, 0.0) > now:
            return None
        found = await self._queries.find_tenant(tenant_id)
        if found is None:
            if len(self._unknown) >= KEEP:
                self._unknown.clear()
            self._unknown[tenant_id] = now + KEEP_MISS_S
        else:
            if len(self._known) >= KEEP:
                self._known.clear()
            self._known[tenant_id] = found
        return found
