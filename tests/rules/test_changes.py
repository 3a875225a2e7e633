"""Plans: from the rules that there are to those of a file, in an order that may break off."""

from collections.abc import Sequence
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import Conflict
from atalaia.model.ids import Micros, RuleNo
from atalaia.model.rule import StoredRule
from atalaia.rules.changes import Change, plan_changes
from atalaia.rules.rulefile import FileRule
from atalaia.rules.steps import finish


def stored(name: str, limit: int = 1, *, enabled: bool = True, end: str = "") -> StoredRule:
    text = f"rule {name} on sensors when t > {limit}{end}"
    no = sum(name.encode())
    return StoredRule(
        rule_no=RuleNo(no), rule_id=UUID(int=no), name=name, text=text, version=1, revision=1,
        enabled=enabled, active_from=Micros(0), created_at=Micros(0), updated_at=Micros(0),
    )  # fmt: skip


def wanted(name: str, limit: int = 1, *, enabled: bool = True, end: str = "") -> FileRule:
    return FileRule(name, f"rule {name} on sensors when t > {limit}{end}", enabled)


def plan(
    current: Sequence[StoredRule], file: Sequence[FileRule], *, prune: bool, most: int
) -> list[Change]:
    return finish(plan_changes(current, file, prune=prune, most=most))


def steps(changes: Sequence[Change]) -> list[tuple[str, str, bool]]:
    return [(change.action, change.name, change.closes_alerts) for change in changes]


def test_each_kind_of_change() -> None:
    """By name; what closes alerts is said; rules that the file lacks stay without prune."""
    current = [stored("g"), stored("f"), stored("e", enabled=False), stored("d"), stored("c"),
               stored("b")]  # fmt: skip
    file = [wanted("f", enabled=False), wanted("e", 2), wanted("d", end=" # why"), wanted("c", 2),
            wanted("b", end="\n"), wanted("a")]  # fmt: skip
    kept = plan(current, file, prune=False, most=9)
    assert steps(kept) == [
        ("create", "a", False), ("unchanged", "b", False), ("replace", "c", True),
        ("replace", "d", False), ("replace", "e", False), ("enable", "e", False),
        ("disable", "f", True),
    ]  # fmt: skip
    pruned = plan(current, file, prune=True, most=9)
    assert steps(pruned) == [*steps(kept), ("delete", "g", True)]
    assert kept[2].diff.split("\n") == [
        "--- server", "+++ file", "@@ -1 +1 @@",
        "-rule c on sensors when t > 1", "+rule c on sensors when t > 2",
    ]  # fmt: skip


def test_a_rule_out_of_service_never_judges_by_its_new_text() -> None:
    """Disabled first, enabled last."""
    off = plan([stored("a")], [wanted("a", 2, enabled=False)], prune=False, most=9)
    assert steps(off) == [("disable", "a", True), ("replace", "a", False)]


def test_new_rules_come_first_unless_there_is_no_room() -> None:
    """A tenant at its limit can still rename its rules; beyond it nothing is begun."""
    current = [stored("a"), stored("b")]
    roomy = plan(current, [wanted("c")], prune=True, most=3)
    assert [change.action for change in roomy] == ["create", "delete", "delete"]
    tight = plan(current, [wanted("c")], prune=True, most=2)
    assert [change.action for change in tight] == ["delete", "delete", "create"]
    with pytest.raises(Conflict):
        plan(current, [wanted("c")], prune=False, most=2)


def test_a_tenant_beyond_its_limit_may_still_change_and_delete() -> None:
    """What it has stays, when the limit is lowered; nothing is made or comes back into service."""
    current = [stored("a"), stored("b"), stored("c", enabled=False)]
    file = [wanted("a", 2), wanted("b", enabled=False), wanted("c", enabled=False)]
    changes = plan(current, file, prune=False, most=1)
    assert [change.action for change in changes] == ["replace", "disable", "unchanged"]
    with pytest.raises(Conflict) as caught:
        plan(current, [wanted("c")], prune=False, most=1)
    assert caught.value.code == "too_many_rules"


rules = st.lists(
    st.builds(
        wanted, st.sampled_from("abcd"), st.integers(1, 2),
        enabled=st.booleans(), end=st.sampled_from(["", "\n"]),
    ),
    unique_by=lambda rule: rule.name,
)  # fmt: skip


@given(rules, rules, st.booleans())
def test_a_plan_leads_where_the_file_says(
    before: list[FileRule], file: list[FileRule], prune: bool
) -> None:
    """Carried out, nothing is left to do; broken off anywhere, what is left is planned anew."""
    current = {
        rule.name: attrs.evolve(stored(rule.name), text=rule.text, enabled=rule.enabled)
        for rule in before
    }
    rest = plan(list(current.values()), file, prune=prune, most=9)
    while todo := [change for change in rest if change.action != "unchanged"]:
        _carry_out(todo[0], current)
        rest = plan(list(current.values()), file, prune=prune, most=9)
        left = [change for change in rest if change.action != "unchanged"]
        assert [(c.action, c.name) for c in left] == [(c.action, c.name) for c in todo[1:]]
    expected = {rule.name: (rule.text.strip(), rule.enabled) for rule in file}
    found = {rule.name: (rule.text.strip(), rule.enabled) for rule in current.values()}
    assert found | expected == found
    assert not prune or found == expected


def _carry_out(change: Change, rules: dict[str, StoredRule]) -> None:
    if change.action == "create":
        new = stored(change.name)
        rules[change.name] = attrs.evolve(new, text=change.text, enabled=change.enabled)
    elif change.action == "delete":
        del rules[change.name]
    elif change.action == "replace":
        rules[change.name] = attrs.evolve(rules[change.name], text=change.text)
    else:
        on = change.action == "enable"
        rules[change.name] = attrs.evolve(rules[change.name], enabled=on)
