"""A mail that waits to be sent, and what became of a try."""

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import attrs

from atalaia.model.ids import TenantNo

MailEnd = Literal["sent", "dead"]


@attrs.frozen
class QueuedMail:
    """In the hands of one try, until that ends or takes too long. tries: this one included."""

    tenant_no: TenantNo
    mail_id: UUID
    kind: str
    recipient: str = attrs.field(repr=False)
    params: Mapping[str, Any] = attrs.field(repr=False)
    tries: int
    tenant_name: str
