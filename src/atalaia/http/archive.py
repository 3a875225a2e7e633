"""All of a tenant as one file: for its own administrators, and for those who look after all.

Made as it is taken, so that nothing of it is stored anywhere. That somebody took it is written into
the tenant's audit before the first byte.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import trio
from quart import Blueprint, Response, g, request

from atalaia.engine.clock import WallClock
from atalaia.engine.turns import Turns
from atalaia.http import params, render
from atalaia.http.downloads import Check, attachment, begin
from atalaia.model.audit import AuditEntry
from atalaia.model.errors import Busy, NotFound
from atalaia.model.ids import TenantNo
from atalaia.people import Archives, Audit, Tenants

MOST_OF_ALL = 2  # each holds two connections and a moment of the database; and one for us

ZIP = "application/zip"


class Archived(Archives, Audit, Tenants, Protocol):
    """What these routes ask for."""


def blueprint(people: Archived, clock: WallClock, check: Check) -> Blueprint:
    """`/v1/tenant/export` and `/v1/admin/tenants/{id}/export`. check: whether a request's
    credential is good, asked again and again.
    """
    routes = Blueprint("archive", __name__)
    turns = Turns(
        1,
        "An archive of this tenant is being taken already; try again when it is done.",
        "too_many_archives",
    )
    own, ours = trio.CapacityLimiter(MOST_OF_ALL), trio.CapacityLimiter(1)

    async def pieces(
        tenant_no: TenantNo, places: trio.CapacityLimiter
    ) -> AsyncGenerator[bytes, None]:
        holder = object()
        with turns.one(tenant_no):
            try:
                places.acquire_on_behalf_of_nowait(holder)
            except trio.WouldBlock:
                raise Busy(
                    f"{places.total_tokens} of these archives are being taken already; try again "
                    "when one is done.",
                    code="too_many_archives",
                ) from None
            try:
                async with aclosing(people.archive(tenant_no, clock.now_us())) as archive:
                    async for piece in archive:
                        yield piece
            finally:
                places.release_on_behalf_of(holder)

    async def answer(tenant_no: TenantNo, tenant_id: str, places: trio.CapacityLimiter) -> Response:
        if request.method == "HEAD":
            return Response(b"", content_type=ZIP)
        found = pieces(tenant_no, places)
        entry = AuditEntry(g.principal.actor, "tenant.exported", tenant_id)
        head = await begin(found, people, tenant_no, entry)
        name = f"atalaia-{tenant_id}-{(render.time(clock.now_us()) or '')[:10]}.zip"
        response = attachment(head, found, check, ZIP, name)
        response.headers["cache-control"] = "no-store"
        return response

    @routes.get("/v1/tenant/export")
    async def export_own() -> Response:
        return await answer(g.principal.tenant_no, str(g.principal.tenant_id), own)

    @routes.get("/v1/admin/tenants/<tenant>/export")
    async def export_any(tenant: str) -> Response:
        tenant_id = params.identifier(tenant)
        found = None if tenant_id is None else await people.tenant(tenant_id)
        if found is None:
            raise NotFound("There is no tenant with this id.")
        return await answer(found.tenant_no, str(found.tenant_id), ours)

    return routes
