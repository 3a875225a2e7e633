"""What is said of a rule at a sensor is what the engine knows of it, and what it will do."""

import math
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules import conditions
from atalaia.rules.earliest import earliest
from atalaia.rules.explaining import explain, mismatch
from atalaia.rules.explanation import Explanation, SilenceTold, Subject
from atalaia.rules.language import parse_rule
from atalaia.rules.measuring import Measured, Measurement
from atalaia.rules.program import ActiveRule
from atalaia.rules.states import PHASES, Standing, find_standing
from atalaia.rules.syntax import RuleSpec
from atalaia.rules.tenant_state import TenantRules
from atalaia.rules.weighing import moment
from tests.rules import oracle
from tests.rules.streams import build, feed, rule_texts, streams

NOW = Micros(2_000_000_000_000_000)


def measure(
    text: str, groups: list[list[oracle.Reading]], cuts: list[int] | None = None
) -> tuple[Measured, Micros]:
    """As from storage: the rule's metrics alone, in one slice of time or in several."""
    rule = ActiveRule(RuleNo(1), UUID(int=1), 1, parse_rule(text))
    rows = [reading for group in groups for reading in group]
    clock = Micros(max((ts for _, ts, _ in rows), default=0))
    metrics = [metric for metric in rule.spec.metrics if any(m == metric for m, _, _ in rows)]
    found = Measurement(rule, metrics, clock)
    kept = sorted(
        (ts, metrics.index(m), v)
        for m, ts, v in rows
        if m in metrics and ts > clock - found.reach_us
    )
    edges = sorted({*(cuts or []), 0, len(kept)})
    for low, high in pairwise(edges):
        part = sorted(kept[low:high], key=lambda row: (row[1], row[0]))
        found.take(
            np.array([m for _, m, _ in part]),
            np.array([t for t, _, _ in part]),
            np.array([v for _, _, v in part]),
        )
    return found.result(), clock


def subject(
    text: str, groups: list[list[oracle.Reading]], engine: TenantRules, **more: Any
) -> Subject:
    rows = [reading for group in groups for reading in group]
    newest = {m: Micros(max(t for x, t, _ in rows if x == m)) for m in {m for m, _, _ in rows}}
    fields: dict[str, Any] = {
        "name": "r", "spec": parse_rule(text), "enabled": True, "active_from": Micros(0),
        "sensor": "s1", "tags": {}, "newest": newest, "waits": False,
        "arrived": dict.fromkeys(newest, Micros(1)), "alert": "a", "left_out": False, "late": 0,
        "standing": find_standing(engine.dump(), RuleNo(1), 1, SensorNo(1)),
        "measured": measure(text, groups)[0], "now": NOW, "silent_since": Micros(1),
        "deaf": False,
    }  # fmt: skip
    return Subject(**fields | more)


def asked(text: str, groups: list[list[oracle.Reading]], **more: Any) -> Explanation:
    engine = build([text])
    feed(engine, groups)
    return explain(subject(text, groups, engine, **more))


def codes(told: Explanation) -> list[str]:
    return [obstacle.code for obstacle in told.obstacles]


@given(rule_texts(), streams(), st.data())
def test_values_truth_and_state_are_those_of_the_engine(
    text: str, groups: list[list[oracle.Reading]], data: st.DataObject
) -> None:
    """To the bit, when the last readings were judged; else those that a judgement would find."""
    spec, engine = parse_rule(text), build([text])
    steps = feed(engine, groups)
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=3))
    measured, clock = measure(text, groups, cuts)
    rows = [reading for group in groups for reading in group]
    if {metric for metric, _, _ in groups[-1]} & set(spec.metrics):
        live = engine.values_of(0)
        assert [math.isnan(v) for v in live.values()] == [
            math.isnan(measured.values[one]) for one in live
        ]
        for one, value in live.items():
            assert math.isnan(value) or value == measured.values[one]
    for one, value in measured.values.items():
        wanted = oracle.evaluate(one, rows, clock)
        assert conditions.known(value) == (
            None if wanted is None else pytest.approx(wanted, abs=1e-9)
        )
        inside = [t for m, t, _ in rows if m == one.metric and t > clock - one.window_us]
        assert measured.counts[one] == len(inside)
    told = explain(subject(text, groups, engine))
    assert told.condition.truth is oracle.evaluate(spec.when, rows, clock)
    assert told.judged_at == clock
    for weighing in told.condition.weighings:
        said = weighing.comparison
        assert (said.truth is None) == (weighing.unknown is not None)
        if weighing.distance is not None and weighing.distance != 0:
            assert (weighing.distance > 0) == (said.truth is not said.needs)
    phase, opened = "idle", None
    for step in steps:
        phase, opened = ("idle", opened) if step.kind == "cleared" else ("open", opened)
        opened = step.at if step.kind == "opened" else opened
    standing = find_standing(engine.dump(), RuleNo(1), 1, SensorNo(1))
    assert standing.phase in PHASES
    assert (standing.phase in ("open", "clearing")) == (phase == "open")
    assert standing.opened == opened
    assert standing.level == (steps[-1].severity if phase == "open" else None)
    assert ("already_open" in codes(told)) == (phase == "open")
    assert (told.clear is not None) == (phase == "open")
    assert told.summary.endswith(".")


