"""One of each tenant's at a time, of what takes several steps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Locks:
    """Nothing is kept of tenants where nobody is at it."""

    _locks: dict[TenantNo, trio.Lock] = attrs.field(factory=dict)

    @asynccontextmanager
    async def one(self, tenant_no: TenantNo) -> AsyncIterator[None]:
        """Waits for those before."""
        lock = self._locks.setdefault(tenant_no, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(tenant_no, None)
