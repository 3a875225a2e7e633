"""Days and hours of a place as intervals of UTC, over midnights and changes of the clock."""

from datetime import UTC, date, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, HOUR_US, Micros, RuleNo, SensorNo
from atalaia.rules.hours import Hours
from atalaia.rules.language import parse_rule
from atalaia.rules.program import ActiveRule
from atalaia.rules.schedule import Schedule, parse_schedule
from atalaia.rules.tenant_state import NS_PER_STEP, TenantRules
from tests.rules.streams import build, feed


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("days", "clock", "zone", "inside", "outside"),
    [
        ("weekdays", "08:00-18:00", "America/Sao_Paulo",
         ["2026-11-24T11:00", "2026-11-24T20:59:59"], ["2026-11-24T10:59:59", "2026-11-24T21:00",
                                                       "2026-11-22T15:00"]),
        ("fri", "22:00-06:00", "Europe/Berlin",
         ["2026-10-23T20:00", "2026-10-24T03:59"], ["2026-10-24T04:00", "2026-10-23T03:00"]),
        ("sat", "00:00-24:00", "Europe/Berlin", ["2026-10-24T21:59"], ["2026-10-24T22:00"]),
        ("sun-mon", None, "UTC", ["2026-11-22T00:00", "2026-11-23T23:59"], ["2026-11-24T00:00"]),
    ],
)  # fmt: skip
def test_a_time_is_inside_by_the_clock_of_the_place(
    days: str, clock: str | None, zone: str, inside: list[str], outside: list[str]
) -> None:
    """The end is outside; a span over midnight belongs to the day it begins on."""
    schedule = parse_schedule(days, clock, zone)
    for text in inside + outside:
        at = us(text)
        found = any(start <= at < end for start, end in schedule.intervals(at, at))
        assert found == (text in inside), text


def test_the_day_of_a_clock_change_is_as_long_as_it_is() -> None:
    """25 hours in autumn."""
    schedule = parse_schedule("daily", None, "Europe/Berlin")
    lengths = [
        (end - start) // HOUR_US
        for start, end in schedule.intervals(us("2026-10-25T12:00"), us("2026-10-25T12:00"))
    ]
    assert 25 in lengths
    assert set(lengths) == {24, 25}


@pytest.mark.parametrize(
    ("days", "clock", "zone"),
    [("mon", "08:00-08:00", "UTC"), ("mon", "08:60-09:00", "UTC"), ("mon", None, "Nowhere/Land")],
)
def test_what_is_no_schedule_is_said(days: str, clock: str | None, zone: str) -> None:
    with pytest.raises(Invalid):
        parse_schedule(days, clock, zone)


SCHEDULES = [
    parse_schedule(*parts)
    for parts in (
        ("daily", "23:00-01:00", "Asia/Kathmandu"), ("daily", None, "Europe/Berlin"),
        ("sat,sun", "22:00-21:59", "America/Sao_Paulo"), ("fri", "00:00-24:00", "Pacific/Apia"),
        ("daily", "02:30-03:00", "Europe/Berlin"), ("mon-fri", "08:00-18:00", "Pacific/Kiritimati"),
        ("daily", "23:30-00:30", "Pacific/Apia"), ("mon", "12:00-11:00", "Etc/GMT+12"),
    )
]  # fmt: skip
FORWARD = us("2026-03-29T01:00")  # in Berlin, where half past two is missing
SKIPPED = us("2011-12-30T12:00")  # in Apia


