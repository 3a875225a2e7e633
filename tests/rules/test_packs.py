"""The packs: every one is understood at every pace, and opens on what it names."""

import pytest

from atalaia.model.errors import Invalid
from atalaia.rules.language import parse_rules
from atalaia.rules.packs import KINDS, pack
from tests.rules.streams import build, feed

SECOND_US = 1_000_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every_s", [1, 7, 60, 300, 3600])
def test_every_pack_is_a_set_of_rules_at_every_pace(kind: str, every_s: int) -> None:
    """With silence among them, over the metric that was named."""
    text = pack(kind, metric="plant/x", every_us=every_s * SECOND_US, where='on group "pumps"')
    rules = parse_rules(text)
    assert sum(rule.silence is not None for rule in rules) == 1
    assert {metric for rule in rules for metric in rule.metrics} == {"plant/x"}
    assert all(rule.selector.matches("s", {"group": "pumps"}) for rule in rules)


def opened(kind: str, values: list[float]) -> set[str]:
    """The rules of a pack that open on readings a minute apart."""
    rules = parse_rules(pack(kind, metric="a", every_us=60 * SECOND_US))
    found = feed(
        build([rule.text for rule in rules]),
        [[("a", n * 60 * SECOND_US, value)] for n, value in enumerate(values)],
    )
    return {rules[step.rule_no - 1].name for step in found if step.kind == "opened"}


CALM = [20.0 + (n * 7 % 11) / 10 for n in range(200)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_calm_sensor_opens_nothing(kind: str) -> None:
    """A small saw tooth around 20."""
    assert opened(kind, [50 + value for value in CALM]) == set()


@pytest.mark.parametrize(
    ("kind", "values", "rule"),
    [
        ("generic", [*CALM, *[40.0 + n % 3 for n in range(10)]], "a-unusual"),
        ("generic", [*CALM, *[20.0] * 70], "a-stuck"),
        ("humidity", [*CALM, 104.0], "a-impossible"),
        ("level", [*CALM, *[12.0] * 10], "a-low"),
        ("battery", [19.0], "a-low"),
        ("battery", [90 - n / 30 for n in range(100)], "a-drains"),
        ("flow", [*CALM, *[0.0] * 20], "a-stopped"),
        ("vibration", [*CALM, *[90.0 + n % 5 for n in range(20)]], "a-rough"),
        ("pressure", [*CALM, *[9.0 - n / 2 for n in range(8)]], "a-falls"),
        ("current", [*CALM, *[60.0 + n % 3 for n in range(10)]], "a-unusual"),
    ],
)
def test_a_pack_opens_on_what_it_names(kind: str, values: list[float], rule: str) -> None:
    """And one wild reading alone is not enough for what must last."""
    assert rule in opened(kind, values)
    assert opened("generic", [*CALM, 900.0, *CALM]) == set()


def test_what_is_no_pack_is_said() -> None:
    """Kinds and intervals."""
    with pytest.raises(Invalid, match="temperature"):
        pack("mood", metric="x", every_us=1)
    with pytest.raises(Invalid, match="6 hours"):
        pack("generic", metric="x", every_us=90_000 * SECOND_US)
