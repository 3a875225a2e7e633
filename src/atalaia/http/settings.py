"""What a tenant chooses for all of its sensors."""

from typing import Any

from quart import Blueprint, g

from atalaia.engine.edits import Edits
from atalaia.http import render
from atalaia.http.bodies import SettingsBody, read_body
from atalaia.ports import Queries


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

    return routes
