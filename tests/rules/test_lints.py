"""Lints: each oddity is found at its place, and nothing is said of rules that can be meant."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.batch import SENSOR_NAME
from atalaia.rules.language import parse_rule, parse_rules
from atalaia.rules.lints import Lint, Surroundings, find_lints, show
from atalaia.rules.regions import TOO_MANY, cases
from atalaia.rules.syntax import Aggregate, Binary, Node, Number, Silence, Unary
from atalaia.wire.rows import check_name
from tests.rules.streams import rule_texts

AROUND = Surroundings(retention_us=86_400_000_000, interval_us=10_000_000)


def lints(text: str, around: Surroundings | None = None) -> list[Lint]:
    """All lints of a text, the rule's head put before it where there is none."""
    if not text.startswith("rule"):
        text = f"rule x on sensors\n {text}"
    found = find_lints(text, parse_rules(text), around or Surroundings())
    return [lint for mine in found for lint in mine]


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "words"),
    [
        ("when count(t, 5m) < 0", "never_true", 2, 7, "`count(t, 5m) < 0` never holds"),
        ("when t > 1 and stddev(t, 5m) >= 0", "always_true", 2, 17, "always holds"),
        ("when t > 1 or -abs(t) > 2", "never_true", 2, 16, "`-abs(last(t, 5m)) > 2`"),
        ("when t > 1 and mad(t, 5m) < 0", "never_true", 2, 17, "mad(t, 5m)"),
        ("when t > 1 and 1 > 3", "never_true", 2, 17, "`1 > 3`"),
        ("when max(t, 5m) - max(t, 5m) < 0 or t > 2 - 1 and t < t", "never_true", 2, 52, "t"),
        ("when t > 30 and not t >= 20", "never_fires", 2, 7, "contradicts itself"),
        ("when t > 30 or t <= 35", "always_fires", 2, 7, "whatever the readings are"),
        ("when t > 3\n clear when t < 1 and t > 2", "never_clears", 3, 13, "open for ever"),
        ("when t > 30\n clear when t < 35", "clear_overlaps", 3, 13,
         "`last(t, 5m) > 30 and < 35`"),
        ("when t >= 30\n clear when t <= 30", "clear_overlaps", 3, 13, "`last(t, 5m)` is 30"),
        ("when t > 30 and h > 8\n clear when 3 > h or t < 31", "clear_overlaps", 3, 13, "> 30"),
        ("when t > 30\n clear when d < 1", "clear_overlaps", 3, 13, "`last(d, 5m) < 1`"),
        ("when t > 30\n severity info, critical when t < 20", "level_never", 3, 31, "critical"),
        ("when t > 30 clear when t < 27\n severity info, warning when t < 20", "level_never", 3, 30,
         "No open alert can be warning"),
        ("when t > 30\n severity warning, critical when t > 25", "level_always", 3, 34,
         "leave out warning"),
        ("when t > 30\n severity info, warning when t > 40, critical when t > 35", "level_hidden",
         3, 30, "that of critical holds too"),
        ("when t > 3\n for 0s", "hold_without_effect", 3, 2, "no effect"),
        ("when t > 3 clear when t < 1\n for 0s", "hold_without_effect", 3, 2, "no effect"),
    ],
)  # fmt: skip
def test_an_oddity_is_found(text: str, code: str, line: int, column: int, words: str) -> None:
    """One lint, at the place to mend, with words that say what is odd."""
    (lint,) = lints(text)
    assert (lint.code, lint.line, lint.column) == (code, line, column)
    assert words in lint.message


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("when avg(t, 2d) > 3", "window_beyond_retention", 2, 7),
        ("when anomaly(t, 1h, season 23h)", "window_beyond_retention", 2, 7),
        ("when avg(t, 1m) > 3\n for 5s", "hold_below_interval", 3, 2),
        ("when avg(t, 1m) > 3 clear when avg(t, 1m) < 2\n for 5s", "hold_below_interval", 3, 2),
        ("when avg(t, 5s) > 3\n for 1m", "hold_never_passes", 3, 2),
        ("when t > 3 and rate(t, 10s) > 2", "window_below_interval", 2, 17),
        ("when anomaly(t, 80s)", "window_below_interval", 2, 7),
    ],
)
def test_what_depends_on_the_service_needs_it_known(
    text: str, code: str, line: int, column: int
) -> None:
    """Retention and the sampling interval: said when they are given, and only then."""
    (lint,) = lints(text, AROUND)
    assert (lint.code, lint.line, lint.column) == (code, line, column)
    assert lints(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "when avg(t, 5m) > 30 for 2m clear when avg(t, 5m) < 27 for 1m"
        " severity warning, critical when avg(t, 5m) > 40",
        "when t > 30 clear when t <= 30 for 5m",
        "when t > 30 and h > 80 clear when t < 27",
        "when t > 30 or h > 80 clear when t < 27 and h < 70",
        "when avg(t, 5m) > 30 clear when last(t, 5m) < 32",  # a window may lag on purpose
        "when avg(t, 5m) > 30 clear when avg(t, 1m) < 35",
        "when t > 30 clear when t < 25 severity info, warning when t > 28, critical when t > 40",
        "when t > 30 clear when t < 25 for 1m severity info, warning when t < 20",
        "when t > 30 severity info, warning when h > 2, critical when h > 5",
        "when count(t, 5m) < 1 clear when count(t, 5m) >= 1",
        "when abs(t - u) * 2 > 5 and t / u < 3",
        "when not (t > 1 and t < 2)",
        "when anomaly(t, 1h) and mad(t, 1h) > 0 for 1m during weekdays 08:00-18:00 UTC",
        "when t > 3 and t < 2 severity info, warning when t > 0 on no data alert",
        "when quantile(t, 0.9, 5m) > 3 clear when quantile(t, 0.5, 5m) < 4",
        "when t > u clear when t < u",
        "when " + " or ".join(f"(t > {n} and t < {n}.5)" for n in range(20)),
    ],
)
def test_rules_that_can_be_meant_have_no_lints(text: str) -> None:
    """Not even with everything known."""
    assert lints(text, Surroundings(retention_us=86_400_000_000, interval_us=1_000_000)) == []


