"""A scene and what came of it, as SVG: lanes over one axis of time.

A reading is a dot, hollow when it was not judged. A bar is the state of a rule at a sensor:
waiting with `for` is dashed, an open alert is filled by its severity, clearing is striped.
"""

from collections.abc import Callable, Sequence
from html import escape

import attrs

from atalaia.rules.judging import CLEARING, OPEN, PENDING
from tests.house.timelines.asked import truth_of, value_of
from tests.house.timelines.lanes import (
    Arrivals,
    Bars,
    Lane,
    Plot,
    Running,
    Truth,
    Windows,
    segments,
)
from tests.house.timelines.play import Row, Step, Story
from tests.house.timelines.svg import (
    DIM,
    FAINT,
    INK,
    NOT_JUDGED,
    PAPER,
    READING,
    SEVERITY,
    VALUE,
    circle,
    dot,
    line,
    stairs,
    stripes,
    text,
)

WIDTH, LEFT, RIGHT, TOP = 640, 92, 20, 34
NAMES = LEFT - 14  # where the names of lanes end
SANS = 5.7  # width of a character at 11 pixels, about


def clock(seconds: float) -> str:
    """Minutes and seconds since the scene began."""
    whole = round(seconds)
    sign = "-" if whole < 0 else ""
    return f"{sign}{abs(whole) // 60}:{abs(whole) % 60:02d}"


