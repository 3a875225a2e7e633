"""Rules as a file: YAML that people keep under version control. Pure.

    rules:
      - name: overheating
        enabled: true
        text: |-
          rule overheating on sensors when avg(temperature, 5m) > 30

Reading takes this form and no other part of YAML: no anchors, aliases, tags or directives, nothing
deeper, and no more values than the most rules have. So a file costs no more than its length and the
texts of its rules, and every problem has a line. Reading what was written gives the same rules, to
the last blank.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator

import attrs
import yaml

from atalaia.model.errors import RuleFileInvalid, RuleFileProblem, RuleInvalid
from atalaia.rules.language import MAX_TEXT_CHARS, parse_rule
from atalaia.rules.places import Place
from atalaia.rules.steps import Steps, finish
from atalaia.rules.yaml_events import NotYaml, place, read_events

MAX_FILE_CHARS = 8 * 1024 * 1024
MAX_FILE_RULES = 1_000  # as many as a tenant may have
_MAX_EVENTS = 9 + 8 * MAX_FILE_RULES
"""Of a file with so many rules: a mapping of three keys begins and ends for each of them."""
_MAX_DEPTH = 8
_MAX_PROBLEMS = 100  # whoever has more mends these first

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
_UNFIT = re.compile(
    r"[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""What a literal block cannot hold as it is: control characters and YAML's other line breaks."""


@attrs.frozen
class FileRule:
    """What a file says of a rule."""

    name: str
    text: str
    enabled: bool = True


def write_rules(rules: Iterable[FileRule]) -> str:
    """The file, rules by name. Texts stand as they are, comments included."""
    lines = ["# Rules of Atalaia; `atalaia rules import` brings them back.", "rules:"]
    for rule in sorted(rules, key=lambda rule: rule.name):
        lines += [
            f"  - name: {_word(rule.name)}",
            f"    enabled: {'true' if rule.enabled else 'false'}",
            f"    text: {_block(rule.text, '      ')}",
        ]
    if len(lines) == 2:
        lines[1] += " []"
    return "\n".join(lines) + "\n"


def _word(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize)
    return quoted.rstrip("\n")


def _block(text: str, indent: str) -> str:
    """A literal block scalar; a quoted one where YAML would not keep the text."""
    if _UNFIT.search(text) or not text.strip():
        return _word(text)
    ends = len(text) - len(text.rstrip("\n"))
    chomping = "-" if ends == 0 else "" if ends == 1 else "+"
    inset = "2" if text[0] in " \n\t" else ""  # libyaml takes no tab where it looks for the inset
    lines = text.split("\n")
    if ends:
        lines.pop()
    return "\n".join([f"|{inset}{chomping}", *(line and indent + line for line in lines)])


def read_rules(text: str, check: Callable[[str], None] | None = None) -> tuple[FileRule, ...]:
    """The rules of a file, in its order. Raises RuleFileInvalid with every problem at once.

    check: raises RuleInvalid for a text that is understood and yet refused.
    """
    return finish(reading_rules(text, check))


def reading_rules(
    text: str, check: Callable[[str], None] | None = None
) -> Steps[tuple[FileRule, ...]]:
    """The same in steps of a rule: a thousand long texts take a minute."""
    if len(text) > MAX_FILE_CHARS:
        raise RuleFileInvalid(
            [RuleFileProblem(None, 1, 1, f"A file may have {MAX_FILE_CHARS} characters.")]
        )
    reader = _Reader(text, check)
    try:
        yield from reader.read_file()
    except _Stop:
        pass
    except NotYaml as error:
        reader.problems.append(RuleFileProblem(None, *error.at, error.detail))
    if reader.problems:
        raise RuleFileInvalid(reader.problems)
    return tuple(reader.rules)


class _Stop(Exception):
    """The last problem makes the rest unreadable."""


def _place(event: yaml.Event) -> Place:
    return place(event.start_mark)


def _short(text: str) -> str:
    """Fit to be quoted in a problem: escapes of YAML can name halves of characters."""
    return text[:80].encode("utf-8", "replace").decode()


