"""Room for the bodies of unfinished requests: one budget for all, a share of it for each tenant.

Without it every connection could hold a whole body for as long as its sender takes.
"""

from collections import Counter

import attrs

from atalaia.model.errors import Overloaded, Unavailable
from atalaia.model.ids import TenantNo

MIB = 1024 * 1024


@attrs.define(eq=False)
class BodyRoom:
    """Counts bytes as they arrive; whoever took some gives them back with its answer."""

    total_bytes: int = 256 * MIB
    tenant_bytes: int = 64 * MIB  # eight of the largest bodies, or hundreds of common ones
    _total: int = 0
    _held: Counter[TenantNo] = attrs.field(factory=Counter)

    def take(self, tenant_no: TenantNo, size: int, share: int | None = None) -> None:
        """share: this tenant's, where it has one of its own.

        Raises Overloaded (the share is full) or Unavailable (the whole room is).
        """
        if self._held[tenant_no] + size > (share or self.tenant_bytes):
            raise Overloaded(
                "This tenant has too many bodies under way; send them one after another."
            )
        if self._total + size > self.total_bytes:
            raise Unavailable(
                "The service holds as many bodies as it may; send the same again after the delay.",
                code="saturated",
            )
        self._held[tenant_no] += size
        self._total += size

    def give_back(self, tenant_no: TenantNo, size: int) -> None:
        self._held[tenant_no] -= size
        self._total -= size
        if not self._held[tenant_no]:
            del self._held[tenant_no]  # so that tenants of the past cost nothing
