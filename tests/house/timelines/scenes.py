"""The scenes: for each point of docs/reference/rules.md rules, what happens, and what to show.

Times are minutes and seconds since the scene began. To add one, write it here, run
`python -m tests.house.timelines` and look at it.
"""

from collections.abc import Iterable, Sequence

import attrs

from tests.house.timelines.asked import try_on
from tests.house.timelines.draw import Picture
from tests.house.timelines.lanes import (
    Arrivals,
    Bars,
    Lane,
    Plot,
    Running,
    Truth,
    Windows,
)
from tests.house.timelines.play import Down, Edit, Happening, Send, play


@attrs.frozen
class Scene:
    """name: the file's. shown: the rule as it is shown, when it is not the first one."""

    name: str
    title: str
    rules: tuple[str, ...]
    happenings: tuple[Happening, ...]
    lanes: tuple[Lane, ...]
    end: float
    tick: float = 60
    shown: str = ""
    by_arrival: bool = False
    name_alerts: bool = False
    marks: tuple[tuple[float, str], ...] = ()
    compared: bool = False
    lateness: float = 0

    def draw(self) -> str:
        """The SVG, from what the engine makes of it.

        compared: with two more stories, the one without its stops and the backtest of its rule.
        """
        stories = [play(self.rules, self.happenings, self.end, self.lateness)]
        if self.compared:
            calm = [happening for happening in self.happenings if not isinstance(happening, Down)]
            stories.append(play(self.rules, calm, self.end))
            stories.append(try_on(self.rules[0], stories[0].rows, self.end))
        picture = Picture(
            title=self.title,
            rule=self.shown or self.rules[0].partition(" sensors ")[2],
            stories=tuple(stories),
            end=self.end,
            tick=self.tick,
            by_arrival=self.by_arrival,
            lateness=self.lateness,
            name_alerts=self.name_alerts,
            marks=self.marks,
        )
        return picture.svg(self.lanes)


def rule(text: str, name: str = "r") -> str:
    return f"rule {name} on sensors {text}"


def every(
    step: float, values: Sequence[float | None], *, first: float = 0, metric: str = "t",
    sensor: str = "s", ahead: float = 0, arrives: float | None = None,
) -> list[Send]:  # fmt: skip
    """A reading every `step` seconds, None for none, each sent at its time.

    ahead: of the device's clock before ours. arrives: when all of them come, one after the other.
    """
    sends = []
    for place, value in enumerate(values):
        if value is not None:
            at = first + step * place
            sent = at if arrives is None else arrives + 1e-3 * place
            sends.append(Send(sent, ((sensor, metric, at + ahead, value),)))
    return sends


def one(at: float, ts: float, value: float, metric: str = "t", sensor: str = "s") -> Send:
    return Send(at, ((sensor, metric, ts, value),))


def all_of(*parts: Iterable[Happening] | Happening) -> tuple[Happening, ...]:
    found: list[Happening] = []
    for part in parts:
        found += [part] if isinstance(part, Send | Edit | Down) else part
    return tuple(found)


HYSTERESIS = rule("when avg(t, 1m) > 30 clear when avg(t, 1m) < 27 for 1m")
LEVELS = rule(
    "when avg(t, 1m) > 30 clear when avg(t, 1m) < 27\n"
    "severity warning, critical when avg(t, 1m) > 40"
)
WAITS = rule("when avg(t, 30s) > 30 for 2m")
BOTH = "when avg(a, 1m) > 30 and last(b, 2m) > 5"

STOPS = tuple(Down(at, at + 16) for at in (42, 122, 182, 242))  # between two readings

