"""From the rules that there are to those of a file: what is to be done, rule by rule. Pure.

A rule is known by its name. The plan of a file that has been applied holds nothing but
`unchanged`, so that applying it again does no harm.
"""

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from typing import Literal
from uuid import UUID

import attrs

from atalaia.model.errors import Conflict
from atalaia.model.rule import StoredRule
from atalaia.rules.language import parse_rule
from atalaia.rules.rulefile import FileRule
from atalaia.rules.steps import Steps

Action = Literal["create", "replace", "enable", "disable", "delete", "unchanged"]


@attrs.frozen
class Change:
    """One edit. rule_id is None for a rule to be made; text, enabled: as it is to be.

    closes_alerts: whether open alerts of the rule end. diff: from the old text to the new one.
    """

    action: Action
    name: str
    rule_id: UUID | None
    text: str
    enabled: bool
    closes_alerts: bool = False
    diff: str = ""


def plan_changes(
    current: Sequence[StoredRule], wanted: Sequence[FileRule], *, prune: bool, most: int
) -> Steps[list[Change]]:
    """The edits in the order in which they are to be made: by name, deletions last. In steps of a
    rule: to compare two long texts takes its time.

    prune: whether rules that the file lacks are deleted. Raises Conflict when more than `most`
    rules would stand and some are made or come back into service.
    """
    stored = {rule.name: rule for rule in current}
    names = {rule.name for rule in wanted}
    made: list[Change] = []
    for new in sorted(wanted, key=lambda rule: rule.name):
        made += _plan_rule(stored.get(new.name), new)
        yield
    gone = [
        Change(
            "delete", rule.name, rule.rule_id, rule.text, False, rule.enabled, _diff(rule.text, "")
        )
        for rule in sorted(current, key=lambda rule: rule.name)
        if prune and rule.name not in names
    ]
    created = sum(change.action == "create" for change in made)
    if created or any(change.action == "enable" for change in made):
        check_count(len(current) + created - len(gone), most)
    # New rules watch before old ones go, unless there is no room for both.
    return [*made, *gone] if len(current) + created <= most else [*gone, *made]


def check_count(rules: int, most: int) -> None:
    """Raises Conflict for more than a tenant may have."""
    if rules > most:
        raise Conflict(
            f"This tenant may have {most:,} rules; delete one first, or ask for more room.",
            code="too_many_rules",
        )


def _plan_rule(old: StoredRule | None, new: FileRule) -> Iterator[Change]:
    if old is None:
        yield Change("create", new.name, None, new.text, new.enabled, diff=_diff("", new.text))
        return
    differs = old.text.strip() != new.text.strip()  # YAML's ways to end a text are many
    # A rule that goes out of service does not judge by its new text first, and one that comes
    # back does not by its old one.
    if old.enabled and not new.enabled:
        yield Change("disable", new.name, old.rule_id, old.text, False, True)
    if differs:
        judged = parse_rule(old.text).condition_key != parse_rule(new.text).condition_key
        closes = judged and old.enabled and new.enabled
        diff = _diff(old.text, new.text)
        yield Change("replace", new.name, old.rule_id, new.text, new.enabled, closes, diff)
    if new.enabled and not old.enabled:
        yield Change("enable", new.name, old.rule_id, new.text, True)
    if not differs and old.enabled == new.enabled:
        yield Change("unchanged", new.name, old.rule_id, old.text, old.enabled)


def _diff(old: str, new: str) -> str:
    lines = unified_diff(
        old.strip().splitlines(), new.strip().splitlines(), "server", "file", lineterm=""
    )
    return "\n".join(lines)
