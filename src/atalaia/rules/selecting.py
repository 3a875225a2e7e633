"""Which of a tenant's rules watch a sensor, without asking each of them.

A selector is looked up by what it says exactly, or by the letters that its pattern begins with;
those that are found so are asked. Ten thousands of sensors are added at a recovery.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from atalaia.rules.program import ActiveRule
from atalaia.rules.syntax import Selector

Test = tuple[bool, str, str | None]
"""Whether a text is meant exactly, the text or pattern, and of which tag; None: of the name."""


@attrs.define(eq=False)
class Selected:
    """The rules of such sensors: those on readings, those of silence. shape: that of the former
    once it is known (shapes.py).
    """

    judging: tuple[ActiveRule, ...]
    silence: tuple[ActiveRule, ...]
    shape: int = -1


@attrs.define(eq=False)
class _Texts:
    """Numbers by a text, or by the beginning of one."""

    _whole: dict[str, list[int]] = attrs.field(factory=dict)
    _beginnings: dict[str, list[int]] = attrs.field(factory=dict)
    _lengths: set[int] = attrs.field(factory=set)

    def add(self, text: str, number: int, *, exact: bool) -> None:
        if exact:
            self._whole.setdefault(text, []).append(number)
        else:
            beginning = _beginning(text)
            self._beginnings.setdefault(beginning, []).append(number)
            self._lengths.add(len(beginning))

    def find(self, text: str) -> Iterator[int]:
        yield from self._whole.get(text, ())
        for length in self._lengths:
            if length <= len(text):
                yield from self._beginnings.get(text[:length], ())


@attrs.define(eq=False)
class Selectors:
    """Every distinct selector of the rules; rules mostly share few of them."""

    rules: Sequence[ActiveRule]
    _selectors: list[Selector] = attrs.field(factory=list)
    _places: list[list[int]] = attrs.field(factory=list)
    """Of every selector where its rules stand among the rules."""
    _names: _Texts = attrs.field(factory=_Texts)
    _tags: dict[str, _Texts] = attrs.field(factory=dict)
    _everywhere: list[int] = attrs.field(factory=list)
    _found: dict[tuple[int, ...], Selected] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        numbers: dict[Selector, int] = {}
        for place, rule in enumerate(self.rules):
            selector = rule.spec.selector
            number = numbers.setdefault(selector, len(numbers))
            if number == len(self._selectors):
                self._selectors.append(selector)
                self._places.append([])
                self._index(selector, number)
            self._places[number].append(place)

    def find(self, name: str, tags: Mapping[str, str]) -> Selected:
        """One and the same for sensors under the same rules."""
        numbers = [*self._everywhere, *self._names.find(name)]
        for tag, value in tags.items():
            if tag in self._tags:
                numbers += self._tags[tag].find(value)
        hits = tuple(sorted(n for n in numbers if self._selectors[n].matches(name, tags)))
        found = self._found.get(hits)
        if found is None:
            places = sorted(place for number in hits for place in self._places[number])
            rules = [self.rules[place] for place in places]
            found = self._found[hits] = Selected(
                tuple(rule for rule in rules if rule.spec.silence is None),
                tuple(rule for rule in rules if rule.spec.silence is not None),
            )
        return found

    def _index(self, selector: Selector, number: int) -> None:
        """Under what it says that the fewest sensors have, as far as one can tell."""
        tests: list[Test] = [(test.exact, test.pattern, test.tag) for test in selector.tags]
        if selector.name is not None:
            tests.append((selector.exact, selector.name, None))
        if not tests:
            self._everywhere.append(number)
            return
        exact, text, tag = max(tests, key=_telling)
        texts = self._names if tag is None else self._tags.setdefault(tag, _Texts())
        texts.add(text, number, exact=exact)


def _telling(test: Test) -> tuple[bool, bool, int]:
    """Names are each a sensor's; a tag may be everyone's."""
    exact, text, tag = test
    return exact, exact and tag is None, len(_beginning(text))


def _beginning(pattern: str) -> str:
    """What every text that matches begins with."""
    return re.split(r"[*?]", pattern, maxsplit=1)[0]