def test_a_twin_of_another_rule_is_found() -> None:
    """In the text and among the tenant's; not its own older self."""
    text = "rule a on sensors when t > 1\nrule b on sensors when (t > 1.0) severity info"
    (lint,) = lints(text)
    assert (lint.code, lint.line) == ("duplicate_rule", 2)
    assert '"a"' in lint.message
    others = {"a": parse_rule("rule a on sensors when t > 1")}
    (lint,) = lints("rule c on sensors when t > 1", Surroundings(others=others))
    assert '"a"' in lint.message
    assert lints("rule a on sensors when t > 1", Surroundings(others=others)) == []


def test_a_selector_without_sensors_is_found() -> None:
    """Where the number is known."""
    text = 'rule a on\n sensors "x*" when t > 1'
    (lint,) = lints(text, Surroundings(matches={"a": 0}))
    assert (lint.code, lint.line, lint.column) == ("no_sensors", 2, 2)
    assert lints(text, Surroundings(matches={"a": 1})) == []


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ('sensor "a b"', 'No sensor can be named "a b"'),
        ('sensors "a b*"', 'No sensor can be named "a b*"'),
        ('sensor ""', "1 to 128"),
        ('sensor "porto-*"', 'a pattern is written sensors "porto-*"'),
        (f'sensors "{"a" * 129}*"', "1 to 128"),
    ],
)
def test_a_name_that_no_sensor_can_have_is_found(selector: str, words: str) -> None:
    """Whatever is known of the tenant; it says more than that there is none now."""
    text = f"rule a on\n {selector} when t > 1"
    (lint,) = lints(text, Surroundings(matches={"a": 0}))
    assert (lint.code, lint.line, lint.column) == ("impossible_name", 2, 2)
    assert words in lint.message


