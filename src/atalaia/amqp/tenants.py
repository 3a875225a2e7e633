"""Tenants by their public id and their quotas, kept for a while: a message costs no query."""

from uuid import UUID

import attrs
import trio

from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.people import Erasures
from atalaia.ports import Queries, StoreRefused, StoreUnavailable, TenantGone

KEEP_MISS_S = 5.0
KEEP_QUOTA_S = 5.0
KEEP_KNOWN_S = 60.0
KEEP = 20_000


@attrs.define(eq=False)
class Tenants:
    """A known tenant is asked for again after a while, since it may be erased; an unknown one soon.
    While the store is away a known one stays known. Who is erased stays so.
    """

    _queries: Queries
    _erasures: Erasures
    _known: dict[UUID, tuple[TenantNo, float]] = attrs.field(factory=dict)
    _unknown: dict[UUID, float] = attrs.field(factory=dict)
    _gone: set[UUID] = attrs.field(factory=set)
    _quotas: dict[TenantNo, tuple[Quota, float]] = attrs.field(factory=dict)

    async def find(self, tenant_id: UUID) -> TenantNo | None:
        """None: nobody has heard of it. Raises TenantGone, StoreUnavailable, StoreRefused."""
        if tenant_id in self._gone:
            raise TenantGone("this tenant is erased")
        known, until = self._known.get(tenant_id, (None, 0.0))
        now = trio.current_time()
        if until > now:
            return known
        if self._unknown.get(tenant_id, 0.0) > now:
            return None
        try:
            found = await self._queries.find_tenant(tenant_id)
            erasure = await self._erasures.erasure(tenant_id)
        except (StoreUnavailable, StoreRefused):
            if known is None:
                raise
            return known
        if found is None or erasure is not None:
            self._known.pop(tenant_id, None)
        if erasure is not None:
            if len(self._gone) >= KEEP:
                self._gone.clear()
            self._gone.add(tenant_id)
            raise TenantGone("this tenant is erased")
        if found is None:
            if len(self._unknown) >= KEEP:
                self._unknown.clear()
            self._unknown[tenant_id] = now + KEEP_MISS_S
        else:
            if len(self._known) >= KEEP:
                self._known.clear()
            self._known[tenant_id] = found, now + KEEP_KNOWN_S
        return found

    async def quota(self, tenant_no: TenantNo) -> Quota:
        """As it was some seconds ago; while the store is away, as it is remembered."""
        quota, until = self._quotas.get(tenant_no, (NO_QUOTA, 0.0))
        now = trio.current_time()
        if until > now:
            return quota
        try:
            quota = await self._queries.tenant_quota(tenant_no)
        except (StoreUnavailable, StoreRefused):
            return quota
        if len(self._quotas) >= KEEP:
            self._quotas.clear()
        self._quotas[tenant_no] = quota, now + KEEP_QUOTA_S
        return quota
