"""Rules as a file: what is written is read again, and every problem has its line."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from atalaia.model.errors import RuleFileInvalid
from atalaia.rules import yaml_events
from atalaia.rules.language import MAX_TEXT_CHARS
from atalaia.rules.rulefile import (
    MAX_FILE_CHARS,
    MAX_FILE_RULES,
    FileRule,
    read_rules,
    reading_rules,
    write_rules,
)
from tests.rules.streams import rule_texts

BLANKS = st.text(" \n\t\r", max_size=4)
COMMENTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12
).map(lambda text: "# " + re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "?", text) + "\n")
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,20}", fullmatch=True) | st.sampled_from(
    ["yes", "null", '"a: b"', '"#x"', '"é\u2028"', '"\u0085 x"', '"1"', '"- "', "True"]
)


@st.composite
def files(draw: st.DrawFn) -> list[FileRule]:
    """Rules with different names, and with comments and blanks wherever they may stand."""
    rules = []
    for name in draw(st.lists(NAMES, unique_by=lambda name: name.strip('"'), max_size=4)):
        parts = [draw(BLANKS), draw(st.just("") | COMMENTS), draw(rule_texts(name)), draw(BLANKS)]
        if draw(st.booleans()):
            parts.insert(3, " " + draw(COMMENTS))
        rules.append(FileRule(name.strip('"'), "".join(parts), draw(st.booleans())))
    return sorted(rules, key=lambda rule: rule.name)


@given(files())
@example([FileRule("a", "  \n\n  rule a on sensors when t > 1\n  # end  \n\n")])
@example([FileRule("a", "\trule a on sensors\t\n\twhen t > 1\n \n")])
@example([FileRule("a", "rule a on sensors when t > 1 # \u0085 \ufeff \u2029 \U0001f600")])
def test_what_is_written_is_read_again(rules: list[FileRule]) -> None:
    """Names, switches and texts, to the last blank; any other reader of YAML sees them too."""
    text = write_rules(rules)
    assert list(read_rules(text)) == rules
    assert yaml.safe_load(text)["rules"] == [
        {"name": rule.name, "enabled": rule.enabled, "text": rule.text} for rule in rules
    ]


def test_a_file_reads_well() -> None:
    """Texts stand as they were written, rules by name."""
    rules = [
        FileRule("b", "rule b on sensors when t > 1\n", enabled=False),
        FileRule("a", "# why\nrule a on sensors\n\n  when t > 1  # because"),
    ]
    assert write_rules(rules) == (
        "# Rules of Atalaia; `atalaia rules import` brings them back.\n"
        "rules:\n"
        "  - name: a\n    enabled: true\n    text: |-\n"
        "      # why\n      rule a on sensors\n\n        when t > 1  # because\n"
        "  - name: b\n    enabled: false\n    text: |\n      rule b on sensors when t > 1\n"
    )


def test_name_and_enabled_may_be_left_out() -> None:
    """For files that are written by hand."""
    (rule,) = read_rules("rules:\n- text: rule yes on sensors when t > 1\n")
    assert rule == FileRule("yes", "rule yes on sensors when t > 1", enabled=True)


BAD = """\
rules:
  - name: a
    text: |
      # fine
      rule a on sensors when avgg(t, 5m) > 1
  - name: b
    enabled: yes
    text: rule c on sensors when t > 1
  - text: rule c on sensors when t > 2
    colour: [red, {deep: er}]
  - name: d
  - rule e
  - text: [x]
  - text: "rule f on sensors when t >"
    text: x
