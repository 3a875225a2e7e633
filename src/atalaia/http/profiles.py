"""Groups and profiles of sensors: tags, and what the sensors of a profile share."""

from collections.abc import Sequence
from typing import Any

from quart import Blueprint, g

from atalaia.engine.clock import WallClock
from atalaia.engine.edits import Edits
from atalaia.http import conditions, render
from atalaia.http.aside import Aside
from atalaia.http.bodies import ProfileBody, check_tags, read_body
from atalaia.http.locks import Locks
from atalaia.http.rule_checks import RuleChecks, all_rules
from atalaia.http.rule_files import apply_change
from atalaia.model.audit import AuditEntry
from atalaia.model.errors import Conflict, Invalid, NotFound
from atalaia.model.rule import StoredRule
from atalaia.model.views import Profile
from atalaia.ports import Queries
from atalaia.rules.changes import Change, plan_changes
from atalaia.rules.language import parse_rules
from atalaia.rules.rulefile import FileRule
from atalaia.rules.steps import Steps
from atalaia.rules.syntax import RuleSpec, TagTest

PROFILE = "profile"  # the tag


def blueprint(
    gate: Edits, queries: Queries, checks: RuleChecks, aside: Aside, clock: WallClock
) -> Blueprint:
    """`/v1/groups`, and `/v1/profiles` and below."""
    routes = Blueprint("profiles", __name__)
    saving = Locks()

    async def find(name: str) -> Profile:
        known = "\0" not in name and await queries.profile(g.principal.tenant_no, name)
        if not known:
            raise NotFound(f'There is no profile named "{name}".')
        return known

    async def replace_rules(before: Profile | None, wanted: Sequence[RuleSpec]) -> None:
        principal = g.principal
        stored = await all_rules(queries, principal.tenant_no)
        most = gate.max_rules(principal.quota)
        plan = _plan(stored, before, wanted, most)
        for change in await aside.finish(principal.tenant_no, plan):
            await apply_change(gate, principal, change)

    @routes.get("/v1/groups")
    async def list_groups() -> dict[str, Any]:
        found = await queries.groups(g.principal.tenant_no)
        return render.whole([{"name": name, "sensors": sensors} for name, sensors in found])

    @routes.get("/v1/profiles")
    async def list_profiles() -> dict[str, Any]:
        found = await queries.profiles(g.principal.tenant_no)
        return render.whole([render.profile(one) for one in found])

    @routes.get("/v1/profiles/<name>")
    async def read_profile(name: str) -> dict[str, Any]:
        known = await find(name)
        conditions.show(known.tag)
        return render.profile(known)

    @routes.put("/v1/profiles/<name>")
    async def save_profile(name: str) -> dict[str, Any]:
        body = await read_body(ProfileBody)
        _check_texts(name, body.description)
        tenant_no = g.principal.tenant_no
        checked = await checks.check(tenant_no, body.rules) if body.rules.strip() else []
        for rule in checked:
            _check_selector(rule.spec, name)
        profile = Profile(name, body.description, body.expected_interval, body.rules)
        audit = AuditEntry(g.principal.actor, "profile.saved", name, {"rules": body.rules})
        only = conditions.asked()
        async with saving.one(tenant_no):
            before = await queries.profile(tenant_no, name)
            only.check(
                None if before is None else before.tag
            )  # before any rule is touched; the save asks again
            # The rules first: whoever is stopped between them sends the profile again.
            await replace_rules(before, [rule.spec for rule in checked])
            now = clock.now_us()
            stored = await queries.save_profile(tenant_no, profile, now, audit, only)
        conditions.show(stored.tag)
        lints = [render.lint(lint) for rule in checked for lint in rule.lints]
        return render.profile(stored) | {"lints": lints}

    @routes.delete("/v1/profiles/<name>")
    async def drop_profile(name: str) -> tuple[str, int]:
        only, tenant_no = conditions.asked(), g.principal.tenant_no
        audit = AuditEntry(g.principal.actor, "profile.deleted", name)
        async with saving.one(tenant_no):
            known = await find(name)
            only.check(known.tag)
            await replace_rules(known, [])
            await queries.drop_profile(tenant_no, name, audit, only)
        return "", 204

    return routes


def _check_texts(name: str, description: str) -> None:
    """Raises Invalid."""
    try:
        check_tags({PROFILE: name})
    except ValueError as error:
        raise Invalid(f"The name of a profile is the value of a tag: {error}.") from error
    if len(description) > 1_000 or "\0" in description:
        raise Invalid("A description has up to 1,000 characters, and no NUL.", code="bad_body")


def _check_selector(rule: RuleSpec, profile: str) -> None:
    """Raises Invalid for a rule that would watch others' sensors too."""
    if TagTest(PROFILE, profile, exact=True) not in rule.selector.tags:
        raise Invalid(
            f'The rule "{rule.name}" must watch the sensors of this profile alone: write '
            f'on sensors where {PROFILE} = "{profile}".',
            code="not_of_the_profile",
        )


def _plan(
    stored: Sequence[StoredRule], before: Profile | None, wanted: Sequence[RuleSpec], most: int
) -> Steps[list[Change]]:
    """Make, change and delete the rules of a profile; one that was disabled stays so.

    Raises Conflict for a name that another rule has.
    """
    old = {rule.name for rule in parse_rules(before.rules)} if before and before.rules else set()
    new = {rule.name for rule in wanted}
    mine = {rule.name: rule for rule in stored if rule.name in old | new}
    for name in sorted(new - old):
        if name in mine:
            raise Conflict(
                f'A rule named "{name}" exists and is not of this profile; choose another name.',
                code="name_taken",
            )
    files = [
        FileRule(rule.name, rule.text, mine[rule.name].enabled if rule.name in mine else True)
        for rule in wanted
    ]
    others = len(stored) - len(mine)
    return (yield from plan_changes(list(mine.values()), files, prune=True, most=most - others))
