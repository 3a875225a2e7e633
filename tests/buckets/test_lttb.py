"""Largest triangle three buckets, against a naive oracle and by what is known of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atalaia.buckets.lttb import thin
from tests.buckets.oracle import largest_triangles

steps = st.lists(st.integers(1, 1000), min_size=1, max_size=200)


@given(steps, st.data(), st.integers(3, 60))
def test_the_points_that_stay_are_those_of_a_naive_oracle(
    steps: list[int], data: st.DataObject, points: int
) -> None:
    """Over whole numbers, where no digit is lost."""
    ts = np.cumsum(np.array(steps, np.int64))
    drawn = data.draw(st.lists(st.integers(-100, 100), min_size=len(steps), max_size=len(steps)))
    value = np.array(drawn, np.float64) * 4
    expected = largest_triangles((ts - ts[0]).tolist(), drawn, points)
    assert thin(ts, value, points).tolist() == expected


@given(steps, st.integers(3, 60))
def test_first_and_last_stay_and_so_many_in_order(steps: list[int], points: int) -> None:
    """As many as were asked for, or all of them; none twice."""
    ts = np.cumsum(np.array(steps, np.int64))
    value = np.sin(ts)
    kept = thin(ts, value, points)
    assert len(kept) == min(points, len(ts))
    assert (kept[0], kept[-1]) == (0, len(ts) - 1)
    assert (np.diff(kept) > 0).all()


def test_a_spike_stays() -> None:
    """What a mean would hide: one reading of ten thousand."""
    ts = np.arange(10_000, dtype=np.int64) * 1_000_000
    value = np.zeros(10_000)
    value[6543] = 50.0
    assert 6543 in thin(ts, value, 100)


def test_few_points_stay_as_they_are() -> None:
    """Nothing is left out where there is room; no readings are no points."""
    ts = np.array([5, 7, 9], np.int64)
    assert thin(ts, np.zeros(3), 3).tolist() == [0, 1, 2]
    assert thin(ts[:0], np.zeros(0), 3).tolist() == []


def test_huge_values_are_no_error() -> None:
    """Triangles too large for a number: some points stay all the same."""
    ts = np.arange(100, dtype=np.int64) * 10**14
    value = np.where(np.arange(100) % 2, 1.7e308, -1.7e308)
    assert len(thin(ts, value, 10)) == 10
