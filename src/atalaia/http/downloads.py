"""Files that are made while they are taken: for whoever may still have them, at a fair pace.

Each holds a place of few, and connections of the database with it. Whoever takes it by drops would
keep that from everybody else, and a credential that was revoked would go on bringing readings for
as long as its file is.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import structlog
import trio
from quart import Response, request

from atalaia.http.access import check_access
from atalaia.http.auth import CHECK_S
from atalaia.model.audit import AuditEntry
from atalaia.model.errors import Unavailable
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal
from atalaia.people import Audit
from atalaia.ports import StoreRefused, StoreUnavailable

log = structlog.get_logger()

WINDOW_S = 60.0  # of waiting for the client
LEAST_BYTES_PER_S = 64 * 1024  # a poor line
SLICE_BYTES = 256 * 1024  # sent without a look at the clock

Check = Callable[[Any], Awaitable[Principal]]
"""Who a request's scope still speaks for. Raises Unauthenticated, Suspended, NotFound, Conflict."""


class TakenTooSlowly(Exception):
    """The client takes less than a poor link could bring."""


def asking_again(check: Check) -> Callable[[], Awaitable[None]]:
    """Whether the present request may still be answered. Raises what `check` does, Forbidden."""
    scope, method = request.scope, request.method
    route = request.url_rule.rule if request.url_rule is not None else ""

    async def ask() -> None:
        check_access(await check(scope), method, route)

    return ask


async def begin(
    pieces: AsyncGenerator[bytes, None], audit: Audit, tenant_no: TenantNo, entry: AuditEntry
) -> bytes:
    """The first piece, once it is written down who takes it. Raises what both do, and whoever gets
    none is told why by a status.
    """
    head = await anext(pieces)
    try:
        await audit.record(tenant_no, entry)
    except BaseException:
        with trio.CancelScope(shield=True):
            await pieces.aclose()
        raise
    return head


def attachment(
    head: bytes, pieces: AsyncGenerator[bytes, None], check: Check, kind: str, name: str
) -> Response:
    """The present request's answer: a file of this type and name, as `download` sends it."""
    response = Response(download(head, pieces, asking_again(check)), content_type=kind)
    response.timeout = None  # Quart's own would cut the answer after a minute
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    return response


async def download(
    head: bytes, pieces: AsyncGenerator[bytes, None], ask: Callable[[], Awaitable[None]]
) -> AsyncGenerator[bytes, None]:
    """head, then pieces. What goes wrong breaks the connection, and half a file is none."""
    size, waited_s, asked_at = 0, 0.0, trio.current_time()
    async with aclosing(pieces):
        piece = head
        try:
            while True:
                for start in range(0, len(piece), SLICE_BYTES):
                    part, began = piece[start : start + SLICE_BYTES], trio.current_time()
                    yield part
                    now = trio.current_time()
                    size, waited_s = size + len(part), waited_s + now - began
                    if waited_s > WINDOW_S:
                        if size < waited_s * LEAST_BYTES_PER_S:
                            raise TakenTooSlowly(f"{size} bytes in {waited_s:.0f} s")
                        size, waited_s = 0, 0.0
                    if now - asked_at > CHECK_S:
                        asked_at = now
                        await _ask(ask)
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except Exception as error:  # nobody else says it: the connection breaks, and that is all
            log.error("download_failed", route=request.path, error=repr(error))
            raise


async def _ask(ask: Callable[[], Awaitable[None]]) -> None:
    try:
        await ask()
    except (StoreUnavailable, StoreRefused, Unavailable) as error:
        log.warning("key_not_checked", error=str(error))  # the database is away