@attrs.define(eq=False)
class _Reader:
    """Walks through YAML's events; `problems` grows on the way."""

    text: str
    check: Callable[[str], None] | None
    rules: list[FileRule] = attrs.field(factory=list)
    problems: list[RuleFileProblem] = attrs.field(factory=list)
    _lines: list[str] = attrs.field(init=False)
    _events: Iterator[yaml.Event] = attrs.field(init=False)
    _seen: dict[str, int] = attrs.field(factory=dict)
    _left: int = _MAX_EVENTS

    def __attrs_post_init__(self) -> None:
        self._lines = self.text.split("\n")
        self._events = read_events(self.text)

    def note(self, at: Place, detail: str, rule: str | None = None) -> None:
        self.problems.append(RuleFileProblem(rule, *at, detail))
        if len(self.problems) >= _MAX_PROBLEMS:
            raise _Stop

    def read_file(self) -> Steps[None]:
        self._next()  # the stream begins
        if isinstance(self._next(), yaml.StreamEndEvent):
            self.note((1, 1), 'The file is empty; it has "rules:" and a list.')
            raise _Stop
        top = self._next()
        if not isinstance(top, yaml.MappingStartEvent):
            self.note(_place(top), 'The file has one key, "rules:", with a list of rules.')
            raise _Stop
        found = False
        for _, value in self._pairs("the file", ("rules",)):
            found = True
            if isinstance(value, yaml.SequenceStartEvent):
                yield from self._read_list()
            else:
                self.note(
                    _place(value), '"rules" is a list, [] for none; a rule begins with "- name:".'
                )
                self._skip(value)
        if not found and not self.problems:
            self.note(_place(top), 'There is no key "rules:" in this file.')
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, yaml.StreamEndEvent):
            self.note(_place(event), "A file holds one document; drop what follows `---`.")

    def _read_list(self) -> Steps[None]:
        count = 0
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            count += 1
            if count > MAX_FILE_RULES:
                self.note(_place(event), f"A file may have {MAX_FILE_RULES} rules.")
                raise _Stop
            if isinstance(event, yaml.MappingStartEvent):
                self._read_rule(_place(event))
            else:
                self.note(_place(event), 'A rule has the keys "name", "enabled" and "text".')
                self._skip(event)
            yield

    def _read_rule(self, at: Place) -> None:
        before = len(self.problems)
        fields: dict[str, yaml.ScalarEvent] = {}
        for key, value in self._pairs("a rule", ("name", "enabled", "text")):
            if isinstance(value, yaml.ScalarEvent):
                fields[key] = value
            else:
                self.note(_place(value), f'"{key}" is one value, no list and no mapping.')
                self._skip(value)
        name = _short(fields["name"].value) if "name" in fields else None
        if "text" not in fields:
            if len(self.problems) == before:
                self.note(at, 'The rule has no "text:".', name)
            return
        parsed = self._check_text(fields["text"], name)
        enabled = fields.get("enabled")
        if enabled is not None and (enabled.style or enabled.value not in ("true", "false")):
            self.note(_place(enabled), '"enabled" is true or false.', name)
        if parsed is None:
            return
        if name is not None and name != parsed:
            self.note(
                _place(fields["name"]), f'The text below is that of the rule "{parsed}".', name
            )
        if parsed in self._seen:
            self.note(at, f'A rule "{parsed}" stands in line {self._seen[parsed]} too.', parsed)
        self._seen.setdefault(parsed, at[0])
        on = enabled is None or enabled.value == "true"
        self.rules.append(FileRule(parsed, fields["text"].value, on))

    def _check_text(self, event: yaml.ScalarEvent, name: str | None) -> str | None:
        """The rule's own name; None when its text is not understood, which is noted."""
        try:
            if len(event.value) <= MAX_TEXT_CHARS:
                name = parse_rule(event.value).name
                if self.check is not None:
                    self.check(event.value)
                return name
            self.note(_place(event), f"A text may have {MAX_TEXT_CHARS} characters.", name)
        except RuleInvalid as error:
            line, column = _place(event)
            if event.style == "|":  # its lines are lines of the file, indented
                line += error.line
                inner = event.value.split("\n")
                shown = inner[error.line - 1] if error.line <= len(inner) else ""
                outer = self._lines[line - 1] if line <= len(self._lines) else ""
                column = error.column + max(0, len(outer.rstrip("\r")) - len(shown))
            self.note((line, column), error.detail, name)
        return None

    def _pairs(self, where: str, known: tuple[str, ...]) -> Iterator[tuple[str, yaml.Event]]:
        """The entries of a mapping that has begun, without those of no use, which are noted."""
        seen: set[str] = set()
        while not isinstance(key := self._next(), yaml.MappingEndEvent):
            self._skip(key)
            value = self._next()
            if isinstance(key, yaml.ScalarEvent) and key.value in known and key.value not in seen:
                seen.add(key.value)
                yield key.value, value
                continue
            said = _short(key.value) if isinstance(key, yaml.ScalarEvent) else "This"
            if said in seen:
                self.note(_place(key), f'"{said}" stands here twice.')
            else:
                self.note(_place(key), f'"{said}" is no key of {where}: {", ".join(known)}.')
            self._skip(value)

    def _skip(self, event: yaml.Event) -> None:
        """Go past a value that began with this event."""
        depth = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _MAX_DEPTH:
                self.note(_place(event), "This is nested too deeply.")
                raise _Stop
            if depth == 0:
                return
            event = self._next()

    def _next(self) -> yaml.Event:
        event = next(self._events)
        self._left -= 1
        if self._left < 0:
            self.note(
                _place(event),
                f"A file has {MAX_FILE_RULES} rules at most, and of each name, enabled and text: "
                "drop what else there is.",
            )
            raise _Stop
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self.note(_place(event), "Anchors and aliases (& and *) are not read; write it out.")
            raise _Stop
        if getattr(event, "tag", None) is not None:
            self.note(_place(event), "Tags (!) are not read; drop it.")
            raise _Stop
        return event