more: 1
"""


def test_every_problem_is_named_at_once() -> None:
    """With rule, line and column of the file."""
    with pytest.raises(RuleFileInvalid) as caught:
        read_rules(BAD)
    found = [(p.rule, p.line, p.column, p.detail.split(".")[0]) for p in caught.value.faults]
    assert [(rule, line, column) for rule, line, column, _ in found] == [
        ("a", 5, 30), ("b", 7, 14), ("b", 6, 11), (None, 10, 5), ("c", 9, 5), ("d", 11, 5),
        (None, 12, 5), (None, 13, 11), (None, 15, 5), (None, 14, 11), (None, 16, 1),
    ]  # fmt: skip
    assert "There is no aggregate" in found[0][3]
    assert caught.value.detail.startswith("Line 5: There is no aggregate")
    assert caught.value.detail.endswith("(and 10 more)")


BOMB = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(30))


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml's, and PyYAML's own, which stands in where there is no libyaml."""
    monkeypatch.setattr(yaml_events, "LOADER", getattr(yaml, request.param))


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("# nothing", "empty"),
        ("rules", "one key"),
        ("{}", 'no key "rules:"'),
        ("rules: 7", "is a list"),
        ("rules: []\n---\nrules: []", "one document"),
        ("rules: [", "not YAML"),
        ("rules: [\x00]", "may not stand in YAML"),
        ('rules: ["\\UFFFFFFFF"]', "escape"),
        ("%TAG ! x\nrules: []", "Directives"),
        ("# \x85%YAML 1.1\n---\nrules: []", "Directives"),
        ("rules: [{name: !!python/name:os.system x}]", "Tags"),
        (BOMB, "Anchors"),
        ("rules: [*a]", "Anchors"),
        ("rules:\n- &a {text: x}", "Anchors"),
        ("rules: [{name: " + "[" * 5_000, "nest"),
        ("? " * 5_000, "nest"),
        ("rules:\n" + "".join(f"- text: rule r{n} on sensors when t > 1\n"
                               for n in range(MAX_FILE_RULES + 1)), "1000 rules"),
        ("- x\n" * 100_000, "one key"),
        ("rules:\n- {" + "x: 1, " * 100_000 + "}", "no key of a rule"),
        ("rules:\n- x: [" + "a," * 100_000 + "]", "drop what else"),
        ("rules: " + "{x: []}, " * 100_000, "\"rules\" is a list"),
        ("rules: " + "x" * MAX_FILE_CHARS, "characters"),
        ("rules:\n- text: " + "x" * (MAX_TEXT_CHARS + 1), "characters"),
        ('rules:\n- {name: "\\ud800", text: "\\ud800"}', "haracter"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_rules_is_refused(text: str, words: str) -> None:
    """Bombs too, and all of it in little time; what is said can be sent."""
    with pytest.raises(RuleFileInvalid) as caught:
        read_rules(text)
    assert any(words in problem.detail for problem in caught.value.faults)
    for problem in caught.value.faults:
        f"{problem.rule}{problem.detail}".encode()


def pulled(text: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """How many events were read of a file, and what is said of it."""
    count, problems = 0, []

    def counted(*args: Any, **options: Any) -> Iterator[yaml.Event]:
        nonlocal count
        for event in parse(*args, **options):
            count += 1
            yield event

    parse = yaml.parse
    monkeypatch.setattr(yaml, "parse", counted)
    try:
        read_rules(text)
    except RuleFileInvalid as error:
        problems = [problem.detail for problem in error.faults]
    return count, problems


@pytest.mark.usefixtures("loader")
def test_no_more_is_read_than_the_most_rules_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else there is is named, and not read to its end; the largest file is read."""
    text = "rules:\n- x: [" + "a," * 100_000 + "]\n"
    count, problems = pulled(text, monkeypatch)
    assert count < 10_000
    assert '"x" is no key of a rule' in problems[0]
    assert "1000 rules at most" in problems[1]
    names = [f"r{n}" for n in range(MAX_FILE_RULES)]
    full = write_rules(FileRule(name, f"rule {name} on sensors when t > 1") for name in names)
    assert len(read_rules(full)) == MAX_FILE_RULES


@pytest.mark.usefixtures("loader")
def test_directives_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml compares each with all before it."""
    many = "".join(f"%TAG !a{n}! x\n" for n in range(1_000)) + "---\nrules: []\n"
    for text in (many, "rules: []\n...\n" + many, "\ufeff" + many, "#\r" + many):
        assert pulled(text, monkeypatch)[0] == 0
    at_home = FileRule("a", "rule a on sensors\n# 100%\n%\nwhen t > 1 #")
    assert "%" in write_rules([at_home])
    with pytest.raises(RuleFileInvalid, match=r"^Line 8: .%. cannot stand here"):
        read_rules(write_rules([at_home]))  # by the rule's own language alone


@given(files())
def test_both_parsers_read_the_same(rules: list[FileRule]) -> None:
    """Of what is written; what is no YAML they name in words of their own."""
    text = write_rules(rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_events, "LOADER", yaml.SafeLoader)
        assert list(read_rules(text)) == rules


def test_reading_gives_way_after_each_rule() -> None:
    """And says the same as without."""
    file = write_rules(FileRule(name, f"rule {name} on sensors when t > 1") for name in "abc")
    steps = reading_rules(file)
    for _ in range(3):
        next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == read_rules(file)


PIECES = ["rules:", "\n", "  ", "- ", "name: a", "text: |", "rule a on sensors when t > 1",
          "enabled: true", "{", "}", "[", "]", '"', "&a", "*a", "!!x", "? ", "---", "%",
          "\t"]  # fmt: skip


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_a_file_or_a_clear_error(text: str) -> None:
    """Nothing else is ever raised."""
    try:
        read_rules(text)
    except RuleFileInvalid as error:
        assert error.faults
        assert all(1 <= p.line <= text.count("\n") + text.count("\r") + 2 for p in error.faults)
