"""What a rule edit does: the row that will stand, and the alerts it closes. Pure.

`version` counts condition edits: they close open alerts with `rule_changed` and the new version
starts with warm windows. `revision` counts every edit; a label edit keeps state.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

import attrs

from atalaia.engine.judge import TenantState
from atalaia.engine.messages import (
    CreateRule,
    DeleteRule,
    Outlook,
    ReplaceRule,
    RuleEdit,
    SwitchRule,
)
from atalaia.model.alert import CloseReason
from atalaia.model.errors import Conflict, NotFound
from atalaia.model.ids import Micros, RuleNo, SensorNo, uuid7
from atalaia.model.rule import StoredRule
from atalaia.ports import RuleWrite
from atalaia.rules.changes import check_count
from atalaia.rules.forecast import Forecast, cures, mib
from atalaia.rules.language import parse_rule
from atalaia.rules.syntax import MAX_METRICS, RuleSpec
from atalaia.rules.tenant_state import ActiveRule, TenantRules


@attrs.frozen
class Edited:
    """The write, and why open alerts of the rule close (None: they stay)."""

    write: RuleWrite
    closes: CloseReason | None


def apply_edit(
    rules: Sequence[StoredRule], next_no: RuleNo, edit: RuleEdit, now: Micros, *, most: int
) -> Edited:
    """most: rules that the tenant may have.

    Raises RuleInvalid, NotFound, or Conflict for a name that is taken or one rule too many: to make
    one, or to bring one back into service, which a tenant with more than it may have cannot.
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
        case ReplaceRule(rule_id, text):
            rule = _find(rules, rule_id)
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
        case SwitchRule(rule_id, enabled):
            rule = _find(rules, rule_id)
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
        case DeleteRule(rule_id):
            rule = _find(rules, rule_id)
            gone = attrs.evolve(rule, enabled=False, revision=rule.revision + 1, updated_at=now)
            return Edited(RuleWrite(gone, deleted=True), "rule_deleted")


def check_metrics(state: TenantRules, rule: StoredRule) -> None:
    """Raises Conflict when a rule that judges anew would not fit beside the others of a sensor."""
    sensor = state.crowded_by(_active(rule))
    if sensor is not None:
        raise too_many_metrics(sensor)


def too_many_metrics(sensor: str, rule: str | None = None) -> Conflict:
    """rule: the one that would be too many, where it is not clear."""
    cause = "" if rule is None else f'With the rule "{rule}", the'
    return Conflict(
        f'{cause or "The"} rules that watch the sensor "{sensor}" would look at more than '
        f"{MAX_METRICS} of its metrics; let one of them watch fewer sensors or metrics first.",
        code="too_many_metrics",
    )


def check_memory(
    state: TenantState,
    *,
    rule: StoredRule | None = None,
    retagged: tuple[int, Mapping[str, str]] | None = None,
    delayed: tuple[SensorNo | None, int | None] | None = None,
) -> None:
    """Raises Conflict when the tenant would take more memory than it may, and more than now.

    rule: one that judges anew; retagged: a sensor's new tags; delayed: a new lateness.
    """
    new = [] if rule is None else [_active(rule)]
    after = state.forecast(new=new, retagged=retagged, delayed=delayed)
    _check_growth(state, state.forecast(), after)


def foresee(state: TenantState, rules: Sequence[StoredRule], specs: Sequence[RuleSpec]) -> Outlook:
    """What these rules would do together, each in the place of its namesake among `rules`."""
    numbers = {rule.name: rule.rule_no for rule in rules}
    new = [
        ActiveRule(numbers.get(spec.name, RuleNo(-n)), UUID(int=n), 1, spec)
        for n, spec in enumerate(specs, start=1)
    ]
    refusals = []
    crowded = state.rules.crowded_by_all(new)
    if crowded is not None:
        refusals.append(too_many_metrics(crowded[1], crowded[0]))
    now, after = state.forecast(), state.forecast(new=new)
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


def _active(rule: StoredRule) -> ActiveRule:
    return ActiveRule(rule.rule_no, rule.rule_id, rule.version, parse_rule(rule.text))


def _write(rule: StoredRule, spec: RuleSpec) -> RuleWrite:
    return RuleWrite(rule, waits=spec.silence is not None)


def _find(rules: Sequence[StoredRule], rule_id: UUID) -> StoredRule:
    for rule in rules:
        if rule.rule_id == rule_id:
            return rule
    raise NotFound("There is no rule with this id.")


def _check_name(rules: Sequence[StoredRule], name: str, own: UUID | None) -> None:
    if any(rule.name == name and rule.rule_id != own for rule in rules):
        raise Conflict(
            f'A rule named "{name}" exists; replace it, or choose another name.', code="name_taken"
        )
