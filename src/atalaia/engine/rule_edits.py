"""What a rule edit does: the row that will stand, and the alerts it closes. Pure.

`version` counts condition edits: they close open alerts with `rule_changed` and the new version
starts with warm windows. `revision` counts every edit; a label edit keeps state.
"""

from collections.abc import Sequence
from uuid import UUID

import attrs

from atalaia.engine.messages import (
    CreateRule,
    DeleteRule,
    Outlook,
    ReplaceRule,
    RuleEdit,
    SwitchRule,
)
from atalaia.engine.recover import active_rules
from atalaia.engine.state import TenantState
from atalaia.model.alert import CloseReason
from atalaia.model.audit import Actor, AuditEntry
from atalaia.model.condition import Condition
from atalaia.model.errors import Conflict, NotFound
from atalaia.model.ids import Micros, RuleNo, SensorNo, uuid7
from atalaia.model.rule import StoredRule
from atalaia.ports import RuleWrite
from atalaia.rules.changes import check_count
from atalaia.rules.forecast import AS_IT_IS, Forecast, Plan, cures, mib
from atalaia.rules.foresight import Retagged
from atalaia.rules.language import parse_rule
from atalaia.rules.syntax import MAX_METRICS, RuleSpec, duration_text
from atalaia.rules.tenant_state import ActiveRule


@attrs.frozen
class Edited:
    """The write, and why open alerts of the rule close (None: they stay)."""

    write: RuleWrite
    closes: CloseReason | None


def apply_edit(
    rules: Sequence[StoredRule], next_no: RuleNo, edit: RuleEdit, now: Micros, *, most: int
) -> Edited:
    """most: rules that the tenant may have.

    Raises RuleInvalid, NotFound, PreconditionFailed, or Conflict for a name that is taken or one
    rule too many: to make one, or to bring one back into service, which a tenant with more than it
    may have cannot.
    """
    match edit:
        case CreateRule(text, enabled):
            spec = parse_rule(text)
            check_count(len(rules) + 1, most)
            _check_name(rules, spec.name, None)
            created = StoredRule(
                rule_no=next_no,
                rule_id=uuid7(now),
                name=spec.name,
                text=text,
                version=1,
                revision=1,
                enabled=enabled,
                active_from=now,
                created_at=now,
                updated_at=now,
            )
            return Edited(_write(created, spec), None)
        case ReplaceRule(rule_id, text, only):
            rule = _find(rules, rule_id, only)
            spec = parse_rule(text)
            _check_name(rules, spec.name, rule_id)
            changed = spec.condition_key != parse_rule(rule.text).condition_key
            replaced = attrs.evolve(
                rule,
                name=spec.name,
                text=text,
                version=rule.version + changed,
                revision=rule.revision + 1,
                active_from=now if changed else rule.active_from,
                updated_at=now,
            )
            return Edited(_write(replaced, spec), "rule_changed" if changed else None)
        case SwitchRule(rule_id, enabled, only):
            rule = _find(rules, rule_id, only)
            # Back in service it judges as a new version: what it knew is out of date.
            again = enabled and not rule.enabled
            if again:
                check_count(len(rules), most)
            switched = attrs.evolve(
                rule,
                enabled=enabled,
                version=rule.version + again,
                revision=rule.revision + (enabled != rule.enabled),
                active_from=now if again else rule.active_from,
                updated_at=now,
            )
            write = _write(switched, parse_rule(rule.text))
            return Edited(write, None if enabled else "rule_disabled")
        case DeleteRule(rule_id, only):
            rule = _find(rules, rule_id, only)
            gone = attrs.evolve(rule, enabled=False, revision=rule.revision + 1, updated_at=now)
            return Edited(RuleWrite(gone, deleted=True), "rule_deleted")


def apply_write(rules: Sequence[StoredRule], write: RuleWrite) -> list[StoredRule]:
    """The rules that stand after it, in the order of their age."""
    others = {rule.rule_no: rule for rule in rules}
    others[write.rule.rule_no] = write.rule
    if write.deleted:
        del others[write.rule.rule_no]
    return list(others.values())


def rule_entry(edit: RuleEdit, rule: StoredRule, by: Actor) -> AuditEntry:
    """What the audit says of an edit. What each version judged by is kept beside it, for good."""
    match edit:
        case CreateRule():
            action = "rule.created"
        case ReplaceRule():
            action = "rule.replaced"
        case SwitchRule(enabled=enabled):
            action = "rule.enabled" if enabled else "rule.disabled"
        case DeleteRule():
            action = "rule.deleted"
    detail = {"name": rule.name, "version": rule.version, "revision": rule.revision}
    return AuditEntry(by, action, str(rule.rule_id), detail)


def lateness_entry(sensor: str | None, lateness_us: int | None, by: Actor) -> AuditEntry:
    said = None if lateness_us is None else duration_text(lateness_us)
    action = "settings.changed" if sensor is None else "sensor.changed"
    return AuditEntry(by, action, sensor or "", {"lateness": said})


