"""All rules of a tenant as a file: exported, compared, and brought back.

An import is a plan (`rules.changes`) whose edits go through the gate one by one, as everybody's
do. It may break off anywhere: sending the same file again does what is left.
"""

from collections.abc import Sequence
from typing import Any, assert_never

from quart import Blueprint, Response, g, request

from atalaia.engine.edits import Edits
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, RuleEdit, SwitchRule
from atalaia.engine.rule_edits import MAX_RULES
from atalaia.http import params
from atalaia.http.auth import require
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.http.rule_checks import Aside, all_rules
from atalaia.model.errors import AtalaiaError, Conflict, NotFound, RuleFileInvalid, RuleFileProblem
from atalaia.model.ids import TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.rules.changes import Change, plan_changes
from atalaia.rules.rulefile import FileRule, read_rules, write_rules

YAML = "application/yaml"  # RFC 9512


def blueprint(gate: Edits, queries: Queries, aside: Aside) -> Blueprint:
    """`/v1/rules:export` and `/v1/rules:import`."""
    routes = Blueprint("rule_files", __name__)

    @routes.get("/v1/rules:export")
    async def export_rules() -> Response:
        require(g.principal, "read")
        rules = await all_rules(queries, g.principal.tenant_no)
        text = write_rules(FileRule(rule.name, rule.text, rule.enabled) for rule in rules)
        return Response(text, content_type=YAML)

    @routes.post("/v1/rules:import")
    async def import_rules() -> dict[str, Any] | Response:
        dry_run = params.flag(request.args, "dry_run")
        prune = params.flag(request.args, "prune")
        require(g.principal, "read" if dry_run else "admin")
        wanted = await aside.run(_read, await request.get_data())
        stored = await all_rules(queries, g.principal.tenant_no)
        changes = await aside.run(_plan, stored, wanted, prune)
        listed = {rule.name for rule in wanted}
        left = [rule.name for rule in stored if not prune and rule.name not in listed]
        done = 0
        try:
            for change in [] if dry_run else changes:
                await _apply(gate, g.principal.tenant_no, change)
                done += 1
        except (AtalaiaError, StoreUnavailable, StoreRefused) as error:
            ours = as_error(error)
            body = problem(ours, g.request_id, changes=_render(changes, done), left=sorted(left))
            response = Response(encode(body), status_of(ours)[0], content_type=PROBLEM_JSON)
            for name, value in headers(ours):
                response.headers[name] = value
            return response
        return {"dry_run": dry_run, "changes": _render(changes, done), "left": sorted(left)}

    return routes


def _read(body: bytes) -> tuple[FileRule, ...]:
    try:
        return read_rules(body.decode())
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise RuleFileInvalid(
            [RuleFileProblem(None, line, 1, "This line is no text in UTF-8.")]
        ) from error


def _plan(stored: Sequence[StoredRule], wanted: Sequence[FileRule], prune: bool) -> list[Change]:
    return plan_changes(stored, wanted, prune=prune, most=MAX_RULES)


async def _apply(gate: Edits, tenant_no: TenantNo, change: Change) -> None:
    """Make one edit; returns after its commit. The rule may have gone since it was planned."""
    edit = _edit(change)
    if edit is None:
        return
    try:
        await gate.edit_rule(tenant_no, edit).answer()
    except NotFound as error:
        if change.action != "delete":
            raise Conflict(
                f'The rule "{change.name}" was changed meanwhile; send the file again.'
            ) from error


def _edit(change: Change) -> RuleEdit | None:
    if change.rule_id is None:
        return CreateRule(change.text, change.enabled)
    match change.action:
        case "replace":
            return ReplaceRule(change.rule_id, change.text)
        case "enable" | "disable":
            return SwitchRule(change.rule_id, enabled=change.action == "enable")
        case "delete":
            return DeleteRule(change.rule_id)
        case "create" | "unchanged":
            return None
    assert_never(change.action)


def _render(changes: Sequence[Change], done: int) -> list[dict[str, Any]]:
    """done: how many of them have been made, from the first on."""
    return [
        {
            "action": change.action,
            "name": change.name,
            "closes_alerts": change.closes_alerts,
            "diff": change.diff,
            "done": n < done,
        }
        for n, change in enumerate(changes)
    ]
