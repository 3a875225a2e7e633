"""What a tenant chooses for all of its sensors."""

from typing import Any

from quart import Blueprint, g

from atalaia.engine.edits import Edits
from atalaia.http import render
from atalaia.http.bodies import RetentionBody, SettingsBody, read_body
from atalaia.model.errors import Invalid
from atalaia.ports import Queries

MAX_DAYS = 99_999


def blueprint(gate: Edits, queries: Queries) -> Blueprint:
    """`/v1/settings`."""
    routes = Blueprint("settings", __name__, url_prefix="/v1/settings")

    @routes.get("")
    async def read_settings() -> dict[str, Any]:
        return render.settings(await queries.settings(g.principal.tenant_no))

    @routes.patch("")
    async def change_settings() -> dict[str, Any]:
        body = await read_body(SettingsBody)
        await gate.set_lateness(
            g.principal.tenant_no, None, body.lateness, g.principal.actor
        ).answer()
        return render.settings(await queries.settings(g.principal.tenant_no))

    @routes.get("/retention")
    async def read_retention() -> dict[str, Any]:
        return {"days": (await queries.settings(g.principal.tenant_no)).retention_days}

    @routes.put("/retention")
    async def set_retention() -> dict[str, Any]:
        body = await read_body(RetentionBody)
        if body.days is not None and not 1 <= body.days <= MAX_DAYS:
            raise Invalid(f"days: 1 to {MAX_DAYS}, or null.", code="bad_body")
        await queries.set_retention(g.principal.tenant_no, body.days, g.principal.actor)
        return {"days": body.days}

    return routes
