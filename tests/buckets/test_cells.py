"""Cells and what is said of buckets, against a naive oracle."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.buckets.cells import LEVELS_US, PACKS_US, Cells, floor, fold_readings, raise_cells
from atalaia.buckets.fold import Fold
from atalaia.buckets.grid import Grid, make_grid
from atalaia.buckets.plan import make_plan
from atalaia.buckets.table import AGGREGATES, FILLS, SHARES, Fill, make_table
from atalaia.model.errors import Invalid
from atalaia.model.ids import DAY_US, HOUR_US, MINUTE_US, Micros
from tests.buckets.oracle import Reading, buckets, close, filled

START = 1_767_225_600_000_000  # 2026-01-01
SPAN_US = 3 * DAY_US

values = st.one_of(
    st.integers(-1000, 1000).map(float),
    st.floats(-1e9, 1e9, allow_nan=False),
    st.sampled_from([0.0, -0.0, 1e-300, 5e12]),
)
times = st.one_of(
    st.integers(0, SPAN_US - 1),
    st.integers(0, 40 * MINUTE_US),
    st.integers(0, SPAN_US // MINUTE_US - 1).map(lambda n: n * MINUTE_US),
)
series = st.dictionaries(times, values, max_size=60).map(
    lambda found: [(START + ts, found[ts]) for ts in sorted(found)]
)
bucket_sizes = st.sampled_from(
    [1_000_000, 30_000_000, MINUTE_US, 5 * MINUTE_US, 7 * MINUTE_US + 1_000_000, HOUR_US,
     90 * MINUTE_US, 6 * HOUR_US, DAY_US, 2 * DAY_US]
)  # fmt: skip


def columns(readings: list[Reading]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([ts for ts, _ in readings], np.int64),
        np.array([value for _, value in readings], np.float64),
    )


def in_chunks(fold: Fold, readings: list[Reading], size: int) -> Cells:
    ts, value = columns(readings)
    for start in range(0, len(ts), size):
        fold.take(ts[start : start + size], value[start : start + size])
    return fold.end()


@given(series, bucket_sizes, st.integers(1, 70), st.sampled_from(FILLS))
def test_buckets_are_those_of_a_naive_oracle(
    readings: list[Reading], bucket_us: int, chunk: int, fill: Fill
) -> None:
    """Every aggregate, every way to fill, however the readings come in chunks."""
    grid = make_grid(Micros(START), Micros(START + SPAN_US - 1), bucket_us, None, 10**6)
    fold = Fold(grid, minutes=False, shares=tuple(SHARES.values()))
    cells = in_chunks(fold, readings, chunk)
    ranked = dict(zip(SHARES, fold.quantiles(), strict=True))
    table = make_table(grid, cells, ranked, AGGREGATES, fill)
    expected = buckets(readings, grid.edges.tolist(), AGGREGATES)
    starts = sorted(expected) if fill == "none" else grid.starts.tolist()
    assert table.ts.tolist() == starts
    for name in AGGREGATES:
        found = {start: row[name] for start, row in expected.items()}
        wanted = [found[s] for s in starts] if fill == "none" else filled(starts, found, fill)
        if name == "count":
            wanted = [value or 0 for value in wanted] if fill == "null" else [
                found.get(start) or 0 for start in starts
            ]  # fmt: skip
        mine = table.columns[name].tolist()
        assert all(map(close, mine, wanted)), (name, mine, wanted)


@given(series, st.sampled_from([MINUTE_US, HOUR_US, 6 * HOUR_US, DAY_US]), st.data())
def test_stored_cells_answer_as_readings_do(
    readings: list[Reading], bucket_us: int, data: st.DataObject
) -> None:
    """Bit for bit, wherever the rollups end and whatever hours are stale: what is stored of those
    is not looked at."""
    grid = make_grid(Micros(START), Micros(START + SPAN_US - 1), bucket_us, None, 10**6)
    mark = START + data.draw(st.one_of(st.just(72), st.integers(0, 72))) * HOUR_US
    touched = [(ts - START) // HOUR_US for ts, _ in readings] or [0]
    hours = data.draw(st.lists(st.one_of(st.sampled_from(touched), st.integers(0, 80)), max_size=6))
    stale = np.array([START + hour * HOUR_US for hour in hours], np.int64)
    assert grid.level is not None
    plan = make_plan(grid.begin, grid.end, grid.level, mark, stale[stale < mark])
    packs = [stored(readings, level, mark, stale, spans) for level, spans in enumerate(plan.stored)]
    wanted = [r for r in readings if any(low <= r[0] < high for low, high in plan.readings)]
    cells = plan.assemble(packs, in_chunks(Fold(grid, minutes=True), wanted, 7))
    fresh = make_plan(grid.begin, grid.end, grid.level, 0, stale[:0])
    none = [stored([], level, 0, stale, []) for level in range(grid.level + 1)]
    again = fresh.assemble(none, in_chunks(Fold(grid, minutes=True), readings, 13))
    assert cells.tobytes() == again.tobytes()


def stored(
    readings: list[Reading],
    level: int,
    mark: int,
    stale: np.ndarray,
    spans: list[tuple[int, int]],
) -> Cells:
    """What packs of a level hold: nonsense where they are stale or end beyond the mark."""
    ts, value = columns(readings)
    cells = fold_readings(floor(ts, MINUTE_US), value)
    for here in range(1, level + 1):
        cells = raise_cells(cells, here)
    size = max(LEVELS_US[level], HOUR_US)
    wrong = np.isin(floor(cells["at"], size), floor(stale, size))
    wrong |= floor(cells["at"], PACKS_US[level]) + PACKS_US[level] > mark
    cells["sum"][wrong] = -1e99
    touched = [
        (floor(cells["at"], PACKS_US[level]) >= floor(np.array([low]), PACKS_US[level]))
        & (cells["at"] < high)
        for low, high in spans
    ]
    return cells[np.any(touched, axis=0)] if touched else cells[:0]


def test_days_begin_at_midnight_in_their_time_zone() -> None:
    """23 and 25 hours where clocks are changed; and no midnight where they are put on then."""
    from zoneinfo import ZoneInfo

    berlin = make_grid(
        Micros(1_774_652_400_000_000),
        Micros(1_774_825_200_000_000),
        DAY_US,
        ZoneInfo("Europe/Berlin"),
        9,
    )
    assert np.diff(berlin.edges).tolist() == [24 * HOUR_US, 23 * HOUR_US, 24 * HOUR_US]
    assert berlin.level == 1
    sao_paulo = make_grid(
        Micros(1_541_217_600_000_000), Micros(1_541_300_400_000_000), DAY_US,
        ZoneInfo("America/Sao_Paulo"), 9,
    )  # fmt: skip
    assert np.diff(sao_paulo.edges).tolist() == [24 * HOUR_US, 23 * HOUR_US]


@given(
    st.integers(0, 7 * 10**15), st.integers(0, 40 * DAY_US), st.integers(1, 40),
    st.sampled_from(["Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo"]),
)  # fmt: skip
def test_days_of_a_zone_follow_each_other(since: int, length: int, days: int, zone: str) -> None:
    """Without a gap, over the range, and all of so many dates."""
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    until = since + length
    grid = make_grid(Micros(since), Micros(until), days * DAY_US, ZoneInfo(zone), 10**6)
    assert grid.begin <= since < grid.edges[1]
    assert grid.edges[-2] <= until < grid.end
    dates = [
        datetime.fromtimestamp(edge / 1e6, UTC).astimezone(ZoneInfo(zone)).date()
        for edge in grid.edges.tolist()
    ]
    # Apia had no 30 December 2011: that day is 0 hours long and begins with the next.
    skipped = zone == "Pacific/Apia"
    assert {(b - a).days for a, b in itertools.pairwise(dates)} <= {
        days, *([days - 1, days + 1] if skipped else [])
    }  # fmt: skip


def test_too_many_buckets_are_refused() -> None:
    """By how many there would be, before any is made."""
    with pytest.raises(Invalid, match="more than 10 buckets"):
        make_grid(Micros(0), Micros(10 * DAY_US), DAY_US, None, 10)
    assert isinstance(make_grid(Micros(0), Micros(10 * DAY_US - 1), DAY_US, None, 10), Grid)


def test_values_too_large_for_a_sum_are_no_error() -> None:
    """It is infinite then, and its mean too; the rest is right."""
    grid = make_grid(Micros(0), Micros(1), DAY_US, None, 1)
    cells = in_chunks(Fold(grid, minutes=False), [(0, 1.7e308), (1, 1.7e308)], 9)
    table = make_table(grid, cells, {}, ("avg", "sum", "max", "count", "stddev"), "null")
    assert table.columns["sum"].tolist() == [np.inf]
    assert table.columns["max"].tolist() == [1.7e308]
    assert table.columns["count"].tolist() == [2]