@attrs.define(eq=False)
class Picture:
    """One drawing. by_arrival: readings stand where they arrived. stories: the first one is drawn
    but for the bars that name another. lateness: how long readings wait for older ones.
    """

    title: str
    rule: str
    stories: tuple[Story, ...]
    end: float
    tick: float
    by_arrival: bool = False
    lateness: float = 0
    marks: tuple[tuple[float, str], ...] = ()
    name_alerts: bool = False
    _parts: list[str] = attrs.field(factory=list)
    _y: float = TOP
    _arrival: bool = False

    @property
    def story(self) -> Story:
        return self.stories[0]

    def svg(self, lanes: Sequence[Lane]) -> str:
        """The whole file."""
        self._arrival = any(isinstance(lane, Arrivals) for lane in lanes)
        for lane in lanes:
            match lane:
                case Plot():
                    self._plot(lane)
                case Bars():
                    self._bars(lane)
                case Truth():
                    self._truth(lane)
                case Arrivals():
                    self._arrivals(lane)
                case Windows():
                    self._windows(lane)
                case Running():
                    self._running(lane)
        axis = self._axis()
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._y:.0f}" '
            f'width="{WIDTH}" height="{self._y:.0f}" role="img" aria-labelledby="title what" '
            'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" '
            'font-size="11">',
            f'<title id="title">{escape(self.title)}</title>',
            f'<desc id="what">{escape(self._said())}</desc>',
            "<defs>" + "".join(stripes(name, color) for name, (color, _) in SEVERITY.items())
            + "</defs>",
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self._y - 1:.0f}" rx="6" '
            f'fill="{PAPER}" stroke="{FAINT}"/>',
            text(12, 19, self.rule, INK, size=10, mono=True),
        ]  # fmt: skip
        return "\n".join([*head, *axis, *self._parts, "</svg>", ""])

    def _said(self) -> str:
        """For those who do not see it: every transition, and every reading not judged."""
        steps = [
            f"Rule {step.rule}, sensor {step.sensor}: {step.kind} at {clock(step.at)}, arrived "
            f"{clock(step.arrived)}, {step.severity}."
            for step in self.story.steps
        ]
        left = [
            f"{row.metric} of {row.sensor} at {clock(row.ts)}: {row.fate.replace('_', ' ')}."
            for row in self.story.rows
            if row.fate != "judged"
        ]
        return " ".join([*steps, *left]) or "No alert."

    def _x(self, at: float) -> float:
        inside = WIDTH - LEFT - RIGHT
        return LEFT + inside * at / self.end

    def _place(self, row: Row) -> float:
        return self._x(row.arrived if self.by_arrival else row.ts)

    def _axis(self) -> list[str]:
        """Behind everything: a line per tick, and its time."""
        parts = []
        bottom = self._y + 4
        at = 0.0
        while at <= self.end:
            x = self._x(at)
            parts.append(line(x, TOP - 6, x, bottom, FAINT, width=0.6))
            parts.append(text(x, bottom + 12, clock(at), DIM, anchor="middle", size=10))
            at += self.tick
        if not self._arrival:
            words = "arrival" if self.by_arrival else "event time"
            parts.append(text(NAMES - 6, bottom + 12, words, DIM, anchor="end", size=10))
        for at, word in self.marks:
            x = self._x(at)
            parts.append(line(x, TOP - 6, x, bottom, INK, width=1, dash="2 2"))
            parts.append(text(x + 4, TOP + 2, word, INK, size=10, halo=True))
        self._y = bottom + 20
        return parts

    def _name(self, label: str, y: float, *, mono: bool = False) -> None:
        self._parts.append(text(NAMES, y, label, DIM, anchor="end", size=10, mono=mono))

    def _plot(self, lane: Plot) -> None:
        mine = [
            row for row in self.story.rows if (row.sensor, row.metric) == (lane.sensor, lane.metric)
        ]
        judged = [row for row in self.story.rows if row.sensor == lane.sensor]
        judged = [row for row in judged if row.fate == "judged"]
        points = self._values(lane.expression, lane.metric, judged) if lane.expression else []
        numbers = [row.value for row in mine] + [v for _, v in points if v is not None]
        low, high = min([*numbers, *lane.thresholds]), max([*numbers, *lane.thresholds])
        top, height = self._y + 6, lane.height - 12

        def y(value: float) -> float:
            return top + height * (1 - (value - low) / ((high - low) or 1))

        self._name(lane.label or lane.metric, self._y + 14, mono=True)
        if lane.expression:
            self._parts.append(
                text(NAMES, self._y + 28, lane.expression, VALUE, anchor="end", size=9,
                      mono=True)
            )  # fmt: skip
        written = float("inf")
        for number in sorted(lane.thresholds):
            self._parts.append(line(LEFT, y(number), WIDTH - RIGHT, y(number), DIM, dash="5 3"))
            written = min(y(number) + 3.5, written - 9)
            self._parts.append(text(WIDTH - RIGHT + 3, written, f"{number:g}", DIM, size=9))
        self._parts += stairs([(self._x(at), None if v is None else y(v)) for at, v in points])
        for row in mine:
            self._parts += dot(self._place(row), y(row.value), row.fate)
        self._fates(mine, y)
        self._y += lane.height

    def _values(
        self, expression: str, metric: str, judged: Sequence[Row]
    ) -> list[tuple[float, float | None]]:
        """Where a reading of the metric was judged: at the sensor's clock of that moment.

        With a lateness they are judged in the order of their times, when they have waited so long.
        """
        found, newest = [], float("-inf")
        if self.lateness:
            until = max(row.ts for row in judged) - self.lateness
            judged = sorted((row for row in judged if row.ts < until), key=lambda row: row.ts)
        for row in judged:
            newest = max(newest, row.ts)
            if row.metric == metric and row.ts == newest:
                seen = [other for other in judged if other.ts <= newest]
                found.append((newest, value_of(expression, seen, newest)))
        return sorted(dict(found).items())

    def _fates(self, rows: Sequence[Row], y: Callable[[float], float]) -> None:
        for row in rows:
            if row.fate == "judged":
                continue
            words = row.fate.replace("_", " ")
            x, right = self._place(row), self._place(row) + 9 + SANS * len(words) < WIDTH - RIGHT
            self._parts.append(
                text(x + (8 if right else -8), y(row.value) + 3.5, words, NOT_JUDGED,
                      anchor="start" if right else "end", size=10, halo=True)
            )  # fmt: skip

    def _windows(self, lane: Windows) -> None:
        """(left, right]: the left end is open, the right one closed."""
        rows = [row for row in self.story.rows if row.sensor == lane.sensor]
        self._name("windows", self._y + 10)
        for end in lane.ends:
            y, a, b = self._y + 6, self._x(end - lane.width), self._x(end)
            self._parts += [
                line(a, y, b, y, VALUE, width=1.6),
                circle(a, y, 3, PAPER, VALUE),
                circle(b, y, 3, VALUE, VALUE),
            ]
            value = value_of(lane.expression, [row for row in rows if row.ts <= end], end)
            words = f"{lane.expression} = {'unknown' if value is None else f'{value:g}'}"
            self._parts.append(text(b + 8, y + 3, words, VALUE, size=9, mono=True))
            self._y += 12
        self._y += 2

    def _bars(self, lane: Bars) -> None:
        top, height = self._y + 4, 15
        story = self.stories[lane.story]
        steps = [s for s in story.steps if (s.rule, s.sensor) == (lane.rule, lane.sensor)]
        states = [s for s in story.states if (s.rule, s.sensor) == (lane.rule, lane.sensor)]
        self._name(lane.label, top + 11)
        self._parts.append(line(LEFT, top + height, WIDTH - RIGHT, top + height, FAINT))
        for since, until, phase, level in segments(steps, states, self.end):
            self._bar(since, until, top, height, phase, level)
        if not steps:
            self._parts.append(text(LEFT + 4, top + 11, "none", DIM, size=10))
        rows = self._say_steps(steps, top + height + 11)
        self._y += 4 + height + 6 + 12 * rows

    def _bar(
        self, since: float, until: float, top: float, height: float, phase: int, level: str
    ) -> None:
        a, b = self._x(since), self._x(min(until, self.end))
        color, ink = SEVERITY[level] if phase != PENDING else (DIM, INK)
        fill = {PENDING: PAPER, OPEN: color, CLEARING: f"url(#{level})"}[phase]
        dash = ' stroke-dasharray="3 2"' if phase == PENDING else ""
        self._parts.append(
            f'<rect x="{a:.1f}" y="{top:.1f}" width="{max(b - a, 1):.1f}" height="{height}" '
            f'fill="{fill}" stroke="{color}"{dash}/>'
        )
        word = {PENDING: "pending", OPEN: level, CLEARING: "clearing"}[phase]
        if b - a > SANS * len(word) + 4:
            ink = INK if phase == CLEARING else ink
            self._parts.append(
                text((a + b) / 2, top + 11, word, ink, anchor="middle", size=10)
            )  # fmt: skip

    def _say_steps(self, steps: Sequence[Step], y: float) -> int:
        """Each transition under its bar, a row further down where it would cover another."""
        ends = [float("-inf")]
        for step in steps:
            words = f"{step.kind} {clock(step.at)}"
            if self._arrival and step.arrived - step.at > 1:
                words += f", arrived {clock(step.arrived)}"
            if step.reason not in (None, "condition"):
                words += f": {step.reason}"
            if self.name_alerts and step.kind == "opened":
                words += f", id {step.alert}…"
            x, width = self._x(step.at), SANS * len(words) * 10 / 11
            left = min(x, WIDTH - RIGHT - width)
            row = next((n for n, end in enumerate(ends) if end < left - 6), len(ends))
            ends += [float("-inf")] * (row + 1 - len(ends))
            ends[row] = left + width
            self._parts.append(text(left, y + 12 * row, words, INK, size=10, halo=True))
            self._parts.append(line(x, y - 26, x, y - 8, INK, width=1.4))
        return len(ends) if steps else 0

    def _truth(self, lane: Truth) -> None:
        top, height = self._y + 3, 13
        self._name(lane.label, top + 10)
        rows = [row for row in self.story.rows if row.sensor == lane.sensor]
        rows = [row for row in rows if row.fate == "judged"]
        times = sorted({row.ts for row in rows if row.metric in lane.metrics})
        for at in times:
            truth = truth_of(lane.condition, [row for row in rows if row.ts <= at], at)
            word = {True: "yes", False: "no", None: "?"}[truth]
            fill = {True: VALUE, False: PAPER, None: FAINT}[truth]
            x = self._x(at)
            self._parts.append(
                f'<rect x="{x - 10:.1f}" y="{top}" width="20" height="{height}" rx="3" '
                f'fill="{fill}" stroke="{DIM}" stroke-width="0.6"/>'
            )
            ink = PAPER if truth else INK
            self._parts.append(text(x, top + 10, word, ink, anchor="middle", size=9))
        self._y += height + 8

    def _arrivals(self, lane: Arrivals) -> None:
        top, bottom = self._y + 2, self._y + 26
        self._name("event time", top + 4)
        self._name(lane.label, bottom + 3)
        self._parts.append(line(LEFT, top, WIDTH - RIGHT, top, DIM))
        self._parts.append(line(LEFT, bottom, WIDTH - RIGHT, bottom, DIM))
        for row in self.story.rows:
            color = READING if row.fate == "judged" else NOT_JUDGED
            x, to = self._x(row.ts), self._x(row.arrived)
            self._parts.append(line(x, top, to, bottom, color, width=0.9))
            self._parts.append(line(to, bottom - 3, to, bottom + 3, color, width=1.4))
        self._y += 34

    def _running(self, lane: Running) -> None:
        top, height = self._y + 4, 11
        self._name(lane.label, top + 9)
        up = 0.0
        for down, until in (*lane.downs, (self.end, self.end)):
            a, b = self._x(up), self._x(down)
            self._parts.append(
                f'<rect x="{a:.1f}" y="{top}" width="{b - a:.1f}" height="{height}" '
                f'fill="{FAINT}"/>'
            )
            self._parts.append(text((a + b) / 2, top + 9, "up", INK, anchor="middle", size=9))
            up = until
        self._y += height + 8
