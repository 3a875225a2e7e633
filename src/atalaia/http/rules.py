"""Rules: every change goes through the tenant's inbox and is answered after its commit."""

from typing import Any
from uuid import UUID

from quart import Blueprint, g, request

from atalaia.engine.engine import Gate
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, SwitchRule
from atalaia.http import params, render
from atalaia.http.auth import require
from atalaia.http.bodies import RuleBody, read_body
from atalaia.model.errors import NotFound
from atalaia.ports import Queries


def blueprint(gate: Gate, queries: Queries) -> Blueprint:
    """`/v1/rules` and below."""
    routes = Blueprint("rules", __name__, url_prefix="/v1/rules")

    @routes.get("")
    async def list_rules() -> dict[str, Any]:
        require(g.principal, "read")
        count = params.limit(request.args)
        after = params.cursor(request.args, int, params.fits_int4) or 0
        found = await queries.rules(g.principal.tenant_no, after=after, limit=count + 1)
        more = params.next_cursor(found[count - 1].rule_no) if len(found) > count else None
        return render.page([render.rule(rule) for rule in found[:count]], more)

    @routes.post("")
    async def create_rule() -> tuple[dict[str, Any], int, dict[str, str]]:
        require(g.principal, "admin")
        body = await read_body(RuleBody)
        rule = await gate.edit_rule(g.principal.tenant_no, CreateRule(body.text)).answer()
        return render.rule(rule), 201, {"location": f"/v1/rules/{rule.rule_id}"}

    @routes.get("/<rule>")
    async def read_rule(rule: str) -> dict[str, Any]:
        require(g.principal, "read")
        stored = await queries.rule(g.principal.tenant_no, _id(rule))
        if stored is None:
            raise NotFound("There is no rule with this id.")
        return render.rule(stored)

    @routes.put("/<rule>")
    async def replace_rule(rule: str) -> dict[str, Any]:
        require(g.principal, "admin")
        body = await read_body(RuleBody)
        edit = ReplaceRule(_id(rule), body.text)
        return render.rule(await gate.edit_rule(g.principal.tenant_no, edit).answer())

    @routes.delete("/<rule>")
    async def delete_rule(rule: str) -> tuple[str, int]:
        require(g.principal, "admin")
        await gate.edit_rule(g.principal.tenant_no, DeleteRule(_id(rule))).answer()
        return "", 204

    @routes.post("/<rule>/enable")
    async def enable_rule(rule: str) -> dict[str, Any]:
        require(g.principal, "admin")
        edit = SwitchRule(_id(rule), enabled=True)
        return render.rule(await gate.edit_rule(g.principal.tenant_no, edit).answer())

    @routes.post("/<rule>/disable")
    async def disable_rule(rule: str) -> dict[str, Any]:
        require(g.principal, "admin")
        edit = SwitchRule(_id(rule), enabled=False)
        return render.rule(await gate.edit_rule(g.principal.tenant_no, edit).answer())

    return routes


def _id(text: str) -> UUID:
    rule_id = params.identifier(text)
    if rule_id is None:
        raise NotFound("There is no rule with this id.")
    return rule_id
