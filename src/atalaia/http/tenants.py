"""All tenants, for those who look after them."""

from typing import Any, Protocol
from uuid import UUID

import attrs
from quart import Blueprint, Response, g, request

from atalaia.engine.clock import WallClock
from atalaia.http import params, render
from atalaia.http.bodies import read_body
from atalaia.http.login import make_link
from atalaia.http.users import check_email, with_link
from atalaia.model.erasure import check_begun
from atalaia.model.errors import Conflict, Invalid, NotFound
from atalaia.model.ids import uuid7
from atalaia.model.people import TenantView
from atalaia.people import Erasures, Tenants

MAX_NAME_CHARS = 128


@attrs.frozen
class TenantBody:
    """`{"name": "Padaria do Zé", "admin_email": "ze@example.org"}`"""

    name: str
    admin_email: str


@attrs.frozen
class EraseBody:
    """`{"name": "Padaria do Zé"}`: the tenant's, said once more."""

    name: str


class Administered(Tenants, Erasures, Protocol):
    """What these routes ask for."""


def blueprint(tenants: Administered, clock: WallClock, *, mailed: bool) -> Blueprint:
    """`/v1/admin/tenants` and below. mailed: see `with_link`."""
    routes = Blueprint("tenants", __name__, url_prefix="/v1/admin/tenants")

    async def switch(tenant: str, *, suspended: bool) -> dict[str, Any]:
        tenant_id = params.identifier(tenant)
        found = None
        if tenant_id is not None:
            found = await tenants.suspend(tenant_id, suspended=suspended, by=g.principal.actor)
        if found is None:
            raise _no_tenant()
        if suspended and found.suspended_at is None:
            raise Conflict("The tenant of those who look after all is never suspended.")
        if not suspended and found.suspended_at is not None:
            raise Conflict("This tenant is being erased: there is no way back.", code="erasing")
        return _render(found)

    @routes.get("")
    async def list_tenants() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, int, params.fits_int4) or 0
        found = await tenants.list_tenants(after=after, limit=count + 1)
        total = await render.total(tenants.count_tenants)
        return render.first(found, count, _render, lambda tenant: tenant.tenant_no, total)

    @routes.post("")
    async def create_tenant() -> Response:
        body = await read_body(TenantBody)
        name = body.name.strip()
        if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise Invalid(
                f"name: a tenant's name has 1 to {MAX_NAME_CHARS} printable characters.",
                code="bad_body",
            )
        email, link = check_email(body.admin_email), make_link("invitation")
        made = await tenants.create_tenant(
            uuid7(clock.now_us()), name, email, link, g.principal.actor
        )
        return with_link(_render(made) | {"admin_email": email}, link, 201, mailed=mailed)

    @routes.get("/<tenant>")
    async def read_tenant(tenant: str) -> dict[str, Any]:
        tenant_id = params.identifier(tenant)
        found = None if tenant_id is None else await tenants.tenant(tenant_id)
        if found is None:
            raise _no_tenant()
        return _render(found)

    @routes.post("/<tenant>/suspend")
    async def suspend(tenant: str) -> dict[str, Any]:
        return await switch(tenant, suspended=True)

    @routes.post("/<tenant>/resume")
    async def resume(tenant: str) -> dict[str, Any]:
        return await switch(tenant, suspended=False)

    @routes.post("/<tenant>/erase")
    async def erase(tenant: str) -> tuple[dict[str, Any], int]:
        body = await read_body(EraseBody)
        tenant_id = params.identifier(tenant)
        if tenant_id is None:
            raise _no_tenant()
        check_begun(await tenants.begin_erasure(tenant_id, body.name, g.principal.actor))
        return await erasure_of(tenant_id), 202

    @routes.get("/<tenant>/erasure")
    async def read_erasure(tenant: str) -> dict[str, Any]:
        return await erasure_of(params.identifier(tenant))

    async def erasure_of(tenant_id: UUID | None) -> dict[str, Any]:
        found = None if tenant_id is None else await tenants.erasure(tenant_id)
        if found is None:
            raise NotFound("There is no tenant with this id that is being erased, or was.")
        return {
            "id": str(found.tenant_id),
            "state": "erasing" if found.finished_at is None else "erased",
            "began_at": render.time(found.began_at),
            "finished_at": render.time(found.finished_at),
            "deleted": dict(found.deleted),
        }

    return routes


def _no_tenant() -> NotFound:
    return NotFound("There is no tenant with this id.")


def _render(tenant: TenantView) -> dict[str, Any]:
    return {
        "id": str(tenant.tenant_id),
        "name": tenant.name,
        "created_at": render.time(tenant.created_at),
        "suspended_at": render.time(tenant.suspended_at),
    }