HOLDS = (
    "rule r on sensors when last(a, {w}) > 1{hold}{during}",
    "rule r on sensors when max(a, {w}) > 1 and not (min(a, {w}) > 99){hold}{during}"
    " clear when b > 9",
)  # fmt: skip
DURING = (
    "", "", " during daily UTC", " during thu 00:00-00:01 UTC", " during daily 01:00-02:00 UTC",
    " during sat,sun 22:00-02:00 Asia/Kathmandu",
)  # fmt: skip


@given(
    st.sampled_from(HOLDS),
    st.sampled_from(["1s", "10s", "2m", "20h"]),
    st.sampled_from(["", " for 1s", " for 90s", " for 30m", " for 3h"]),
    st.sampled_from(DURING),
    streams(),
    st.integers(1, 3_600_000_000),
    st.data(),
)
def test_no_alert_opens_before_the_earliest_time_and_one_does_then(
    form: str, window: str, hold: str, during: str, groups: list[list[oracle.Reading]], gap: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    """Whenever readings come; at that time when they come as densely as they must."""
    text = form.format(w=window, hold=hold, during=during)
    spec = parse_rule(text)
    clock = max(ts for group in groups for _, ts, _ in group) + gap
    engine, other = build([text]), build([text])
    for one in (engine, other):
        feed(one, [*groups, [("c", clock, 0.0)]])  # a metric of no rule goes on
    standing = find_standing(engine.dump(), RuleNo(1), 1, SensorNo(1))
    if standing.phase in ("open", "clearing"):
        return
    at = earliest(spec, standing, Micros(clock))
    if at is None:  # the hour or minute that it is open is too short
        assert spec.schedule is not None
        assert spec.for_us >= 60_000_000
        return
    assert at >= clock
    after = data.draw(st.lists(st.integers(0, 2 * (at - clock) + 1), max_size=30, unique=True))
    steps = feed(other, [[("a", clock + ts, 5.0)] for ts in sorted(after)])
    assert all(step.at >= at for step in steps)
    # A judgement while the schedule is closed would let what waits begin anew.
    times = set[int]()
    for start, end in _open(spec, clock, at):
        times |= {*range(start, end, spec.gap_us), end - 1}
    assert feed(engine, [[("a", time, 5.0)] for time in sorted(times)]) == []
    (opened,) = feed(engine, [[("a", at, 5.0)]])
    assert (opened.kind, opened.at) == ("opened", at)


def _open(spec: RuleSpec, since: int, until: int) -> list[tuple[int, int]]:
    """When the rule may open, within [since, until)."""
    if spec.schedule is None:
        return [(since, until)] if since < until else []
    found = [(max(a, since), min(b, until)) for a, b in spec.schedule.intervals(since, until)]
    return [(start, end) for start, end in found if start < end]


T0 = 1_700_000_000_000_000  # a Tuesday, 22:13:20 UTC
ONE = [[("a", T0, 0.5)]]


@pytest.mark.parametrize(
    ("text", "groups", "more", "code", "summary"),
    [
        ("when avg(a, 5m) > 1.5", ONE, {}, None,
         "No alert: avg(a, 5m) is 0.5 and must be more than 1.5: 1 to go."),
        ("when not (a < 1 or b < 2)", ONE, {}, None,
         "No alert: last(a, 5m) is 0.5 and must be at least 1: 0.5 to go (1 more to go)."),
        ("when a < 1", ONE, {"enabled": False}, "rule_disabled",
         "No alert can open. The rule is disabled: nothing is judged."),
        ("when a < 1", ONE, {"left_out": True}, "left_out",
         "No alert can open. The rules that match this sensor look at more than 64 of its metrics "
         "together; this one is left out."),
        ("when b < 1", ONE, {}, "no_readings", "No alert: the sensor has sent no b yet."),
        ("when stddev(a, 5m) > 1", ONE, {}, "unknown",
         "No alert: stddev(a, 5m) > 1 is unknown, stddev needs 2 readings of a in 5m, there is 1."),
        ("when a / (a - 0.5) > 1", ONE, {}, "unknown",
         "No alert: last(a, 5m) / (last(a, 5m) - 0.5) > 1 is unknown, division by zero: "
         "last(a, 5m) - 0.5 is 0."),
        ("when zscore(a, 5m) > 1", [[("a", T0 + n, float(n == 20))] for n in range(21)], {},
         "unknown",
         "No alert: zscore(a, 5m) > 1 is unknown, the other readings of a are all equal: none "
         "tells how unusual this one is."),
        ("when b > 1 and a > 0", [[("b", T0, 2.0)], [("a", T0 + 360_000_000, 1.0)]], {}, "unknown",
         "No alert: last(b, 5m) > 1 is unknown, no reading of b in the last 5m; the newest is of "
         "2023-11-14 22:13:20 UTC."),
        ("when a < 1 for 2m", ONE, {}, "for_not_over",
         "Not yet. The condition has held since 2023-11-14 22:13:20 UTC; it must hold for 2m. It "
         "opens at 2023-11-14 22:15:20 UTC at the earliest."),
        ("when a < 1 during weekends 08:00-18:00 UTC", ONE, {}, "outside_schedule",
         "The condition holds, but no alert is open. 2023-11-14 22:13:20 UTC is outside of the "
         "rule's schedule, which opens next at 2023-11-18 08:00:00 UTC."),
        ("when a < 1 clear when a > 2 severity info, critical when a > 0", ONE, {}, "highest_level",
         "An alert is open since 2023-11-14 22:13:20 UTC, critical. It does not clear: "
         "last(a, 5m) is 0.5 and must be more than 2: 1.5 to go."),
        ("when a < 1 clear when a > 2 for 1m", [*ONE, [("a", T0 + 500_000, 3.0)]], {},
         "already_open",
         "An alert is open since 2023-11-14 22:13:20 UTC, warning. It has been clearing since "
         "2023-11-14 22:13:20.5 UTC and must for 1m."),
        ("when a < 1", ONE, {"late": 2}, "late_readings",
         "An alert is open since 2023-11-14 22:13:20 UTC, warning. It does not clear: "
         "last(a, 5m) is 0.5 and must be at least 1: 0.5 to go."),
        ("when a > 9", [*ONE, [("c", T0 + 9, 0.5)]], {}, "not_judged_lately",
         "No alert: last(a, 5m) is 0.5 and must be more than 9: 8.5 to go."),
    ],
)  # fmt: skip
def test_what_keeps_an_alert_from_opening_is_said_in_a_sentence(
    text: str, groups: list[list[oracle.Reading]], more: dict[str, Any], code: str | None,
    summary: str,
) -> None:  # fmt: skip
    """A stable code for programs, a summary that a person understands at once."""
    told = asked(f"rule r on sensors {text}", groups, **more)
    assert told.summary == summary
    assert code in codes(told) or (code is None and codes(told) == [])


def test_a_rule_made_after_the_readings_waits_for_the_next_one() -> None:
    """Its condition holds, and nobody has asked it yet."""
    text = "rule r on sensors when a < 1"
    told = explain(subject(text, ONE, build([text]), active_from=Micros(2)))
    assert (codes(told), told.condition.truth) == (["not_judged_yet"], True)
    assert told.summary.startswith("The condition holds, but no alert is open. No reading has come")
    assert (told.earliest, told.earliest_note) == (
        T0, "With the next reading at which the condition holds.",
    )  # fmt: skip


def test_unknown_counts_as_true_where_the_rule_says_so() -> None:
    """`on no data alert`: that the condition is unknown keeps nothing from opening."""
    text = "rule r on sensors when stddev(a, 5m) > 1 for 1m on no data alert"
    told = asked(text, ONE)
    assert codes(told) == ["for_not_over"]
    assert told.condition.truth is None


def test_a_schedule_that_is_too_short_lets_nothing_open() -> None:
    """`for` does not fit into the minute that it is open."""
    told = asked("rule r on sensors when a < 1 for 2h during daily 08:00-08:01 UTC", ONE)
    assert (told.earliest, told.earliest_note) == (
        None, "Never: its schedule is never open for 2h without a break.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("selector", "tags", "said"),
    [
        ("sensors", {}, None),
        ('sensor "s2"', {}, 'the rule watches the sensor "s2", this one is "s1"'),
        ('sensors "p-*"', {}, 'the rule watches sensors like "p-*", this one is "s1"'),
        ('sensors where type = "boiler" and site ~ "po*"', {"type": "boiler", "site": "rio"},
         'the rule watches sensors where site ~ "po*"; here site is "rio"'),
        ('group "pumps"', {}, 'the rule watches sensors where group = "pumps"; this one has no tag '
         "group"),
    ],
)  # fmt: skip
def test_the_tag_that_differs_is_named(
    selector: str, tags: dict[str, str], said: str | None
) -> None:
    """A rule that does not match can open nothing, and says at what."""
    text = f"rule r on {selector} when a < 1"
    told = explain(subject(text, ONE, build([text]), tags=tags))
    assert mismatch(parse_rule(text).selector, "s1", tags) == said
    assert ("selector_mismatch" in codes(told)) == (said is not None)
    assert (told.earliest is None) == (said is not None)


def test_a_silence_is_told_by_arrival() -> None:
    """Last heard, deadline, how long to go; our own absence is nobody's silence."""
    text = "rule r on sensors when no data for 10m severity critical"
    engine = build([text])
    second = 1_000_000
    heard = Micros(NOW - 240 * second)
    more: dict[str, Any] = {"measured": None, "arrived": {"a": heard}, "silent_since": heard}
    told = explain(subject(text, ONE, engine, **more))
    assert (told.silence, told.earliest) == (
        SilenceTold(heard, heard, Micros(NOW + 360 * second)),
        NOW + 360 * second,
    )
    assert [w.distance for w in told.condition.weighings] == [360]
    assert told.summary == (
        f"No alert: the newest reading arrived at {moment(heard)}; it opens at "
        f"{moment(NOW + 360 * second)} if nothing arrives."
    )
    later = more | {"silent_since": Micros(NOW - 100 * second)}
    woken = explain(subject(text, ONE, engine, **later))
    assert woken.earliest == NOW + 500 * second
    assert "its silence counts from" in woken.summary
    deaf = explain(subject(text, ONE, engine, **later, deaf=True))
    assert (codes(deaf), deaf.earliest) == (["not_heard"], woken.earliest)
    assert deaf.summary.endswith(f"it opens at {moment(NOW + 500 * second)} at the earliest.")
    (step,) = engine.tick(engine.due(NOW), NOW, NOW)
    opened = explain(subject(text, ONE, engine, **more))
    assert (codes(opened), step.kind) == (["already_open"], "opened")
    assert opened.summary.startswith(f"An alert is open since {moment(NOW)}, critical: nothing has")


def test_the_newest_state_of_the_right_version_is_found() -> None:
    """Later states win; those of other rules, versions and sensors are nobody's here."""
    text = "rule r on sensors when a > 1 for 1m"
    engine = build([text, text.replace("rule r", "rule q")], 2)
    feed(engine, [[("a", T0, 5.0)]])
    packed = engine.take_dirty()
    feed(engine, [[("a", T0 + 60_000_000, 5.0)]])
    packed += engine.take_dirty()
    assert find_standing(packed, RuleNo(2), 1, SensorNo(1)) == Standing(
        "open", "warning", Micros(T0 + 60_000_000), Micros(T0 + 60_000_000),
        Micros(T0 + 60_000_000),
    )  # fmt: skip
    for rule, version, sensor in ((1, 2, 1), (3, 1, 1), (1, 1, 2)):
        assert find_standing(packed, RuleNo(rule), version, SensorNo(sensor)) == Standing()
