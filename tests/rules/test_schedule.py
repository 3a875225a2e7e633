"""Days and hours of a place as intervals of UTC, over midnights and changes of the clock."""

from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.model.errors import Invalid
from atalaia.model.ids import RuleNo
from atalaia.rules.language import parse_rule
from atalaia.rules.program import ActiveRule
from atalaia.rules.schedule import parse_schedule
from atalaia.rules.shapes import Shapes
from tests.rules.streams import build, feed

HOUR_US = 3_600_000_000


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


@given(st.lists(st.integers(0, 4_000), min_size=1, max_size=6))
def test_a_schedule_laid_out_piece_by_piece_is_the_same(days: list[int]) -> None:
    """Whatever range was asked for first."""
    spec = parse_rule("rule r on sensors when x > 1 during daily 23:00-01:00 Asia/Kathmandu")
    shapes = Shapes([ActiveRule(RuleNo(1), UUID(int=1), 1, spec)])
    shapes.find("s", {})
    for day in days:
        at = day * 24 * HOUR_US
        shapes.cover(at, at)
        before = np.searchsorted(shapes.edges, at, side="right")
        assert spec.schedule is not None
        inside = any(a <= at < b for a, b in spec.schedule.intervals(at, at))
        assert (before % 2 == 1) == inside


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
