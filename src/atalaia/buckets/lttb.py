"""Few points that look like many: largest triangle three buckets.

Source: Sveinn Steinarsson, Downsampling Time Series for Visual Representation, 2013, 4.2.
"""

import numpy as np

from atalaia.model.batch import Floats, Int64s

FEWEST = 3


def thin(ts: Int64s, value: Floats, points: int) -> Int64s:
    """The positions of the points that stay, in order: the first, the last, and between them one
    of each of as many equal parts as there is room for.

    points: at least 3. Of a part stays the point that makes the largest triangle with the one
    before that stayed and the mean of the next part; the first of equal ones. Cost: O(n).
    """
    count = len(ts)
    if count <= points:
        return np.arange(count)
    # From 0 on, so that no time loses digits as a float; values halved twice cannot overflow.
    x = (ts - ts[0]).astype(np.float64)
    y = value / 4
    bounds = 1 + (np.arange(points - 1) * (count - 2)) // (points - 2)
    kept = np.empty(points, np.int64)
    kept[0], kept[-1] = 0, count - 1
    with np.errstate(over="ignore", invalid="ignore"):
        for part in range(points - 2):
            begin, end = bounds[part], bounds[part + 1]
            after = slice(end, bounds[part + 2]) if part < points - 3 else slice(count - 1, count)
            x_next, y_next = x[after].mean(), y[after].mean()
            x_kept, y_kept = x[kept[part]], y[kept[part]]
            area = np.abs(
                (x_kept - x_next) * (y[begin:end] - y_kept)
                - (x_kept - x[begin:end]) * (y_next - y_kept)
            )
            kept[part + 1] = begin + int(np.argmax(area))
    return kept