@given(st.from_regex(SENSOR_NAME, fullmatch=True), st.sampled_from(("sensor", "sensors")))
def test_a_name_that_a_sensor_can_have_is_no_lint(name: str, kind: str) -> None:
    """Nor is it as a pattern, with any part of it left open."""
    assert check_name(name, "x") is None
    assert lints(f'rule a on {kind} "{name}" when t > 1', Surroundings()) == []
    for pattern in ("*", f"{name}*", f"*{name[1:]}", f"?{name[1:]}"):
        assert lints(f'rule a on sensors "{pattern}" when t > 1', Surroundings()) == []


@given(st.data())
def test_every_rule_can_be_linted(data: st.DataObject) -> None:
    """No rule of the language makes a lint fail, and places lie within the text."""
    text = "\n".join(data.draw(rule_texts(name)) for name in ("p", "q"))
    for lint in lints(text, AROUND):
        assert 1 <= lint.line <= 2
        assert lint.message.endswith(".")


METRICS = tuple(
    Aggregate(function, metric, 60_000_000)
    for function, metric in (("last", "a"), ("count", "b"), ("stddev", "c"))
)
numbers: st.SearchStrategy[Node] = st.recursive(
    st.sampled_from([*METRICS, *(Number(n) for n in (0.0, 1.0, 2.5, 3.0))]),
    lambda inner: (
        st.builds(Binary, st.sampled_from("+-*/"), inner, inner)
        | st.builds(Unary, st.sampled_from(["neg", "abs"]), inner)
    ),
    max_leaves=3,
)
conditions: st.SearchStrategy[Node] = st.recursive(
    st.builds(Binary, st.sampled_from(["<", "<=", ">", ">="]), numbers, numbers),
    lambda inner: (
        st.builds(Binary, st.sampled_from(["and", "or"]), inner, inner)
        | st.builds(Unary, st.just("not"), inner)
    ),
    max_leaves=6,
)
readings = st.tuples(
    st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.5, 1e300]),
    st.sampled_from([0.0, 1.0, 3.0]),
    st.sampled_from([0.0, 0.5, 2.5]),
).map(lambda values: dict(zip(METRICS, values, strict=True)))


def value_of(node: Node, values: Mapping[Aggregate, float]) -> float:
    """A number or a truth (1, 0), unknown being NaN; nothing of the engine is shared."""
    assert not isinstance(node, Silence)
    match node:
        case Number(value):
            return value
        case Aggregate():
            return values[node]
        case Unary(op, operand):
            x = value_of(operand, values)
            return {"neg": -x, "abs": abs(x), "not": 1 - x}[op]
        case Binary(op, left, right):
            a, b = value_of(left, values), value_of(right, values)
            if op in ("and", "or"):
                decided = 0.0 if op == "and" else 1.0
                return decided if decided in (a, b) else a + b - a * b if op == "or" else a * b
            if op == "/":
                return a / b if b else math.nan
            if math.isnan(a) or math.isnan(b):
                return math.nan
            return {
                "+": a + b, "-": a - b, "*": a * b,
                "<": float(a < b), "<=": float(a <= b), ">": float(a > b), ">=": float(a >= b),
            }[op]  # fmt: skip


@given(conditions, readings)
def test_what_is_called_impossible_never_happens(
    condition: Node, values: Mapping[Aggregate, float]
) -> None:
    """Whatever holds lies in one of the cases, for the condition and for its contrary."""
    truth = value_of(condition, values)
    for wanted in (1.0, 0.0):
        if truth == wanted:
            found = cases(condition, holds=wanted == 1.0)
            assert found == TOO_MANY or any(
                all(
                    interval.low <= value_of(node, values) <= interval.high
                    for node, interval in case.items()
                )
                for case in found
            )


@given(conditions)
def test_a_condition_is_shown_as_it_is_read(condition: Node) -> None:
    """What a message quotes parses to the same condition."""
    text = show(condition)
    again = parse_rule(f"rule x on sensors when ({text}) and last(z, 1m) > 1").when
    assert isinstance(again, Binary)
    assert show(again.left) == text
