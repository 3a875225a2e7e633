"""Which rules watch a sensor is found as by asking each of them, with fewer questions."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.ids import RuleNo
from atalaia.rules.language import parse_rule
from atalaia.rules.program import ActiveRule
from atalaia.rules.selecting import Selectors
from atalaia.rules.syntax import RuleSpec, Selector, TagTest

TEXTS = st.text("ab*?", max_size=4)
NAMES = st.text("ab", max_size=5)
TESTS = st.lists(st.builds(TagTest, st.sampled_from("kl"), TEXTS, st.booleans()), max_size=2).map(
    tuple
)


JUDGING, SILENCE = (parse_rule(f"rule r on sensors when {x}") for x in ("x > 1", "no data for 5m"))


def selectors(some: Sequence[tuple[Selector, RuleSpec]]) -> Selectors:
    return Selectors([
        ActiveRule(RuleNo(n), UUID(int=n), 1, attrs.evolve(spec, selector=selector))
        for n, (selector, spec) in enumerate(some)
    ])  # fmt: skip


@given(
    st.lists(
        st.tuples(
            st.builds(Selector, st.none() | TEXTS, st.booleans(), TESTS),
            st.sampled_from([JUDGING, SILENCE]),
        ),
        max_size=12,
    ),
    st.lists(st.tuples(NAMES, st.dictionaries(st.sampled_from(["k", "l", "m"]), NAMES)),
             max_size=6),
)  # fmt: skip
def test_the_rules_of_a_sensor_are_those_whose_selectors_match(
    some: list[tuple[Selector, RuleSpec]], sensors: list[tuple[str, dict[str, str]]]
) -> None:
    """In their order, those of silence apart; the same object for the same rules."""
    all_of_them = selectors(some)
    by_rules: dict[tuple[int, ...], int] = {}
    for name, tags in sensors:
        found = all_of_them.find(name, tags)
        expected = [r for r in all_of_them.rules if r.spec.selector.matches(name, tags)]
        assert list(found.judging) == [r for r in expected if r.spec.silence is None]
        assert list(found.silence) == [r for r in expected if r.spec.silence is not None]
        key = tuple(rule.rule_no for rule in expected)
        assert by_rules.setdefault(key, id(found)) == id(found)


@pytest.mark.parametrize(
    "on",
    [
        lambda n: Selector(f"s{n}-1", True),
        lambda n: Selector(f"s{n}-*"),
        lambda n: Selector(None, False, (TagTest("k", f"v{n}", True), TagTest("l", "*", False))),
        lambda n: Selector(None, False, (TagTest("k", f"v{n}*", False), TagTest("l", "*", False))),
        lambda n: Selector("s*", False, (TagTest("k", f"v{n}", True),)),
        lambda n: Selector(f"s{n}-1", True, (TagTest("l", "w", True),)),
    ],
)
def test_few_selectors_are_asked(
    on: Callable[[int], Selector], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand rules that each watch a few sensors, not a thousand per sensor."""
    asked = 0
    matches = Selector.matches

    def counting(self: Selector, sensor: str, tags: Mapping[str, str]) -> bool:
        nonlocal asked
        asked += 1
        return matches(self, sensor, tags)

    monkeypatch.setattr(Selector, "matches", counting)
    all_of_them = selectors([(on(n), JUDGING) for n in range(1_000, 2_000)])
    for n in range(1_000, 2_000):
        assert len(all_of_them.find(f"s{n}-1", {"k": f"v{n}", "l": "w"}).judging) == 1
    assert asked <= 4_000
