"""Room for what is under way: for all a budget, and for each tenant a share of it.

Without it every connection could hold a whole body for as long as its sender takes, and a whole
answer for as long as its reader does.
"""

from collections import Counter
from typing import ClassVar

import attrs

from atalaia.model.errors import Overloaded, Unavailable
from atalaia.model.ids import TenantNo

MIB = 1024 * 1024


@attrs.define(eq=False)
class Room:
    """Counts bytes; whoever took some gives them back."""

    total_bytes: int = 256 * MIB
    tenant_bytes: int = 64 * MIB
    _total: int = 0
    _held: Counter[TenantNo] = attrs.field(factory=Counter)

    CODE: ClassVar[str | None] = None
    """Of a full share, where it has one of its own."""
    SHARE_FULL: ClassVar[str]
    ALL_FULL: ClassVar[str]

    def take(self, tenant_no: TenantNo, size: int, share: int | None = None) -> None:
        """share: this tenant's, where it has one of its own.

        Raises Overloaded (the share is full) or Unavailable (the whole room is).
        """
        if self._held[tenant_no] + size > (share or self.tenant_bytes):
            raise Overloaded(self.SHARE_FULL, code=self.CODE)
        if self._total + size > self.total_bytes:
            raise Unavailable(self.ALL_FULL, code="saturated")
        self._held[tenant_no] += size
        self._total += size

    def give_back(self, tenant_no: TenantNo, size: int) -> None:
        self._held[tenant_no] -= size
        self._total -= size
        if not self._held[tenant_no]:
            del self._held[tenant_no]  # so that tenants of the past cost nothing


@attrs.define(eq=False)
class BodyRoom(Room):
    """For bodies as they arrive: eight of the largest of a tenant, or hundreds of common ones."""

    SHARE_FULL = "This tenant has too many bodies under way; send them one after another."
    ALL_FULL = "The service holds as many bodies as it may; send the same again after the delay."


@attrs.define(eq=False)
class AnswerRoom(Room):
    """For answers until they are taken: the largest of a tenant, or dozens of common ones."""

    CODE = "unread_answers"
    SHARE_FULL = (
        "This tenant has too many large answers that are not read yet: read them, and ask again "
        "after the delay, or for less."
    )
    ALL_FULL = "The service holds as many answers as it may; ask again after the delay."
