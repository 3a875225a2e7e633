"""Units in rules: what is refused, what is only said, and that nothing is judged by them."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import RuleInvalid
from atalaia.rules.language import parse_rule, parse_rules
from atalaia.rules.lints import Lint
from atalaia.rules.unit_check import check_units
from atalaia.rules.units import Unit, parse_unit

UNITS = {
    "temperature": "°C", "outside": "°F", "kelvin": "K", "pressure": "bar", "speed": "mm/s",
    "humidity": "%", "turbidity": "NTU", "flow": "m³/h", "length": "m", "gain": "dB",
}  # fmt: skip


def check(condition: str, units: dict[str, str] | None = None) -> list[Lint]:
    text = f"rule r on sensors when {condition}"
    (lints,) = check_units(text, parse_rules(text), UNITS if units is None else units)
    return list(lints)


def refused(condition: str, units: dict[str, str] | None = None) -> RuleInvalid:
    with pytest.raises(RuleInvalid) as caught:
        check(condition, units)
    return caught.value


@pytest.mark.parametrize(
    "condition",
    [
        "avg(temperature, 5m) > 30 °C",
        "avg(temperature, 5m) > 30°C and humidity > 85% and speed > 7.1mm/s",
        "avg(temperature, 5m) > 30 degC clear when temperature < -5 °C",
        "rate(pressure, 5m) > 0.2 bar/s or rate(temperature, 5m) > 1 °C/s",
        "delta(temperature, 5m) > 5 K and stddev(temperature, 5m) < 2 °C",
        "abs(temperature - 20 °C) > 5 K",
        "quantile(speed, 0.95, 5m) > 7 mm/s",
        'turbidity > 30 NTU and turbidity < 300 "NTU"',
        'flow > 20 m3/h and flow < 30 "m³/h"',
        "gain > 3 dB",
        "avg(temperature, 5m) - min(temperature, 1h) > 5 °C",
        "avg(temperature, 5m) / avg(temperature, 1h) > 1.2",
        "2 * avg(pressure, 5m) + 1 bar > 7 bar",
        "pressure * speed > 3 bar*mm/s",
        "length / rate(length, 5m) < 60 s",
        "temperature > 30 and pressure > 2 and count(temperature, 5m) > 5",
        "anomaly(temperature, 1h) and zscore(pressure, 1h) > 3",
        "temperature > other and temperature - other > 3",
    ],
)
def test_units_that_fit_say_nothing(condition: str) -> None:
    """Numbers without a unit go with everything."""
    assert check(condition) == []


@pytest.mark.parametrize(
    ("condition", "column", "words"),
    [
        ("temperature > 86 °F", 15, "temperature is measured in °C; write 30 °C for 86 °F."),
        ("temperature > -40 °F", 15, "write -40 °C for -40 °F"),
        ("300 K < avg(temperature, 5m)", 1, "write 26.85 °C for 300 K"),
        ("delta(temperature, 5m) > 9 °F", 26, "is in °C; write 5 °C for 9 °F."),
        ("temperature - outside > 3", 15, "temperature is in °C and outside in °F: they cannot"),
        ("temperature > kelvin", 15, "Bring both to one unit"),
        ("pressure > temperature", 12, "cannot be compared."),
        ("temperature + pressure > 3", 15, "cannot be added."),
        ("temperature > 3 bar", 15, "temperature is measured in °C, which 3 bar is not."),
        ("rate(temperature, 5m) > 1 °C", 25, "is in °C/s, which 1 °C is not."),
        ("rate(temperature, 5m) > 60 °C/h", 25, "write 0.0166667 °C/s for 60 °C/h."),
        ("speed > 1 m/min", 9, "write 16.6667 mm/s for 1 m/min"),
        ("count(temperature, 5m) > 5 °C", 26, "is a number without a unit; drop °C."),
        ("zscore(temperature, 5m) > 3 °C", 27, "without a unit"),
        ("2 * count(temperature, 5m) > 3 s", 30, "without a unit"),
        ("count(speed, 1m) > speed", 1, "without a unit, speed is in mm/s"),
        ("avg(temperature, 5m) / avg(temperature, 1h) > 2 °C", 47, "without a unit"),
        ("quantile(speed, 0.95 mm, 5m) > 7", 17, "A share has no unit"),
        ("turbidity > 3 FNU", 13, '"FNU" is no unit known here'),
        ('turbidity > 3 "FNU"', 13, "turbidity is measured in NTU, which"),
        ("temperature > 3 foo", 15, '"foo" is no unit known here'),
        (f'temperature > 3 "{"x" * 33}"', 15, "1 to 32 characters"),
        ("flow > 400 L/min", 8, "write 24 m³/h for 400 L/min"),
        ("length > 3 °C", 10, "which 3 °C is not"),
        ("abs(temperature - 20 °C) > 9 °F", 28, "write 5 °C for 9 °F"),
    ],
)
def test_what_units_rule_out_is_refused(condition: str, column: int, words: str) -> None:
    """With line, column, caret, both units, and the number to write where there is one."""
    error = refused(condition)
    assert (error.line, error.column) == (1, column + len("rule r on sensors when "))
    assert words in error.detail
    assert error.caret.endswith("^")


def test_a_unit_that_nobody_has_said_is_only_a_lint() -> None:
    """Once per metric of a rule; a second unit of the same metric is refused."""
    (lint,) = check("t > 30 °C and t < 50 °C and delta(t, 5m) > 3 K", {})
    assert (lint.code, lint.column) == ("unit_unknown", 28)
    assert "PUT /v1/metrics/t" in lint.message
    assert [lint.code for lint in check("rate(p, 5m) > 1 bar/s or p > 3 bar", {})] == [
        "unit_unknown"
    ]
    assert (
        "3 bar/s and 2 psi are of two" in refused("rate(p, 5m) > 3 bar/s or p > 2 psi", {}).detail
    )
    assert "of two" in refused("t > 30 °C clear when t < 80 °F", {}).detail
    assert check("t > 30 and u > 2", {}) == []


def test_every_clause_is_looked_at() -> None:
    """And every rule of a text, with the text's own lines."""
    head = "rule a on sensors when temperature > 3\nrule b on sensors\n when temperature > 3 °C "
    for clause in ("clear when temperature < 3 bar", "severity info, critical when pressure > 3 K"):
        text = head + clause
        with pytest.raises(RuleInvalid) as caught:
            check_units(text, parse_rules(text), UNITS)
        assert caught.value.line == 3