@given(
    st.lists(
        st.lists(
            st.integers(-3_000, 30_000).map(lambda hours: hours * HOUR_US)
            | st.integers(-300, 300).map(lambda tenths: FORWARD + tenths * HOUR_US // 10)
            | st.integers(-72, 72).map(lambda hours: SKIPPED + hours * HOUR_US),
            min_size=1, max_size=6,
        ),
        min_size=1, max_size=6,
    ),
    st.integers(1, len(SCHEDULES)),
)  # fmt: skip
def test_schedules_laid_out_day_by_day_are_the_same(batches: list[list[int]], first: int) -> None:
    """Whatever was asked for before, and whichever are there from the beginning."""
    hours = Hours()
    for n, times in enumerate(batches):
        for schedule in SCHEDULES[: first + n]:
            hours.number(schedule)
        hours.cover(np.array(times))
        for schedule in hours.schedules:
            start, end = hours.edges_at[hours.number(schedule)]
            assert (np.diff(hours.edges[start:end]) > 0).all()
            for at in times:
                before = np.searchsorted(hours.edges[start:end], at, side="right")
                spans = schedule.intervals(at - 5 * DAY_US, at + 5 * DAY_US)
                assert (before % 2 == 1) == any(a <= at < b for a, b in spans)


def test_only_the_days_that_are_judged_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all rules of a schedule, of sensors that one watches; however far they lie apart."""
    laid = []
    edge = Schedule._edge

    def counting(self: Schedule, day: date, minute: int, zone: ZoneInfo) -> int:
        laid.append(day)
        return edge(self, day, minute, zone)

    monkeypatch.setattr(Schedule, "_edge", counting)
    rules = [
        ActiveRule(RuleNo(n), UUID(int=n), 1, parse_rule(
            f'rule r{n} on sensor "a" when x > {n} during weekdays 08:00-18:00 America/Sao_Paulo'))
        for n in range(1, 31)
    ]  # fmt: skip
    engine = TenantRules(UUID(int=7), rules)
    slots = {
        name: engine.add_series(engine.add_sensor(SensorNo(n), UUID(int=n), name, {}), "x", None)
        for n, name in enumerate("ab", start=1)
    }

    def fold(name: str, at: int) -> int:
        before = len(laid)
        engine.fold(np.array([slots[name]]), np.array([at]), np.array([0.0]), Micros(1))
        return len(laid) - before

    assert fold("b", us("1980-01-02T03:04")) == 0
    known = NS_PER_STEP * 30  # what its rules may open
    assert engine.ns_to_prepare(np.array([0])) > known
    assert 2 <= fold("a", us("1970-01-02T03:04")) <= 10
    assert engine.ns_to_prepare(np.array([us("1970-01-02T13:04")])) == known
    assert fold("a", us("1970-01-02T13:04")) == 0
    assert 2 <= fold("a", us("2026-11-24T11:00")) <= 10
    assert fold("a", us("1970-01-02T03:05")) == 0  # it is judged at the clock of its sensor


def test_days_that_were_judged_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept stays small, and what is asked for is right."""
    monkeypatch.setattr("atalaia.rules.hours.MOST_LAID", 100)
    hours = Hours()
    for schedule in SCHEDULES[:2]:
        hours.number(schedule)
    for day in range(0, 4_000, 10):
        at = day * DAY_US + 18 * HOUR_US  # an hour of Kathmandu's
        hours.cover(np.array([at]))
        start, end = hours.edges_at[0]
        assert np.searchsorted(hours.edges[start:end], at, side="right") % 2 == 1
    assert len(hours.edges) <= 2 * 100 + 40


def test_an_alert_opens_within_its_hours_and_clears_at_any() -> None:
    """Outside nothing opens, and what waited begins anew."""
    engine = build(["rule r on sensors when last(a, 2h) > 0 for 30m during daily 08:00-09:00 UTC"])
    steps = []
    for minute, value in ((7 * 60 + 45, 1.0), (8 * 60 + 10, 1.0), (8 * 60 + 40, 1.0),
                          (9 * 60 + 30, 1.0), (10 * 60, 0.0), (10 * 60 + 30, 1.0)):  # fmt: skip
        steps += feed(engine, [[("a", minute * 60_000_000, value)]])
    assert [(step.kind, step.at // 60_000_000) for step in steps] == [
        ("opened", 8 * 60 + 40), ("cleared", 10 * 60),
    ]  # fmt: skip
