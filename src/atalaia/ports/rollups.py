"""Sums of readings, and what is deleted when they are kept."""

from collections.abc import Sequence
from typing import Protocol

from atalaia.model.ids import TenantNo
from atalaia.model.stored import RollStep


class Rollups(Protocol):
    """Cells of readings, kept right; and readings that are rolled up, deleted when their tenant
    wants no more of them. Everything raises StoreUnavailable or StoreRefused.
    """

    async def due(self) -> Sequence[TenantNo]:
        """Tenants with hours to roll up, with noted ones, or with readings to be deleted."""
        ...

    async def step(self, tenant_no: TenantNo, keep_since: int) -> RollStep:
        """Do the next bounded part of a tenant; cells from before `keep_since` go."""
        ...