def test_units_change_nothing_of_a_rule() -> None:
    """The same conditions: no new version, no closed alert; nothing is converted."""
    bare = parse_rule("rule r on sensors when temperature > 30 for 2m clear when p < -1")
    units = parse_rule('rule r on sensors when temperature > 30 °C for 2m clear when p < -1 "NTU"')
    assert units.condition_key == bare.condition_key
    assert (units.has_units, bare.has_units) == (True, False)


@pytest.mark.parametrize(
    ("condition", "column", "words"),
    [
        ("t > 5m", 5, '"5m" is a duration'),
        ("t > 1h30m", 5, '"1h30m" is a duration'),
        ("avg(t, 5m) > 30 foor 2m", 17, '"foor" cannot stand here but as a unit'),
        ("t > 30 avg(t, 5m)", 8, "cannot stand here"),
        ("t > 30 for 2m °C", 15, "cannot stand here"),
        ("t > 5 " + "x" * 9_000 + " 2m", 9_008, "cannot stand here"),
        ("t > 5 and " + "x" * 9_000 + "(t, 5m) > 3", 11, "…"),
        ("t > 5 severity " + "x" * 9_000, 16, "…"),
        ("t > 5 cooldown " + "9" * 9_000 + "m", 16, "…"),
        ("t > 5 during daily " + "X" * 9_000 + "/Y", 20, "…"),
    ],
)
def test_what_is_no_unit_is_pointed_at(condition: str, column: int, words: str) -> None:
    """Durations, misspelt words; what is quoted of a long text is short."""
    with pytest.raises(RuleInvalid) as caught:
        parse_rule(f"rule r on sensors when {condition}")
    assert caught.value.column == column + len("rule r on sensors when ")
    assert words in caught.value.detail
    assert len(caught.value.detail) < 400


