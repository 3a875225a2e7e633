"""The rule language: what it means, and where it points when it does not understand."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import Invalid, RuleInvalid
from atalaia.rules.language import parse_rule, parse_rules, parse_selector
from atalaia.rules.syntax import Aggregate, Level, Selector, TagTest, duration_text, glob

FULL = """rule over-heating on sensors where type = "boiler" and site ~ "porto-*"
  when avg(temperature, 5m) > 30 and max("flow/RMS", 1h30m) > 80  # both
  for 2m
  clear when avg(temperature, 5m) < 27 for 1m
  severity warning, critical when avg(temperature, 5m) > 40"""


def test_a_full_rule_is_understood() -> None:
    """Every clause lands in its place."""
    spec = parse_rule(FULL)
    assert spec.name == "over-heating"
    assert spec.selector == Selector(
        tags=(TagTest("type", "boiler", exact=True), TagTest("site", "porto-*", exact=False))
    )
    assert (spec.for_us, spec.clear_for_us) == (120_000_000, 60_000_000)
    assert spec.metrics == ("temperature", "flow/RMS")
    assert [level.severity for level in spec.levels] == ["warning", "critical"]
    assert [str(a) for a in spec.aggregates] == [
        "avg(temperature, 5m)", 'max("flow/RMS", 1h30m)',
    ]  # fmt: skip
    assert spec.gap_us == 5_400_000_000


def test_every_clause_in_its_place_is_understood() -> None:
    """Scans, a group, a schedule, what no data means, a cooldown, and a bare anomaly."""
    rule = parse_rule(
        'rule odd on group "pumps" when quantile(v, 0.95, 10m) > 7 and anomaly(v, 1h) for 2m'
        " during weekdays 08:00-18:00 America/Sao_Paulo clear when median(v, 5m) < 1"
        " severity info, critical when abs(zscore(v, 1h)) > 4 on no data clear cooldown 15m"
    )
    assert rule.selector.matches("x", {"group": "pumps"})
    assert [str(aggregate) for aggregate in rule.aggregates] == [
        "quantile(v, 0.95, 10m)", "anomaly(v, 1h)", "median(v, 5m)", "zscore(v, 1h)",
    ]  # fmt: skip
    assert rule.schedule is not None
    assert (rule.schedule.days, rule.schedule.start_minute) == ((0, 1, 2, 3, 4), 480)
    assert (rule.on_no_data, rule.cooldown_us) == ("clear", 900_000_000)
    alone, spelled = (
        parse_rule(f"rule x on sensors when {condition}").when
        for condition in ("anomaly(v, 1h)", "abs(anomaly(v, 1h)) > 6")
    )
    assert alone == spelled


def test_a_season_is_understood() -> None:
    """It is part of what the aggregate is, and of its text; a metric may be called so."""
    rule = parse_rule(
        "rule x on sensors when anomaly(v, 1h, season 1d) or zscore(season, 6h, season 7d) > 4"
    )
    assert [str(aggregate) for aggregate in rule.aggregates] == [
        "anomaly(v, 1h, season 1d)", "zscore(season, 6h, season 7d)",
    ]  # fmt: skip
    hour = 3_600_000_000
    assert [a.history_us for a in rule.aggregates] == [26 * hour, 180 * hour]
    assert rule.gap_us == 6 * hour
    alone, spelled, plain = (
        parse_rule(f"rule x on sensors when {condition}").condition_key
        for condition in (
            "anomaly(v, 1h, season 1d)",
            "abs(anomaly(v, 1h, season 24h)) > 6",
            "anomaly(v, 1h)",
        )
    )
    assert alone == spelled != plain


def test_words_of_clauses_may_be_metrics() -> None:
    """Only their place makes them words of the language."""
    assert parse_rule("rule x on sensors when no > data and daily < 3").metrics == (
        "no", "data", "daily",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("rule x on sensors when " + "t > 1 and " * 100 + "t", "…", "t"),
        ("rule x on sensors when " + "t > 1 and " * 50 + "? " + "t > 1 and " * 50, "…", "…"),
        ("x" * 30_000, "x", "…"),
    ],
)
def test_a_long_line_is_shown_around_its_fault(text: str, start: str, end: str) -> None:
    """Cut where it goes on, and the caret still under the place."""
    with pytest.raises(RuleInvalid) as caught:
        parse_rule(text)
    line, mark = caught.value.caret.split("\n")
    assert (line[0], line[-1], len(line) <= 162) == (start, end, True)
    there = line[mark.index("^") :].removesuffix("…")
    assert text[caught.value.column - 1 :].startswith(there)


def test_defaults_are_plain() -> None:
    """A bare metric is its last value of 5 minutes; the severity is warning."""
    spec = parse_rule("rule x on sensors when t > 1")
    assert spec.aggregates == (Aggregate("last", "t", 300_000_000),)
    assert (spec.clear, spec.for_us, spec.levels) == (None, 0, (Level("warning", None),))


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "The text ends"),
        ("rule x", 1, 7, "which sensors"),
        ("rule x on boats when t > 3", 1, 11, '"boats" cannot stand here'),
        ("rule x on sensors when avgg(t, 5m) > 3", 1, 24, 'Did you mean "avg"'),
        ("rule x on sensors when avg(t, 5m)", 1, 24, "this is a number"),
        ("rule x on sensors when (t > 1) + 2 > 3", 1, 25, "A number is needed"),
        ("rule x on sensors when t > 1 and t", 1, 34, 'beside "and"'),
        ("rule x on sensors when not t", 1, 28, 'after "not"'),
        ("rule x on sensors when t == 3", 1, 26, "hardly ever equal"),
        ("rule x on sensors when avg(t, 5) > 3", 1, 31, "is a window such as"),
        ("rule x on sensors when avg(5, 5m) > 3", 1, 28, "is a metric's name"),
        ("rule x on sensors when avg(t) > 3", 1, 24, "takes a metric and a window"),
        ("rule x on sensors when abs(t, 5m) > 3", 1, 24, "abs takes one number"),
        ("rule x on sensors when avg(t, 10ms) > 3", 1, 31, "at least 1 second"),
        ("rule x on sensors when avg(t, 31d) > 3", 1, 31, "30 days"),
        ("rule x on sensors when (t > 3", 1, 30, 'expected ")"'),
        ('rule x on sensors "abc when t > 3', 1, 19, "a quoted text ends"),
        ("rule x on sensors\n when t > 3\n severity loud", 3, 11, "no severity"),
        ("rule x on sensors when t > 3 severity critical, info when t > 9", 1, 49, "higher"),
        ('rule x on sensors when "a b" > 3', 1, 24, "metric's name"),
        ("rule x on sensors when 1 > 3", 1, 24, "looks at no metric"),
        ("rule x on sensors when t > 1e999", 1, 28, "too large"),
        ("rule x on sensors\nwhen t \0 > 1", 2, 8, "Control characters"),
        ('rule " " on sensors when t > 1', 1, 6, "1 to 64"),
        ("rule x on sensors when t > 1\nrule y on sensors when t > 1", 2, 1, "one rule"),
        ("rule x on sensors when quantile(t, 2, 5m) > 1", 1, 36, "between 0 and 1"),
        ("rule x on sensors when quantile(t, 5m) > 1", 1, 24, "a share and a window"),
        ("rule x on sensors when avg(t, 1h, season 1d) > 1", 1, 35, "zscore and anomaly"),
        ("rule x on sensors when anomaly(t, 1h, saison 1d)", 1, 39, '"season"'),
        ("rule x on sensors when anomaly(t, 1h, 1d)", 1, 24, "a metric and a window"),
        ("rule x on sensors when anomaly(t, season 1d, 1h)", 1, 24, "a metric and a window"),
        ("rule x on sensors when anomaly(t, season 1d)", 1, 35, "is a window such as"),
        ("rule x on sensors when anomaly(t, 10s, season 30s)", 1, 47, "1 minute to 14 days"),
        ("rule x on sensors when anomaly(t, 10s, season 15d)", 1, 47, "1 minute to 14 days"),
        ("rule x on sensors when anomaly(t, 2h, season 1h)", 1, 35, "as long as the window"),
        ("rule x on sensors when anomaly(t, 9d, season 14d)", 1, 35, "30 days together"),
        ("rule x on sensors when t > 1 during someday UTC", 1, 37, "days such as"),
        ("rule x on sensors when t > 1 during mon 9:00", 1, 41, "as 08:00-18:00"),
        ("rule x on sensors when t > 1 during mon 25:00-26:00 UTC", 1, 41, "no time of day"),
        ("rule x on sensors when t > 1 during mon Not/There", 1, 41, "no time zone"),
        ("rule x on sensors when t > 1 on no data explode", 1, 41, "keep, clear or alert"),
        ("rule x on sensors when t > 1 cooldown 3", 1, 39, "duration has a unit"),
        ("rule x on sensors when t > " + "+".join(["1"] * 300), 1, 24, "200"),
        ("rule x on sensors when t = 3", 1, 26, "hardly ever equal: use < <= > >="),
        ("rule x on sensors when t => 3", 1, 26, 'Write ">="'),
        ('rule x on sensors where a == "b" when t > 3', 1, 27, 'with one "="'),
        ('rule x on sensors where a != "b" when t > 3', 1, 27, '"=", or with "~"'),
        ("rule x on sensors where a = b when t > 3", 1, 29, 'in quotes: a = "b"'),
        ("rule x on sensors when t > 1 AND u > 2", 1, 30, 'Write "and"'),
        ("rule x on sensors when t > 1 or u > 2 OR v > 3", 1, 39, 'Write "or"'),
        ("rule x on sensors when t > u Or v > 3", 1, 30, 'Write "or"'),
        ("rule x on sensors when t > 1 OR -u > 2", 1, 30, 'Write "or"'),
        ("rule x on sensors when t > 1 AND", 1, 30, 'Write "and"'),
        ("rule x on sensors when NOT t > 1", 1, 24, 'Write "not"'),
        ("Rule x on sensors when t > 1", 1, 1, 'Write "rule"'),
        ("rule x on sensors\n when t > 1\n FOR 5m", 3, 2, 'Write "for"'),
        ("rule x on sensors when t > 1 && u > 2", 1, 30, 'Write "and"'),
        ("rule x on sensors when t > 1 during mon-fri 8-18 UTC", 1, 45, "as 08:00-18:00"),
        ("rule x on sensors when t > 1 during mon 9:30 - 18:00 UTC", 1, 41, "as 09:30-18:00"),
        ("rule x on sensors when t > 1 during mon 8am-6pm UTC", 1, 41, "as 08:00-18:00"),
        ("rule x on sensors when t > 1 during 08:00-18:00 UTC", 1, 37, "daily 08:00-18:00"),
        ("rule x on sensors when t > 1 during mon - fri UTC", 1, 41, "without spaces"),
        ("rule x on sensors when t > 1 during mon utc", 1, 41, 'Write "UTC"'),
        ("rule x on sensor boiler-1 when t > 1", 1, 18, 'quotes: sensor "boiler-1"'),
        ("rule x on sensors porto-* when t > 1", 1, 19, 'quotes: sensors "porto-*"'),
        ("rule x on group pumps when t > 1", 1, 17, 'quotes: group "pumps"'),
        ("rule x on boiler-1 when t > 1", 1, 11, 'Write on sensor "boiler-1"'),
        ('rule x on "porto-*" when t > 1', 1, 11, 'Write on sensors "porto-*"'),
        ("rule x on sensors when no data for 10m for 5m", 1, 40, "how long already"),
        ("rule x on sensors when no data for 10m clear when t > 1", 1, 40, "clears by itself"),
        ("rule x on sensors when no data for 10m during daily UTC", 1, 40, "at any time"),
        ("rule x on sensors when no data for 10m on no data clear", 1, 40, "leave this out"),
        (
            "rule x on sensors when no data for 10m severity info, warning when t > 1",
            1,
            40,
            "one severity",
        ),
        ("rule x on sensors when no data for 10m and t > 1", 1, 40, "stands alone"),
        ("rule x on sensors when t > 1 or no data for 10m", 1, 33, "stands alone"),
        ("rule x on sensors when no data 10m", 1, 24, 'Write "no data for"'),
        ("rule x on sensors when t > 1 for 5 min", 1, 34, "Write 5m"),
        ("rule x on sensors when t > 1 for 5", 1, 34, "such as 5s or 5m"),
        ("rule x on sensors when t > 1 cooldown 5m for 2m", 1, 42, "once, in the order"),
    ],
)
def test_errors_point_at_their_place(text: str, line: int, column: int, words: str) -> None:
    """Line, column, a caret under it, and words that help."""
    with pytest.raises(RuleInvalid) as caught:
        parse_rule(text)
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert words in error.detail
    shown, mark = error.caret.split("\n")
    assert text.split("\n")[line - 1].startswith(shown.removesuffix("…"))
    assert mark == " " * (column - 1) + "^"


def test_a_file_holds_several_rules_with_its_own_line_bytes() -> None:
    """Errors count lines of the file; names are told apart."""
    assert [rule.name for rule in parse_rules(f"# all\n{FULL}\nrule b on sensors when t > 1")] == [
        "over-heating", "b",
    ]  # fmt: skip
    with pytest.raises(RuleInvalid, match="Two rules") as caught:
        parse_rules("rule a on sensors when t > 1 rule a on sensors when t > 2")
    assert (caught.value.line, caught.value.column) == (1, 35)


@pytest.mark.parametrize("mistake", ["t = 3", "t > 1 AND u", "a" * 19_000 + " ?", "a " * 9_000])
def test_a_mistake_in_a_long_text_is_found_quickly(mistake: str) -> None:
    """What was meant is looked for near by: in far less than a second, wherever it stands."""
    text = "rule x on sensors when (" + mistake
    began = time.perf_counter()
    with pytest.raises(RuleInvalid):
        parse_rule(text)
    assert time.perf_counter() - began < 1


@given(st.text(max_size=200) | st.lists(st.sampled_from(FULL.split()), max_size=30).map(" ".join))
def test_any_text_is_a_rule_or_a_clear_error(text: str) -> None:
    """Nothing else is ever raised."""
    try:
        parse_rule(text)
    except RuleInvalid as error:
        assert error.detail
        assert 1 <= error.line <= text.count("\n") + 1


BOMBS = (
    "(" * 3000,
    "rule x on sensors when " + "not " * 3000 + "t > 1",
    "rule x on sensors when t > " + "-" * 3000 + "1",
    "x" * 20_001,
)


@pytest.mark.parametrize("text", BOMBS)
def test_bombs_are_errors(text: str) -> None:
    """Depth and length are bounded."""
    with pytest.raises(RuleInvalid):
        parse_rule(text)


def test_condition_key_ignores_labels_and_sees_conditions() -> None:
    """What closes alerts on an edit, and what does not."""
    base = parse_rule("rule a on sensors when t > 1 severity info").condition_key
    same = parse_rule("rule b on sensors # x\n when (t > 1.0) severity critical").condition_key
    assert same == base
    for other in ("when t > 2", "when t > 1 for 1s", "when t > 1 clear when t < 0",
                  "when t > 1 severity info, critical when t > 5"):  # fmt: skip
        assert parse_rule(f"rule a on sensors {other}").condition_key != base


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_glob_is_that_of_the_shell(pattern: str, text: str) -> None:
    """* any characters, ? one."""
    from fnmatch import fnmatchcase

    assert glob(pattern, text) == fnmatchcase(text, pattern)


def test_selectors_match_names_and_tags() -> None:
    """Exact, pattern, all, tags."""

    def match(selector: str, name: str, tags: dict[str, str] | None = None) -> bool:
        return parse_rule(f"rule x on {selector} when t > 1").selector.matches(name, tags or {})

    assert match("all sensors", "any")
    assert match('sensor "s-1"', "s-1")
    assert not match('sensor "s-*"', "s-1")
    assert match('sensors "s-*"', "s-1")
    assert match('sensors where a = "1"', "s", {"a": "1"})
    assert not match('sensors where a = "1"', "s")
    assert not match('sensors where a = "1" and b ~ "x*"', "s", {"a": "1", "b": "y"})


@pytest.mark.parametrize(
    ("us", "text"), [(0, "0s"), (1_500_000, "1s500ms"), (90_061_000_000, "1d1h1m1s")]
)
def test_durations_read_back(us: int, text: str) -> None:
    """The shortest spelling."""
    assert duration_text(us) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "when",
        "(" * 5_000,
        'sensors where a = "\0"',
        'sensors "a\0*"',
        "sensors\x1b",
        "x" * 30_000,
    ],
    ids=range(7),
)
def test_a_selector_that_is_none_is_refused(text: str) -> None:
    """With what one looks like; a control character is in no tag and in no text of Postgres."""
    with pytest.raises(Invalid, match="A selector reads") as caught:
        parse_selector(text)
    assert caught.value.code == "bad_selector"
