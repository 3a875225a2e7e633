"""YAML's events of a text, read by libyaml where it is there: PyYAML's wheels have it. Pure.

PyYAML's own parser takes six seconds for 8 MiB of blank lines, libyaml a twentieth of one. Both
read what `write_rules` writes, and the same in it; what is no YAML they name in words and at places
of their own, and libyaml takes no block that begins with a tab.
"""

import re
from collections.abc import Iterator
from typing import Protocol

import attrs
import yaml

from atalaia.rules.places import Place

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])%")
"""libyaml compares each `%TAG` with all before it, without letting go of the interpreter."""


class NotYaml(Exception):
    """Nothing can be read from there on."""

    def __init__(self, at: Place, detail: str) -> None:
        super().__init__(detail)
        self.at = at
        self.detail = detail


@attrs.define(eq=False)
class _Parts:
    """A text as libyaml asks for it, 16 KiB at a time: with each it lets other threads run."""

    _data: bytes
    _at: int = 0

    def read(self, size: int = -1, /) -> bytes:
        part = self._data[self._at : self._at + size]
        self._at += size
        return part


def read_events(text: str) -> Iterator[yaml.Event]:
    """As they come. Raises NotYaml."""
    text = text.removeprefix("\ufeff")  # a mark of how it was written, not of what
    if (found := _UNREADABLE.search(text)) is not None:
        raise NotYaml(_at(text, found.start()), "This character may not stand in YAML.")
    if (found := _DIRECTIVE.search(text)) is not None:
        raise NotYaml(_at(text, found.end() - 1), "Directives (%) are not read; drop the line.")
    try:
        yield from yaml.parse(_Parts(text.encode()), Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        raise NotYaml(place(error.problem_mark), f"This is not YAML: {error.problem}.") from error
    except (ValueError, OverflowError) as error:  # PyYAML's own, beyond the last character there is
        raise NotYaml((1, 1), "This is not YAML: a bad escape.") from error


class _Mark(Protocol):
    line: int
    column: int


def place(mark: _Mark | None) -> Place:
    """Counted from 1."""
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)


def _at(text: str, index: int) -> Place:
    before = text[:index]
    return before.count("\n") + 1, len(before) - before.rfind("\n")
