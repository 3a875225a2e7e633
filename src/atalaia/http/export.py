"""GET /v1/export: readings as a file, as many as there are.

What had been committed when it began is in it, and nothing that came later, however long it takes:
arrivals only grow within a tenant, so that the last one bounds them all, and no transaction is held
open. A chunk is in memory at a time, and the next is read when the client has taken it. What goes
wrong on the way breaks the connection, so that half a file is not taken for a whole.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial

import numpy as np
import trio
from quart import Blueprint, Response, g, request

from atalaia.engine.turns import Turns
from atalaia.http import params
from atalaia.http.downloads import Check, attachment, begin
from atalaia.http.formats import FORMATS, Format
from atalaia.model.audit import AuditEntry
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.stored import Scan
from atalaia.model.views import SeriesView
from atalaia.people import Audit
from atalaia.ports import Queries, SeriesFilter
from atalaia.rules.language import parse_selector
from atalaia.telemetry.secrets import redact

MOST_AT_ONCE = 2  # of one tenant
MOST_SERIES = 1_000_000
PIECE_ROWS = 50_000

Look = Callable[[], Awaitable[tuple[Sequence[SeriesView], AsyncGenerator[Scan, None]]]]


def blueprint(queries: Queries, audit: Audit, check: Check) -> Blueprint:
    """`/v1/export`. check: whether a request's credential is good, asked again and again."""
    routes = Blueprint("export", __name__)
    turns = Turns(
        MOST_AT_ONCE,
        f"A tenant may have {MOST_AT_ONCE} exports under way; try again when one is done.",
        "too_many_exports",
    )
    threads = trio.CapacityLimiter(1)

    @routes.get("/v1/export")
    async def export() -> Response:
        kind = params.choice(request.args, "format", tuple(FORMATS)) or "csv"
        since, until = params.time(request.args, "from"), params.time(request.args, "to")
        if since is None:
            raise params.bad("from", "say from when on.")
        selector = request.args.get("selector")
        wanted = SeriesFilter(
            params.names(request.args, "sensor") or None,
            None if selector is None else parse_selector(selector),
            params.names(request.args, "metric") or None,
        )
        tenant_no = g.principal.tenant_no
        file = FORMATS[kind]()
        if request.method == "HEAD":
            return Response(b"", content_type=file.content_type)

        async def look() -> tuple[Sequence[SeriesView], AsyncGenerator[Scan, None]]:
            arrived = await queries.last_received(tenant_no)
            series = await queries.find_series(tenant_no, wanted, MOST_SERIES)
            series = [one for one in series if one.newest is not None and one.newest >= since]
            last = max((one.newest or 0 for one in series), default=0)
            high = Micros(last if until is None else min(until, last))
            scan = queries.scan(
                tenant_no,
                np.array([one.series_no for one in series], np.int32),
                np.full(len(series), since - 1, np.int64),
                np.full(len(series), high, np.int64),
                arrived=arrived,
                ordered=True,
            )
            return series, scan

        pieces = _pieces(turns, tenant_no, file, look, threads)
        asked = {"asked": redact(request.query_string.decode("latin-1"))}
        entry = AuditEntry(g.principal.actor, "readings.exported", "", asked)
        head = await begin(pieces, audit, tenant_no, entry)
        return attachment(head, pieces, check, file.content_type, f"readings.{kind}")

    return routes


async def _pieces(
    turns: Turns,
    tenant_no: TenantNo,
    file: Format,
    look: Look,
    threads: trio.CapacityLimiter,
) -> AsyncGenerator[bytes, None]:
    with turns.one(tenant_no):
        series, scan = await look()
        yield file.head()
        held: list[Scan] = []
        async with aclosing(scan):
            async for chunk in scan:
                held.append(chunk)
                if sum(map(len, held)) >= PIECE_ROWS:
                    whole, held = _joined(held), []
                    yield await trio.to_thread.run_sync(
                        partial(file.rows, series, whole), limiter=threads
                    )
        if held:
            whole = _joined(held)
            yield await trio.to_thread.run_sync(partial(file.rows, series, whole), limiter=threads)
        yield await trio.to_thread.run_sync(file.tail, limiter=threads)


def _joined(parts: Sequence[Scan]) -> Scan:
    if len(parts) == 1:
        return parts[0]
    return Scan(
        np.concatenate([part.span for part in parts]),
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.received for part in parts]),
        np.concatenate([part.late for part in parts]),
    )
