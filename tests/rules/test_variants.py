"""Sweeps: the same rule with other numbers."""

import pytest

from atalaia.model.errors import Invalid
from atalaia.rules.language import parse_rule
from atalaia.rules.variants import find_threshold, make_variants

MINUTE = 60_000_000


def rule(condition: str) -> str:
    return f"rule r on sensors when {condition} for 2m clear when t < 3"


@pytest.mark.parametrize(
    ("condition", "threshold"),
    [
        ("avg(t, 5m) > 30", 30.0),
        ("30 <= avg(t, 5m)", 30.0),
        ("not (t > -5)", -5.0),
        ("abs(t - u) * 2 > 5", 5.0),
        ("t > u or u > 7", 7.0),
        ("t > u", None),
        ("t > 1 and u > 2", None),
    ],
)
def test_the_threshold_is_the_one_number_compared(condition: str, threshold: float | None) -> None:
    """A number inside arithmetic is none; two are none."""
    assert find_threshold(parse_rule(rule(condition)).when) == threshold


def test_a_sweep_is_every_combination_and_the_rule_as_written_first() -> None:
    """Each judges as its text would; none comes twice."""
    spec = parse_rule(rule("5 < abs(t - 2)"))
    found = make_variants(spec, [MINUTE, 2 * MINUTE], [5.0, -1.5])
    assert [(v.holds, v.threshold, v.as_written) for v in found] == [
        ("2m", 5.0, True), ("1m", 5.0, False), ("1m", -1.5, False), ("2m", -1.5, False),
    ]  # fmt: skip
    texts = [
        rule("5 < abs(t - 2)"), rule("5 < abs(t - 2)").replace("2m", "1m"),
        rule("-1.5 < abs(t - 2)").replace("2m", "1m"), rule("-1.5 < abs(t - 2)"),
    ]  # fmt: skip
    assert [v.spec.condition_key for v in found] == [parse_rule(x).condition_key for x in texts]


def test_a_rule_by_itself_is_one_variant() -> None:
    """Nothing swept."""
    (only,) = make_variants(parse_rule(rule("t > 1 and u > 2")), [], [])
    assert (only.as_written, only.threshold) == (True, None)


@pytest.mark.parametrize(
    ("condition", "holds", "thresholds", "words"),
    [
        ("t > 1 and u > 2", 0, 1, "compares with 2"),
        ("t > u", 0, 1, "compares with none"),
        ("t > 1", 5, 10, "50 variants"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_said(
    condition: str, holds: int, thresholds: int, words: str
) -> None:
    """With what would be needed."""
    with pytest.raises(Invalid, match=words):
        make_variants(
            parse_rule(rule(condition)),
            [n * MINUTE for n in range(3, 3 + holds)],
            [float(n) for n in range(2, 2 + thresholds)],
        )
