"""The erasure of a tenant: what came of asking for it, and how far it is."""

from collections.abc import Mapping
from typing import Literal, assert_never
from uuid import UUID

import attrs

from atalaia.model.errors import Conflict, Invalid, NotFound
from atalaia.model.ids import Micros, TenantNo

Begun = Literal["began", "erasing", "erased", "unknown", "platform", "not_suspended", "other_name"]


@attrs.frozen
class ErasureView:
    """How far it is. deleted: rows, by table. finished_at: None: not yet."""

    tenant_no: TenantNo
    tenant_id: UUID
    began_at: Micros
    finished_at: Micros | None
    deleted: Mapping[str, int]

    @property
    def rows(self) -> int:
        return sum(self.deleted.values())


def check_begun(begun: Begun) -> None:
    """Raises NotFound, Invalid or Conflict unless the tenant is being erased, or is."""
    match begun:
        case "began" | "erasing" | "erased":
            return
        case "unknown":
            raise NotFound("There is no tenant with this id.")
        case "other_name":
            raise Invalid(
                "This is not the tenant's name. Say it just as it is: nothing brings back what is "
                "erased.",
                code="other_name",
            )
        case "not_suspended":
            raise Conflict(
                "Only a suspended tenant is erased. Suspend it first, and take its archive if "
                "anybody may still ask for it.",
                code="not_suspended",
            )
        case "platform":
            raise Conflict("The tenant of those who look after all is never erased.")
        case _:
            assert_never(begun)
