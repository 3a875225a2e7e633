"""What a rule says, as a tree: the nodes, the selector and the whole specification.

Spans are kept apart from meaning: two nodes are equal when they mean the same.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal

import attrs

from atalaia.model.errors import Invalid
from atalaia.rules.schedule import Schedule

NoData = Literal["keep", "clear", "alert"]

SEVERITY_ORDER = ("info", "warning", "critical")
MINUTE_US = 60_000_000
MAX_WINDOW_US = 30 * 86_400_000_000

SHOWN_CHARS = 60

MAX_METRICS = 64
"""Of one sensor, over all the rules that watch it: a set of metrics is a mask of int64."""


@attrs.frozen
class Number:
    value: float


@attrs.frozen
class Aggregate:
    """One function of one metric over the window (T-W, T]. parameter: which quantile.

    season_us: what is looked at is each reading's difference from the one so long before it; 0
    for the readings themselves.
    """

    function: str
    metric: str
    window_us: int
    parameter: float | None = None
    season_us: int = 0

    def __str__(self) -> str:
        metric = self.metric if METRIC_NAME.fullmatch(self.metric) else f'"{self.metric}"'
        parameter = "" if self.parameter is None else f"{self.parameter:g}, "
        season = f", season {duration_text(self.season_us)}" if self.season_us else ""
        return f"{self.function}({metric}, {parameter}{duration_text(self.window_us)}{season})"

    @property
    def history_us(self) -> int:
        """How old a reading may be that counts; scanned windows look a step of their grid more."""
        return self.window_us + (self.season_us and self.season_us + self.window_us)


@attrs.frozen
class Unary:
    """neg, abs (number) or not (truth)."""

    op: str
    operand: "Node"


@attrs.frozen
class Binary:
    """+ - * / (number), < <= > >= (numbers to truth), and, or (truth)."""

    op: str
    left: "Node"
    right: "Node"


@attrs.frozen
class Silence:
    """No reading of the sensor for this long, by arrival. Stands alone in a rule."""

    after_us: int

    def __str__(self) -> str:
        return f"no data for {duration_text(self.after_us)}"


Node = Number | Aggregate | Unary | Binary | Silence

METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TRUTH_OPS = frozenset({"<", "<=", ">", ">=", "and", "or", "not"})


def is_truth(node: Node) -> bool:
    """Whether the node says true or false rather than a number."""
    return isinstance(node, Silence) or (isinstance(node, Unary | Binary) and node.op in TRUTH_OPS)


def aggregates(node: Node) -> Iterator[Aggregate]:
    """Every aggregate under the node, left to right."""
    match node:
        case Aggregate():
            yield node
        case Unary(_, operand):
            yield from aggregates(operand)
        case Binary(_, left, right):
            yield from aggregates(left)
            yield from aggregates(right)


def size(node: Node) -> int:
    """How many nodes the tree has."""
    match node:
        case Unary(_, operand):
            return 1 + size(operand)
        case Binary(_, left, right):
            return 1 + size(left) + size(right)
    return 1


@attrs.frozen
class TagTest:
    """A tag of the sensor equals a text, or matches a pattern with * and ?."""

    tag: str
    pattern: str
    exact: bool

    def matches(self, tags: Mapping[str, str]) -> bool:
        value = tags.get(self.tag)
        if value is None:
            return False
        return value == self.pattern if self.exact else glob(self.pattern, value)


@attrs.frozen
class Selector:
    """Which sensors a rule watches: by name (exact or pattern), and by tags."""

    name: str | None = None
    exact: bool = False
    tags: tuple[TagTest, ...] = ()

    def matches(self, sensor: str, tags: Mapping[str, str]) -> bool:
        if self.name is not None:
            named = sensor == self.name if self.exact else glob(self.name, sensor)
            if not named:
                return False
        return not self.tags or all(test.matches(tags) for test in self.tags)


def glob(pattern: str, text: str) -> bool:
    """* stands for any characters, ? for one; everything else for itself. Linear time."""
    if 0 <= pattern.find("*") == len(pattern) - 1 and "?" not in pattern:  # as most patterns
        return text.startswith(pattern[:-1])
    at = mark = 0
    star = -1
    i = 0
    while i < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, i
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[i]):
            at += 1
            i += 1
        elif star >= 0:
            mark += 1
            at, i = star + 1, mark
        else:
            return False
    return all(character == "*" for character in pattern[at:])


@attrs.frozen
class Level:
    """A severity within the alert, and when it holds (None: always)."""

    severity: str
    when: Node | None


@attrs.frozen
class RuleSpec:
    """One rule, typed and checked. Times in µs. levels are ordered, the base first.

    has_units: whether a number has one; units are checked at save and mean nothing afterwards.
    """

    name: str
    text: str
    selector: Selector
    when: Node
    for_us: int
    clear: Node | None
    clear_for_us: int
    levels: tuple[Level, ...]
    schedule: Schedule | None = None
    on_no_data: NoData = "keep"
    cooldown_us: int = 0
    has_units: bool = False

    @cached_property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The distinct aggregates in the order of the text: when, clear, levels."""
        trees = [self.when, self.clear, *(level.when for level in self.levels)]
        found = (a for tree in trees if tree is not None for a in aggregates(tree))
        return tuple(dict.fromkeys(found))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(aggregate.metric for aggregate in self.aggregates))

    @property
    def gap_us(self) -> int:
        """Silence longer than this resets a pending opening or clearing: the longest window."""
        return max((aggregate.window_us for aggregate in self.aggregates), default=0)

    @property
    def silence(self) -> Silence | None:
        """What an absence rule waits for; None for rules that judge readings."""
        return self.when if isinstance(self.when, Silence) else None

    @property
    def condition_key(self) -> str:
        """Equal for two specs that judge equally: name, comments and labels are left out."""
        conditions = tuple(level.when for level in self.levels)
        judged = (self.selector, self.when, self.for_us, self.clear, self.clear_for_us, conditions,
                  self.schedule, self.on_no_data)  # fmt: skip
        return repr(judged)


UNITS_US = {"ms": 1_000, "s": 1_000_000, "m": MINUTE_US, "h": 3_600_000_000, "d": 86_400_000_000}


def parse_duration(text: str) -> int:
    """µs of 500ms, 10s, 5m, 2h, 7d or 1h30m. Raises Invalid."""
    if re.fullmatch(r"(\d{1,9}(ms|s|m|h|d))+", text, re.ASCII) is None:
        raise Invalid(
            f'"{shorten(text)}" is no duration; write one such as 500ms, 10s, 5m, 2h or 7d.'
        )
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    return sum(int(count) * UNITS_US[unit] for count, unit in parts)


def shorten(text: str) -> str:
    """Fit to be quoted: what was sent may be long."""
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"


def duration_text(us: int) -> str:
    """The shortest way to write a duration: 5m, 90s, 1h30m."""
    parts = []
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", MINUTE_US)):
        count, us = divmod(us, size)
        if count:
            parts.append(f"{count}{unit}")
    seconds, us = divmod(us, 1_000_000)
    if seconds:
        parts.append(f"{seconds}s")
    if us:
        parts.append(f"{us // 1000}ms")
    return "".join(parts) or "0s"
