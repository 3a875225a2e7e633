"""The readings behind an alert as a small picture: SVG text, drawn by a pure function.

No script, no style sheet, no reference to anything else, and every text escaped, so that it may
stand in a page, in a mail, or alone. The readings' line, the window that was judged as a band, the
threshold dashed where it is on the readings' scale, a dot at the newest reading.
"""

from html import escape

from atalaia.model.alert import Comparison, Opening, Samples
from atalaia.model.ids import Micros
from atalaia.rules.syntax import duration_text

WIDTH, HEIGHT = 240, 48
EDGE = 4.0  # room for the line's width and the dot

SAME_SCALE = frozenset({"avg", "min", "max", "first", "last", "quantile", "median", "ewma"})
"""Aggregates whose values lie among the readings."""

LINE, LIMIT = "#2563eb", "#dc2626"  # both are seen on white and on black


def sparkline(opening: Opening, at: Micros) -> str | None:
    """None when there is nothing to draw. at: the opening's event time."""
    for samples in opening.samples:
        if samples.points:
            return _draw(opening, samples, at)
    return None


def _draw(opening: Opening, samples: Samples, at: Micros) -> str:
    asked = _asked(opening, samples.metric)
    points = samples.pairs()
    levels = [value for _, value in points]
    limit = None if asked is None else asked[0].threshold
    if limit is not None:
        levels.append(limit)
    low, high = min(levels), max(levels)

    def x(ts: int) -> str:
        share = (ts - (at - samples.window_us)) / samples.window_us
        return f"{EDGE + share * (WIDTH - 2 * EDGE):.1f}"

    def y(value: float) -> str:
        # Halves, since the distance of two finite numbers may not be one.
        span = high / 2 - low / 2
        share = (value / 2 - low / 2) / span if span else 0.5
        return f"{HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE):.1f}"

    window_us = samples.window_us if asked is None else asked[1]
    band_x = x(at - window_us)
    band = f"{WIDTH - EDGE - float(band_x):.1f}"
    path = " ".join(f"{x(ts)},{y(value)}" for ts, value in points)
    newest = points[-1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{escape(_title(opening, samples))}</title>",
        f'<rect x="{band_x}" y="0" width="{band}" height="{HEIGHT}" fill="{LINE}"'
        ' fill-opacity="0.1"/>',
        f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.5"'
        ' stroke-linejoin="round" stroke-linecap="round"/>',
        f'<circle cx="{x(newest[0])}" cy="{y(newest[1])}" r="2.5" fill="{LIMIT}"/>',
        "</svg>",
    ]
    if limit is not None:
        parts.insert(
            3,
            f'<line x1="0" y1="{y(limit)}" x2="{WIDTH}" y2="{y(limit)}" stroke="{LIMIT}"'
            ' stroke-dasharray="4 3"/>',
        )
    return "".join(parts)


def _asked(opening: Opening, metric: str) -> tuple[Comparison, int] | None:
    """The first comparison on the metric's own scale, and the window that it looks at."""
    windows = {
        one.expression: one.window_us
        for one in opening.weighed
        if one.metric == metric and one.expression.partition("(")[0] in SAME_SCALE
    }
    for comparison in opening.comparisons:
        if comparison.expression in windows and comparison.threshold is not None:
            return comparison, windows[comparison.expression]
    return None


def _title(opening: Opening, samples: Samples) -> str:
    first = opening.comparisons[0]
    value = "unknown" if first.value is None else f"{first.value:.6g}"
    return (
        f"{samples.metric}, the {duration_text(samples.window_us)} before the alert opened: "
        f"{first.expression} was {value}, with {first.text}"
    )
