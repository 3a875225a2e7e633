"""The task that erases tenants, beside everything else and never before it.

A step takes a moment of the database, and then as long a rest. Where it stands is the database's
to know: it goes on after a crash, and whoever else erases the same tenant (`atalaia tenants erase`)
only makes it quicker.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import structlog
import trio

from atalaia.engine.beside import beside
from atalaia.model.erasure import ErasureView
from atalaia.model.ids import TenantNo
from atalaia.people import Erasures
from atalaia.ports import StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import ERASED, ERASURES

log = structlog.get_logger()

LOOK_S = 5.0
TELL_S = 10.0
LEAST_REST_S = 0.01

ForgetMemory = Callable[[TenantNo], None]
ForgetQueue = Callable[[ErasureView], Awaitable[None]]
"""Drop what is beside the database of a tenant. Both are called for each erasure at every look
while it goes on, and for an hour after: the same however often.
"""


def erasing(
    erasures: Erasures, forget_memory: ForgetMemory, forget_queue: ForgetQueue
) -> AbstractAsyncContextManager[None]:
    """Erase while inside."""
    return beside(run_erasures, erasures, forget_memory, forget_queue)


async def run_erasures(
    erasures: Erasures, forget_memory: ForgetMemory, forget_queue: ForgetQueue
) -> None:
    """Look for tenants to erase, again and again. What fails is tried at the next look."""
    while True:
        try:
            await erase_due(erasures, forget_memory, forget_queue)
        except (StoreUnavailable, StoreRefused) as error:
            log.warning("erasing_failed", error=str(error))
        await trio.sleep(LOOK_S)


async def erase_due(
    erasures: Erasures, forget_memory: ForgetMemory, forget_queue: ForgetQueue
) -> None:
    """Erase all that is to be, one after the other, and say now and then how far it is."""
    found = await erasures.list_erasures()
    for view in found:
        forget_memory(view.tenant_no)
        await forget_queue(view)
    due = [view for view in found if view.finished_at is None]
    ERASURES.set(len(due))
    for view in due:
        try:
            await _erase(erasures, view)
        except (StoreUnavailable, StoreRefused) as error:  # the others' turn comes all the same
            log.warning("erasing_failed", tenant_no=view.tenant_no, error=str(error))
        else:
            ERASURES.dec()


async def _erase(erasures: Erasures, view: ErasureView) -> None:
    before, told_at = view, trio.current_time()
    log.info("erasure_goes_on", tenant_no=view.tenant_no, rows=view.rows)
    done = False
    while not done:
        began = trio.current_time()
        done = await erasures.erase_some(view.tenant_id)
        if done or trio.current_time() - told_at > TELL_S:
            after = await erasures.erasure(view.tenant_id) or before
            ERASED.inc(max(0, after.rows - before.rows))
            event = "tenant_erased" if done else "tenant_is_erased"
            log.info(event, tenant_no=view.tenant_no, rows=after.rows)
            before, told_at = after, trio.current_time()
        await trio.sleep(max(trio.current_time() - began, LEAST_REST_S))
