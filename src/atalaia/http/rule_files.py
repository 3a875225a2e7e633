"""All rules of a tenant as a file: exported, compared, and brought back.

An import is a plan (`rules.changes`) whose edits go through the gate one by one, as everybody's
do. It may break off anywhere: sending the same file again does what is left.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, assert_never

import attrs
from quart import Blueprint, Response, g, request

from atalaia.engine.edits import Edits
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, RuleEdit, SwitchRule
from atalaia.http import params
from atalaia.http.aside import Aside
from atalaia.http.auth import require
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.http.rule_checks import all_rules
from atalaia.model.errors import AtalaiaError, Conflict, NotFound, RuleFileInvalid, RuleFileProblem
from atalaia.model.principal import Principal
from atalaia.model.rule import StoredRule
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.rules.changes import Change, plan_changes
from atalaia.rules.language import parse_rule
from atalaia.rules.rulefile import FileRule, reading_rules, write_rules
from atalaia.rules.steps import Steps
from atalaia.rules.unit_check import check_units

YAML = "application/yaml"  # RFC 9512


def blueprint(gate: Edits, queries: Queries, aside: Aside) -> Blueprint:
    """`/v1/rules:export` and `/v1/rules:import`."""
    routes = Blueprint("rule_files", __name__)

    @routes.get("/v1/rules:export")
    async def export_rules() -> Response:
        rules = await all_rules(queries, g.principal.tenant_no)
        text = write_rules(FileRule(rule.name, rule.text, rule.enabled) for rule in rules)
        return Response(text, content_type=YAML)

    @routes.post("/v1/rules:import")
    async def import_rules() -> dict[str, Any] | Response:
        dry_run = params.flag(request.args, "dry_run")
        prune = params.flag(request.args, "prune")
        if not dry_run:
            require(g.principal, "rules")
        tenant_no = g.principal.tenant_no
        body: Any = await request.get_data()  # bytes, which its type does not say
        wanted = await aside.finish(tenant_no, _reading(body, None))
        stored = await all_rules(queries, tenant_no)
        new = await aside.finish(tenant_no, _new_texts(stored, wanted))
        units = await queries.units(tenant_no, new.metrics)
        if new.ask_units or units:
            check = partial(_check, new.texts, units)
            await aside.finish(tenant_no, _reading(body, check))
        most = gate.max_rules(g.principal.quota)
        changes = await aside.finish(
            tenant_no, plan_changes(stored, wanted, prune=prune, most=most)
        )
        listed = {rule.name for rule in wanted}
        left = [rule.name for rule in stored if not prune and rule.name not in listed]
        done = 0
        try:
            for change in [] if dry_run else changes:
                await apply_change(gate, g.principal, change)
                done += 1
        except (AtalaiaError, StoreUnavailable, StoreRefused) as error:
            ours = as_error(error)
            said = problem(ours, g.request_id, changes=_render(changes, done), left=sorted(left))
            response = Response(encode(said), status_of(ours)[0], content_type=PROBLEM_JSON)
            for name, value in headers(ours):
                response.headers[name] = value
            return response
        return {"dry_run": dry_run, "changes": _render(changes, done), "left": sorted(left)}

    return routes


@attrs.frozen
class _New:
    """Texts that will be saved, the metrics they look at, and whether they name a unit."""

    texts: frozenset[str]
    metrics: Sequence[str]
    ask_units: bool


def _new_texts(stored: Sequence[StoredRule], wanted: Sequence[FileRule]) -> Steps[_New]:
    """What is there already stays, whatever has been said of units meanwhile."""
    known = {(rule.name, rule.text.strip()) for rule in stored}
    texts = [rule.text for rule in wanted if (rule.name, rule.text.strip()) not in known]
    specs = []
    for text in texts:
        specs.append(parse_rule(text))
        yield
    return _New(
        frozenset(texts),
        sorted({metric for spec in specs for metric in spec.metrics}),
        any(spec.has_units for spec in specs),
    )


def _check(texts: frozenset[str], units: Mapping[str, str], text: str) -> None:
    """Raises RuleInvalid when units rule a new text out."""
    if text in texts:
        check_units(text, [parse_rule(text)], units)


def _reading(body: bytes, check: Callable[[str], None] | None) -> Steps[tuple[FileRule, ...]]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise RuleFileInvalid(
            [RuleFileProblem(None, line, 1, "This line is no text in UTF-8.")]
        ) from error
    return (yield from reading_rules(text, check))


async def apply_change(gate: Edits, principal: Principal, change: Change) -> None:
    """Make one edit; returns after its commit. The rule may have gone since it was planned."""
    edit = _edit(change)
    if edit is None:
        return
    try:
        await gate.edit_rule(principal.tenant_no, edit, principal.quota, principal.actor).answer()
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