def at_work(rules: Sequence[StoredRule]) -> set[tuple[RuleNo, int]]:
    """Which of them judge, and in which revision."""
    return {(rule.rule_no, rule.revision) for rule in rules if rule.enabled}


def plan(state: TenantState, rules: Sequence[StoredRule]) -> Plan:
    """What these rules make of those at work in a state, which edits may have left behind."""
    known = {(rule.rule_no, rule.version) for rule in state.rules.rules}
    enabled = [rule for rule in rules if rule.enabled]
    new = active_rules([r for r in enabled if (r.rule_no, r.version) not in known])
    gone = {number for number, _ in known} - {rule.rule_no for rule in enabled}
    return Plan(new, frozenset(gone))


def check_rules(
    state: TenantState, rules: Sequence[StoredRule], after: Sequence[StoredRule]
) -> None:
    """Raises Conflict when the rules after an edit would not fit beside each other at a sensor, or
    take more memory than the tenant may; and more than those before it.
    """
    was, will = plan(state, rules), plan(state, after)
    found = state.rules.foresight.crowded(was, will)
    if found is not None:
        raise too_many_metrics(found[1])
    _check_growth(state, state.forecast(was), state.forecast(will))


def check_tags(state: TenantState, tags: Retagged) -> None:
    """The same of new tags of sensors."""
    for sensor, wanted in tags.items():
        if state.rules.foresight.crowds(sensor, wanted):
            raise too_many_metrics(state.rules.name_of(sensor))
    _check_growth(state, state.forecast(), state.forecast(retagged=tags))


def check_joining(state: TenantState, joining: int) -> None:
    """The same of sensors that are to be added, and take so many bytes at least."""
    after = state.held_bytes + joining
    if after > state.most_bytes:
        raise Conflict(
            "The windows and states of this tenant's rules, with these sensors, would take "
            f"{mib(after)}, and may take {mib(state.most_bytes)}. "
            f"{cures(after, state.waiting_bytes).capitalize()}, or ask for more "
            "(ATALAIA_TENANT_MEMORY).",
            code="too_much_memory",
        )


def too_many_metrics(sensor: str, rule: str | None = None) -> Conflict:
    """rule: the one that would be too many, where it is not clear."""
    cause = "" if rule is None else f'With the rule "{rule}", the'
    return Conflict(
        f'{cause or "The"} rules that watch the sensor "{sensor}" would look at more than '
        f"{MAX_METRICS} of its metrics; let one of them watch fewer sensors or metrics first.",
        code="too_many_metrics",
    )


def check_lateness(state: TenantState, sensor: SensorNo | None, lateness_us: int | None) -> None:
    """The same of a new lateness, of a sensor or (none) of the tenant: what waits takes memory."""
    after = state.forecast(delayed=(sensor, lateness_us))
    _check_growth(state, state.forecast(), after)


def foresee(state: TenantState, rules: Sequence[StoredRule], specs: Sequence[RuleSpec]) -> Outlook:
    """What these rules would do together, each in the place of its namesake among `rules`."""
    numbers = {rule.name: rule.rule_no for rule in rules}
    new = [
        ActiveRule(numbers.get(spec.name, RuleNo(-n)), UUID(int=n), 1, spec)
        for n, spec in enumerate(specs, start=1)
    ]
    refusals = []
    coming = Plan(new)
    crowded = state.rules.foresight.crowded(AS_IT_IS, coming)
    if crowded is not None:
        refusals.append(too_many_metrics(crowded[1], crowded[0]))
    now, after = state.forecast(), state.forecast(coming)
    try:
        _check_growth(state, now, after)
    except Conflict as error:
        refusals.append(error)
    return Outlook(round(now.total), round(after.total), state.most_bytes, refusals)


def _check_growth(state: TenantState, now: Forecast, after: Forecast) -> None:
    """Raises Conflict; whoever holds too much already may make it less, step by step."""
    if after.total <= now.total or (after.total <= state.most_bytes and not state.is_full):
        return
    cure = cures(after.total, after.waiting).capitalize()
    raise Conflict(
        "The windows of this tenant's rules, and the readings that wait for their lateness, would "
        f"take {mib(after.total)}, and may take {mib(state.most_bytes)}. Most of it: {after}. "
        f"{cure}, or ask for more (ATALAIA_TENANT_MEMORY).",
        code="too_much_memory",
    )


def _write(rule: StoredRule, spec: RuleSpec) -> RuleWrite:
    return RuleWrite(rule, waits=spec.silence is not None)


def _find(rules: Sequence[StoredRule], rule_id: UUID, only: Condition) -> StoredRule:
    for rule in rules:
        if rule.rule_id == rule_id:
            only.check(rule.tag)
            return rule
    raise NotFound("There is no rule with this id.")


def _check_name(rules: Sequence[StoredRule], name: str, own: UUID | None) -> None:
    if any(rule.name == name and rule.rule_id != own for rule in rules):
        raise Conflict(
            f'A rule named "{name}" exists; replace it, or choose another name.', code="name_taken"
        )
