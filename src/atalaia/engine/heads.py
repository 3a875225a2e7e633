"""Where each tenant's audit ends, told to the log once a day.

Whoever owns the database could make a whole chain anew. Not so that it fits what a log, which is
kept elsewhere, said of it before: `atalaia audit verify --heads` compares.
"""

from contextlib import AbstractAsyncContextManager
from uuid import UUID

import structlog
import trio

from atalaia.engine.beside import beside
from atalaia.people import Audit
from atalaia.ports import StoreRefused, StoreUnavailable

log = structlog.get_logger()

EVERY_S = 86_400.0
AGAIN_S = 60.0


def telling_heads(audit: Audit) -> AbstractAsyncContextManager[None]:
    """Tell while inside, first at once."""
    return beside(tell_heads, audit)


async def tell_heads(audit: Audit) -> None:
    """For ever; of each tenant only where something was written since."""
    told: dict[UUID, int] = {}
    while True:
        try:
            heads = await audit.heads()
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("audit_heads_unknown", error=str(error))
            await trio.sleep(AGAIN_S)
            continue
        for head in heads:
            if told.get(head.tenant_id) != head.seq:
                log.info(
                    "audit_head",
                    tenant_id=str(head.tenant_id),
                    seq=head.seq,
                    hash=head.hash.hex(),
                )
        told = {head.tenant_id: head.seq for head in heads}
        await trio.sleep(EVERY_S)