def test_keywords_after_a_number_stay_keywords() -> None:
    """And a unit may be followed by any of them."""
    for unit in ("", " °C", "%", " mm/s", ' "NTU"'):
        rule = parse_rule(
            f"rule r on sensors when t > 30{unit} and u > 3{unit} or not v < 2{unit} for 2m "
            f"during daily UTC clear when t < 2{unit} for 1m severity info, critical when t > "
            f"5{unit} on no data clear cooldown 5m"
        )
        assert (rule.for_us, rule.cooldown_us, len(rule.levels)) == (120_000_000, 300_000_000, 2)
        parse_rule(f"rule r on sensors when (t > 3{unit}) and (u > 3{unit} or (u < 1{unit}))")
        parse_rule(f"rule r on sensors when t > 3{unit} and (u > 3{unit} and(u < 1{unit}))")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("°C", "degC"), ("m3/h", "m³/h"), ("m^3/h", "m3/h"), ("1/min", "min^-1"), ("µm", "um"),
        ("kWh", "kW*h"), ("mm/s", "m/ks"), ("L/min", "dm³/min"), ("%", "percent"), ("dB", "dB"),
    ],
)  # fmt: skip
def test_ways_to_write_a_unit(text: str, same: str) -> None:
    """What is the same is known as the same."""
    one, other = parse_unit(text), parse_unit(same)
    assert one is not None
    assert other is not None
    assert one.same(other)


@pytest.mark.parametrize(
    ("text", "other"), [("rpm", "Hz"), ("dB", "%"), ("count", "%"), ("°C/s", "°C"), ("dB", "dBm")]
)
def test_units_that_do_not_convert(text: str, other: str) -> None:
    """Turns are not cycles, whatever their dimension; decibels are only themselves."""
    one, two = parse_unit(text), parse_unit(other)
    assert one is not None
    assert two is not None
    assert not one.fits(two)


@pytest.mark.parametrize(
    "text", ["", "x" * 33, "9**9**9", "m**9", "m/", "/m", "(m)", "m m", "foo", "__import__", "m0"]
)
def test_what_is_no_unit(text: str) -> None:
    """Nothing of it is ever evaluated."""
    assert parse_unit(text) is None


@given(st.floats(-1e6, 1e6), st.sampled_from(["°C", "°F", "K"]), st.sampled_from(["°C", "°F", "K"]))
def test_conversions_go_back(value: float, one: str, other: str) -> None:
    """There and back is the same number."""
    a, b = parse_unit(one), parse_unit(other)
    assert isinstance(a, Unit)
    assert isinstance(b, Unit)
    assert b.convert(a.convert(value, b), a) == pytest.approx(value, abs=1e-6)


@given(st.text(max_size=12))
def test_any_text_is_a_unit_or_none(text: str) -> None:
    """Nothing is raised."""
    parse_unit(text)


def test_pint_is_imported_for_units_alone() -> None:
    """Rules without units, and the help of the command line, do not pay for it."""
    script = (
        "import sys; from atalaia.rules.language import parse_rules;"
        "from atalaia.rules.unit_check import check_units;"
        "t = 'rule r on sensors when t > 3'; check_units(t, parse_rules(t), {'u': 'bar'});"
        "assert 'pint' not in sys.modules; t += ' bar'; check_units(t, parse_rules(t), {});"
        "assert 'pint' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
