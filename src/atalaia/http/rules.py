"""Rules: every change goes through the tenant's inbox and is answered after its commit."""

from functools import partial
from typing import Any
from uuid import UUID

from quart import Blueprint, g, request

from atalaia.engine.edits import Edits
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, RuleEdit, SwitchRule
from atalaia.http import conditions, params, render
from atalaia.http.bodies import CheckBody, RuleBody, read_body
from atalaia.http.rule_checks import ASSUMED_INTERVAL_US, RuleChecks
from atalaia.model.errors import NotFound
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries
from atalaia.rules.syntax import duration_text

QUESTIONS = frozenset({"/v1/rules/backtest", "/v1/rules/check"})
"""Where ids of rules stand too; these are of none, and take POST alone."""
CHECK_IS_SLOW = "The tenant's processing is busy; ask again after the delay."


def blueprint(gate: Edits, queries: Queries, checks: RuleChecks) -> Blueprint:
    """`/v1/rules` and below."""
    routes = Blueprint("rules", __name__, url_prefix="/v1/rules")

    async def find_lints(text: str, replaces: UUID | None = None) -> dict[str, Any]:
        # Before the edit: nothing may fail after it.
        found = await checks.check(g.principal.tenant_no, text, replaces=replaces)
        return {"lints": [render.lint(lint) for lint in found[0].lints]}

    async def edit_rule(edit: RuleEdit) -> StoredRule:
        principal = g.principal
        receipt = gate.edit_rule(principal.tenant_no, edit, principal.quota, principal.actor)
        rule = await receipt.answer()
        conditions.show(rule.tag)
        return rule

    async def switch_rule(rule: str, *, enabled: bool) -> dict[str, Any]:
        edit = SwitchRule(_id(rule), enabled, conditions.asked())
        return render.rule(await edit_rule(edit))

    @routes.get("")
    async def list_rules() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, int, params.fits_int4) or 0
        tenant_no = g.principal.tenant_no
        found = await queries.rules(tenant_no, after=after, limit=count + 1)
        total = await render.total(partial(queries.total, tenant_no, "rules"))
        return render.first(found, count, render.rule, lambda rule: rule.rule_no, total)

    @routes.post("")
    async def create_rule() -> tuple[dict[str, Any], int, dict[str, str]]:
        body = await read_body(RuleBody)
        lints = await find_lints(body.text)
        rule = await edit_rule(CreateRule(body.text))
        return render.rule(rule) | lints, 201, {"location": f"/v1/rules/{rule.rule_id}"}

    @routes.post("/check")
    async def check_rules() -> dict[str, Any]:
        body = await read_body(CheckBody)
        found = await checks.check(g.principal.tenant_no, body.text, interval_us=body.interval)
        interval = duration_text(body.interval or ASSUMED_INTERVAL_US)
        specs = [rule.spec for rule in found]
        outlook = await gate.foresee(g.principal.tenant_no, specs).answer(CHECK_IS_SLOW)
        rules = [render.checked_rule(rule, interval) for rule in found]
        return {"rules": rules} | render.outlook(outlook)

    @routes.get("/<rule>")
    async def read_rule(rule: str) -> dict[str, Any]:
        stored = await queries.rule(g.principal.tenant_no, _id(rule))
        if stored is None:
            raise NotFound("There is no rule with this id.")
        conditions.show(stored.tag)
        return render.rule(stored)

    @routes.put("/<rule>")
    async def replace_rule(rule: str) -> dict[str, Any]:
        body = await read_body(RuleBody)
        edit = ReplaceRule(_id(rule), body.text, conditions.asked())
        lints = await find_lints(body.text, edit.rule_id)
        return render.rule(await edit_rule(edit)) | lints

    @routes.delete("/<rule>")
    async def delete_rule(rule: str) -> tuple[str, int]:
        await edit_rule(DeleteRule(_id(rule), conditions.asked()))
        return "", 204

    @routes.post("/<rule>/enable")
    async def enable_rule(rule: str) -> dict[str, Any]:
        return await switch_rule(rule, enabled=True)

    @routes.post("/<rule>/disable")
    async def disable_rule(rule: str) -> dict[str, Any]:
        return await switch_rule(rule, enabled=False)

    return routes


def _id(text: str) -> UUID:
    rule_id = params.identifier(text)
    if rule_id is None:
        raise NotFound("There is no rule with this id.")
    return rule_id
