"""Who is asking."""

from uuid import UUID

import attrs

from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota


@attrs.frozen
class Principal:
    """The holder of a credential: one tenant, and what the credential may do there."""

    tenant_no: TenantNo
    tenant_id: UUID
    key_id: str
    scopes: frozenset[str]
    quota: Quota = NO_QUOTA
