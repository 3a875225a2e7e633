"""Aggregates as anybody would write them: lists, loops and the statistics of Python."""

import itertools
import math
import statistics
from collections.abc import Sequence

Reading = tuple[int, float]


def aggregate(name: str, readings: Sequence[Reading]) -> float | None:
    """Of readings in order of time, never none."""
    values = [value for _, value in readings]
    match name:
        case "avg":
            return math.fsum(values) / len(values)
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "sum":
            return math.fsum(values)
        case "count":
            return len(values)
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "stddev":
            return statistics.stdev(values) if len(values) > 1 else None
        case "p50":
            return _quantile(sorted(values), 0.5)
        case "p95":
            return _quantile(sorted(values), 0.95)
    raise AssertionError(name)


def _quantile(values: Sequence[float], share: float) -> float:
    place = share * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def buckets(
    readings: Sequence[Reading], edges: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, float | None]]:
    """By where each bucket with readings begins."""
    found = {}
    for begin, end in itertools.pairwise(edges):
        mine = [reading for reading in sorted(readings) if begin <= reading[0] < end]
        if mine:
            found[begin] = {name: aggregate(name, mine) for name in names}
    return found


def filled(starts: Sequence[int], found: dict[int, float | None], fill: str) -> list[float | None]:
    """One aggregate at every bucket; found: of those with readings."""
    known = [start for start in starts if found.get(start) is not None]
    column: list[float | None] = []
    for start in starts:
        before = [at for at in known if at < start]
        after = [at for at in known if at > start]
        if start in found or fill == "null":
            column.append(found.get(start))
        elif fill == "previous":
            column.append(found[before[-1]] if before else None)
        elif before and after:
            left, right = before[-1], after[0]
            low, high = found[left], found[right]
            assert low is not None
            assert high is not None
            column.append(low + (high - low) * ((start - left) / (right - left)))
        else:
            column.append(None)
    return column


def close(mine: float | None, theirs: float | None) -> bool:
    """Equal but for the last digits of sums."""
    if mine is None or theirs is None or math.isnan(mine):
        return (mine is None or math.isnan(mine)) and theirs is None
    return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-6)


def largest_triangles(ts: Sequence[int], value: Sequence[float], points: int) -> list[int]:
    """The positions that stay, as the thesis has it."""
    count = len(ts)
    if count <= points:
        return list(range(count))
    bounds = [1 + part * (count - 2) // (points - 2) for part in range(points - 1)]
    kept = [0]
    for part in range(points - 2):
        following = range(bounds[part + 1], bounds[part + 2]) if part < points - 3 else [count - 1]
        x_next = sum(ts[n] for n in following) / len(following)
        y_next = sum(value[n] for n in following) / len(following)
        x, y = ts[kept[-1]], value[kept[-1]]
        areas = {
            n: abs((x - x_next) * (value[n] - y) - (x - ts[n]) * (y_next - y))
            for n in range(bounds[part], bounds[part + 1])
        }
        kept.append(min(areas, key=lambda n: (-areas[n], n)))
    return [*kept, count - 1]
