"""The pieces of a picture: lines, words, dots, stairs, and their colours.

A fixed light ground, so that it can be read in light and dark pages. No meaning rests on colour
alone; the colours are those of Okabe and Ito.
"""

from collections.abc import Sequence
from html import escape

INK, DIM, FAINT, PAPER = "#1f2328", "#57606a", "#d0d7de", "#ffffff"
READING, VALUE, NOT_JUDGED = "#7d8590", "#0072b2", "#d55e00"
SEVERITY = {"info": ("#56b4e9", INK), "warning": ("#e69f00", INK), "critical": ("#d55e00", PAPER)}
"""Of a bar, and of what is written on it."""


def stripes(name: str, color: str) -> str:
    return (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="6" height="6" fill="{PAPER}"/>'
        f'<rect width="2" height="6" fill="{color}" fill-opacity="0.55"/></pattern>'
    )


def line(
    x1: float, y1: float, x2: float, y2: float, color: str, *, width: float = 1, dash: str = ""
) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def text(
    x: float, y: float, words: str, color: str, *, anchor: str = "start", size: float = 11,
    mono: bool = False, halo: bool = False,
) -> str:  # fmt: skip
    """halo: readable where a line runs through it."""
    family = ' font-family="ui-monospace, SFMono-Regular, Menlo, monospace"' if mono else ""
    around = f' stroke="{PAPER}" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" '
        f'font-size="{size:g}"{family}{around}>{escape(words)}</text>'
    )


def dot(x: float, y: float, fate: str) -> list[str]:
    if fate == "judged":
        return [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{READING}"/>']
    return [circle(x, y, 3.6, PAPER, NOT_JUDGED)]


def circle(x: float, y: float, radius: float, fill: str, stroke: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{stroke}" '
        'stroke-width="1.5"/>'
    )


def stairs(points: Sequence[tuple[float, float | None]]) -> list[str]:
    """A value stands until the next judgement; broken where it is unknown."""
    paths = []
    path = ""
    for x, y in points:
        if y is None:
            paths.append(path + f"H{x:.1f}" if path else "")
            path = ""
        else:
            path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f},{y:.1f}"
    paths.append(path)
    return [
        f'<path d="{path}" fill="none" stroke="{VALUE}" stroke-width="1.8"/>'
        for path in paths
        if path
    ]