SCENES = (
    Scene(
        "01-two-clocks",
        "Readings that were kept by the device are judged by their own times, when they arrive.",
        (rule("when avg(t, 1m) > 30"),),
        all_of(
            every(20, [24, 25, 26, 27, 26, 27]),
            every(20, [34, 38, 36, 37, 33, 27, 24, 23], first=120, arrives=300),
            every(20, [23, 24, 23], first=320),
        ),
        (Plot("t", expression="avg(t, 1m)", thresholds=(30,)), Bars(), Arrivals()),
        end=360,
    ),
    Scene(
        "02-window",
        "A reading counts from its own time on, for as long as the window is wide.",
        (rule("when max(t, 1m) > 30"),),
        all_of(every(15, [20, 21, 22, 36, 22, 21, 20, 22, 21, 20, 21])),
        (
            Plot("t", expression="max(t, 1m)", thresholds=(30,)),
            Windows("max(t, 1m)", 60, (60, 90, 105)),
            Bars(),
        ),
        end=165, tick=15,
    ),
    Scene(
        "03-sensor-clock",
        "The clock of sensor a is two minutes ahead; it makes nothing of sensor b late.",
        (rule("when avg(t, 1m) > 30"),),
        all_of(
            every(30, [22, 24, 34, 38, 36, 24, 22], sensor="a", ahead=120),
            every(30, [21, 23, 33, 37, 35, 25, 22], sensor="b", first=10),
        ),
        (
            Plot("t", "a", "avg(t, 1m)", (30,), height=48, label="t of a"),
            Bars(sensor="a", label="alert of a"),
            Plot("t", "b", "avg(t, 1m)", (30,), height=48, label="t of b"),
            Bars(sensor="b", label="alert of b"),
            Arrivals(),
        ),
        end=330,
    ),
    Scene(
        "04-late",
        "The rows of one request may be in any order; a later request with older rows is late.",
        (rule("when max(t, 1m) > 30"),),
        all_of(
            every(20, [22, 23, 22]),
            Send(100, (("s", "t", 100, 23), ("s", "t", 60, 24), ("s", "t", 80, 25))),
            every(20, [24, 23], first=120),
            one(160, 110, 38),
            every(20, [22, 23, 22, 24], first=160),
        ),
        (Plot("t", expression="max(t, 1m)", thresholds=(30,)), Bars(), Arrivals()),
        end=230, tick=30,
    ),
    Scene(
        "04-lateness",
        "With a lateness of a minute readings wait for older ones; what is older still is late.",
        (rule("when max(t, 1m) > 30"),),
        all_of(
            every(20, [22, 23, 22]),
            Send(100, (("s", "t", 100, 23), ("s", "t", 60, 24), ("s", "t", 80, 25))),
            every(20, [24, 23], first=120),
            one(160, 110, 38), one(170, 90, 24),
            every(20, [22, 23, 22, 24, 23, 22], first=160),
        ),
        (Plot("t", expression="max(t, 1m)", thresholds=(30,)), Bars(), Arrivals()),
        end=270, tick=30, lateness=60, shown="lateness 1m: when max(t, 1m) > 30",
    ),
    Scene(
        "05-duplicate",
        "The same series and time is the same reading: the first value stays.",
        (rule("when max(t, 1m) > 30"),),
        all_of(
            every(20, [22, 23, 24, 23, 22, 24, 23]),
            one(130, 40, 38), one(135, 60, 23), one(140, 100, 36),
            every(20, [23, 22], first=150),
        ),
        (Plot("t", expression="max(t, 1m)", thresholds=(30,)), Bars(), Arrivals()),
        end=180, tick=30,
    ),
    Scene(
        "06-clock-skew",
        "Up to five minutes ahead a reading is taken; beyond, it is refused and moves no clock.",
        (rule("when avg(t, 1m) > 30"),),
        all_of(
            every(30, [22, 23, 24]), one(90, 450, 39), every(30, [23, 34, 36, 35], first=120),
            one(240, 480, 24), one(270, 500, 23),
        ),
        (Plot("t", expression="avg(t, 1m)", thresholds=(30,)), Bars(), Arrivals()),
        end=540,
    ),
    Scene(
        "07-pending",
        "What waits begins anew when the condition fails once, and after a silence.",
        (WAITS,),
        all_of(
            every(15, [24, 34, 35, 36, 34, 24, 24, 34, 36, 37]),
            every(15, [36, 34, 35, 36, 37, 36, 35, 34, 35, 36, 35], first=195),
        ),
        (Plot("t", expression="avg(t, 30s)", thresholds=(30,)), Bars()),
        end=360, tick=30,
    ),
    Scene(
        "08-clear",
        "Between the two conditions the alert stays; it clears after a minute below the lower one.",
        (HYSTERESIS,),
        all_of(every(20, [24, 27, 34, 36, 34, 29, 28, 29, 28, 26, 24, 25, 30, 31, 28, 25, 24, 24,
                          23, 24, 25, 24])),
        (Plot("t", expression="avg(t, 1m)", thresholds=(30, 27)), Bars()),
        end=440,
    ),
    Scene(
        "09-unknown",
        "While b is silent nobody knows: that opens nothing and, as the rule likes, clears or not.",
        tuple(
            rule(f"{BOTH} {said}", name)
            for name, said in (("r1", ""), ("r2", "on no data clear"), ("r3", "on no data alert"))
        ),
        all_of(
            every(30, [24, 34, 36, 37, 36, 35, 34, 36, 35, 34, 35, 36, 35, 34, 35, 36, 35, 34, 35],
                  metric="a"),
            every(30, [7, 8, 7, 8], metric="b"), one(300, 300, 3, "b"), one(510, 510, 8, "b"),
        ),
        (
            Plot("a", expression="avg(a, 1m)", thresholds=(30,), height=44),
            Plot("b", expression="last(b, 2m)", thresholds=(5,), height=36),
            Truth("avg(a, 1m) > 30 and last(b, 2m) > 5", ("a", "b")),
            Bars(1, label="keep"), Bars(2, label="clear"), Bars(3, label="alert"),
        ),
        end=570, shown=f"{BOTH} on no data keep|clear|alert",
    ),
    Scene(
        "10-silence",
        "Silence is measured by arrival, and our own absence is nobody's silence.",
        (rule("when no data for 2m"),),
        all_of(
            every(20, [22, 23, 22, 24]), every(20, [23, 22, 23], first=240),
            Down(330, 420), every(20, [23, 24], first=570),
        ),
        (Plot("t", height=40), Running(((330, 420),)), Bars()),
        end=630, by_arrival=True,
    ),
    Scene(
        "11-levels",
        "One alert from its opening to its end; its severity rises and falls.",
        (LEVELS,),
        all_of(every(20, [24, 26, 33, 36, 38, 44, 48, 46, 43, 36, 33, 31, 32, 29, 25, 22, 22])),
        (Plot("t", expression="avg(t, 1m)", thresholds=(30, 40, 27)), Bars()),
        end=340, shown=" ".join(LEVELS.partition(" sensors ")[2].split()), name_alerts=True,
    ),
    Scene(
        "12-cooldown",
        "Every alert is opened and kept, within the cooldown too.",
        (rule("when t > 30 cooldown 4m"), rule("when t > 30", "r2")),
        all_of(every(20, [24, 33, 34, 24, 23, 34, 33, 24, 22, 23, 22, 23, 24, 22, 23, 35, 34, 24])),
        (
            Plot("t", thresholds=(30,), height=48),
            Bars(1, label="cooldown 4m"), Bars(2, label="without"),
        ),
        end=360,
    ),
    Scene(
        "13-restart",
        "Without a stop, stopped four times, and tried on what was stored: one alert, to the id.",
        (HYSTERESIS,),
        all_of(every(20, [24, 27, 34, 36, 34, 29, 28, 29, 28, 26, 24, 25, 24, 23, 24, 25, 24]),
               STOPS),
        (
            Plot("t", expression="avg(t, 1m)", thresholds=(30, 27)),
            Bars(label="no restart", story=1),
            Running(tuple((stop.at, stop.until) for stop in STOPS)), Bars(label="4 restarts"),
            Bars(label="backtest", story=2),
        ),
        end=340, name_alerts=True, compared=True,
    ),
    Scene(
        "14-rule-edit",
        "An edit of the condition ends the alert; the new version begins with full windows.",
        (rule("when avg(t, 2m) > 30"),),
        all_of(
            every(20, [24, 27, 34, 36, 37, 36, 35, 36, 37, 36, 35, 36, 35, 34, 30, 24, 22, 22, 22]),
            Edit(130, 1, rule("when avg(t, 2m) > 30 # the boiler trips at 45")),
            Edit(210, 1, rule("when avg(t, 2m) > 32")),
        ),
        (Plot("t", expression="avg(t, 2m)", thresholds=(30, 32)), Bars()),
        end=380, marks=((130, "comment edited"), (210, "now > 32")),
        shown="when avg(t, 2m) > 30, then when avg(t, 2m) > 32", name_alerts=True,
    ),
    Scene(
        "15-timers",
        "A waiting rule is looked at when a reading comes, by the times of the readings alone.",
        (rule("when t > 30 for 2m"),),
        all_of(
            every(50, [24, 33, 34, 35, 36, 33, 24], sensor="live"),
            every(50, [24, 33, 34, 35, 36, 33, 24], sensor="kept", arrives=330),
        ),
        (
            Plot("t", "live", thresholds=(30,), height=40, label="t"),
            Bars(sensor="live", label="as it came"), Bars(sensor="kept", label="sent at 5:30"),
            Arrivals(),
        ),
        end=360, marks=((170, "two minutes"),),
    ),
)  # fmt: skip
