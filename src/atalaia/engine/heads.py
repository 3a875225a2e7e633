"""Where each tenant's audit ends, told to the log once a day.

Whoever owns the database could make a whole chain anew. Not so that it fits what a log, which is
kept elsewhere, said of it before: `atalaia audit verify --heads` compares.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
import trio

from atalaia.people import Audit
from atalaia.ports import StoreRefused, StoreUnavailable

log = structlog.get_logger()

EVERY_S = 86_400.0
AGAIN_S = 60.0


@asynccontextmanager
async def telling_heads(audit: Audit) -> AsyncIterator[None]:
    """Tell while inside, first at once."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_heads, audit)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


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
