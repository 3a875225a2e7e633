"""A naive engine in plain Python: every window is a list comprehension over all readings.

Shares no code with the engine but the parsed rule. Slow, and easy to believe.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from atalaia.rules.syntax import Aggregate, Binary, Node, Number, RuleSpec, Unary

Reading = tuple[str, int, float]  # metric, ts µs, value
Step = tuple[str, int, str]  # kind, time, severity
Value = float | bool | None
SECOND = 1_000_000
SCANS = ("quantile", "median", "mad", "ewma", "zscore", "anomaly")


def _aggregate(name: str, points: list[tuple[int, float]]) -> float | None:
    values = [value for _, value in points]
    if name == "count":
        return float(len(values))
    if not values or (name in ("stddev", "rate") and len(values) < 2):
        return None
    change = values[-1] - values[0]
    table: dict[str, Callable[[], float]] = {
        "sum": lambda: math.fsum(values),
        "avg": lambda: math.fsum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "stddev": lambda: statistics.stdev(values),
        "first": lambda: values[0],
        "last": lambda: values[-1],
        "delta": lambda: change,
        "rate": lambda: change / ((points[-1][0] - points[0][0]) / 1e6),
    }
    return table[name]()


def _quantile(values: list[float], share: float) -> float:
    ordered, rank = sorted(values), share * (len(values) - 1)
    low, part = int(rank), rank - int(rank)
    return ordered[low] + (part and part * (ordered[low + 1] - ordered[low]))


def _residual(
    node: Aggregate, points: list[tuple[int, float]], at: int, value: float
) -> float | None:
    """What a reading differs by from that of a season ago, if there is one within a window."""
    then = at - node.season_us
    before = [v for t, v in points if then - node.window_us < t <= then]
    return value - before[-1] if before else None


def _scan(node: Aggregate, points: list[tuple[int, float]], now: int) -> float | None:
    """What needs every reading: exact up to 256 of them, then as of the last grid line."""
    name, width = node.function, node.window_us
    if not points or points[-1][0] <= now - width:
        return None
    score, (newest_ts, newest) = name in ("zscore", "anomaly"), points[-1]
    step = 1 << max(0, (width // 128).bit_length() - 1)
    line = (newest_ts - 1 if score else now) // step * step
    since, until = now - width, newest_ts - 1 if score else now
    if sum(t > line - width for t, _ in points) > 256:
        since, until = line - width, line
    inside = [(t, v) for t, v in points if since < t <= until]
    values = [v for _, v in inside]
    if node.season_us:
        values = [r for t, v in inside if (r := _residual(node, points, t, v)) is not None]
        late = _residual(node, points, newest_ts, newest)
        if late is None:
            return None
        newest = late
    if name == "ewma":
        weights = [math.exp(4 * (t - until) / width) for t, _ in inside]
        total = sum(w * v for w, v in zip(weights, values, strict=True))
        return total / sum(weights) if weights else None
    if not values or (score and len(values) < 8):
        return None
    if name == "zscore":
        centre, scale = statistics.fmean(values), statistics.stdev(values)
    else:
        share = node.parameter if node.parameter is not None else 0.5
        centre = _quantile(values, share)
        if name in ("quantile", "median"):
            return centre
        away = [abs(v - centre) for v in values]
        scale = _quantile(away, 0.5)
        if name == "mad":
            return scale
        scale = 1.4826 * scale or 1.2533 * statistics.fmean(away)
    if scale:
        return (newest - centre) / scale
    return 0.0 if newest == centre else None


def evaluate(node: Node | None, readings: Sequence[Reading], now: int) -> Any:
    match node:
        case Number(value):
            return value
        case Aggregate(function, metric, _) if function in SCANS:
            return _scan(node, sorted((t, v) for m, t, v in readings if m == metric), now)
        case Aggregate(function, metric, width):
            inside = sorted(
                (t, v) for m, t, v in readings if m == metric and now - width < t <= now
            )
            return _aggregate(function, inside)
        case Unary(op, operand):
            x = evaluate(operand, readings, now)
            if x is None:
                return None
            return -x if op == "neg" else abs(x) if op == "abs" else not x
        case Binary("and", left, right):
            pair = [evaluate(left, readings, now), evaluate(right, readings, now)]
            return False if False in pair else None if None in pair else True
        case Binary("or", left, right):
            pair = [evaluate(left, readings, now), evaluate(right, readings, now)]
            return True if True in pair else None if None in pair else False
        case Binary(op, left, right):
            a, b = evaluate(left, readings, now), evaluate(right, readings, now)
            if a is None or b is None or (op == "/" and b == 0):
                return None
            return {
                "+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b,
                "<": lambda: a < b, "<=": lambda: a <= b, ">": lambda: a > b, ">=": lambda: a >= b,
            }[op]()  # fmt: skip
    raise AssertionError


Fate = str  # "judged" (now or later), "late" or "duplicate"


def arrive(
    events: Sequence[Sequence[Reading] | int], lateness: int
) -> tuple[list[list[Fate]], list[list[list[Reading]]]]:
    """What becomes of the readings of one sensor, batch by batch, and the groups of one time that
    are judged at each event. A number among the batches is a new lateness.
    """
    fates: list[list[Fate]] = []
    judged: list[list[list[Reading]]] = []
    stored: set[tuple[str, int]] = set()
    accepted: list[Reading] = []
    waiting: list[Reading] = []
    past: set[tuple[str, int]] = set()
    for event in events:
        if isinstance(event, int):
            lateness, ready, waiting = event, waiting, []
            fates.append([])
        else:
            before = list(accepted)
            fates.append([])
            for metric, ts, value in event:
                elders = [t for _, t, _ in before]
                mine = [t for m, t, _ in before if m == metric]
                passed = max((t for m, t in past if m == metric), default=ts - 1)
                if (metric, ts) in stored:
                    fates[-1].append("duplicate")
                elif mine and ts < max(mine) and (ts < max(elders) - lateness or ts <= passed):
                    fates[-1].append("late")
                else:
                    fates[-1].append("judged")
                    accepted.append((metric, ts, value))
                    waiting.append((metric, ts, value))
                stored.add((metric, ts))
            clock = max((t for _, t, _ in accepted), default=0)
            ready = [r for r in waiting if lateness == 0 or r[1] < clock - lateness]
            waiting = [r for r in waiting if r not in ready]
        past |= {(m, t) for m, t, _ in ready}
        judged.append([[r for r in ready if r[1] == ts] for ts in sorted({r[1] for r in ready})])
    return fates, judged


def run(spec: RuleSpec, groups: Sequence[Sequence[Reading]]) -> list[Step]:
    """The transitions of one rule at one sensor; each group is of one time."""
    seen: list[Reading] = []
    steps: list[Step] = []
    phase, since, opened, last = "idle", 0, None, None
    severity = ""
    for group in groups:
        seen.extend(group)
        if not {metric for metric, _, _ in group} & set(spec.metrics):
            continue
        now = max(ts for _, ts, _ in seen)
        silent = last is not None and now - last > spec.gap_us
        last = now
        truth = evaluate(spec.when, seen, now)
        known = truth is not None
        if not known and spec.on_no_data == "alert":
            truth = True
        closed = spec.schedule is not None and not any(
            start <= now < end for start, end in spec.schedule.intervals(now, now)
        )
        if phase in ("idle", "pending"):
            if truth is not True or closed:
                phase = "idle"
                continue
            if phase == "idle" or silent:
                phase, since = "pending", now
            if now - since >= spec.for_us and opened != now:
                phase, opened = "open", now
                severity = _severity(spec, seen, now, "")
                steps.append(("opened", now, severity))
            continue
        gone = evaluate(spec.clear, seen, now) if spec.clear is not None else (
            None if truth is None else not truth
        )  # fmt: skip
        if gone is True or (not known and spec.on_no_data == "clear"):
            if phase == "open" or silent:
                phase, since = "clearing", now
            if now - since >= spec.clear_for_us:
                phase = "idle"
                steps.append(("cleared", now, severity))
                continue
        else:
            phase = "open"
        level = _severity(spec, seen, now, severity)
        if level != severity:
            rank = [x.severity for x in spec.levels]
            up = rank.index(level) > rank.index(severity)
            steps.append(("raised" if up else "lowered", now, level))
            severity = level
    return steps


def listen(
    after_us: int, registered: int, arrivals: Sequence[int], since: int, until: int
) -> list[tuple[str, int, float]]:
    """The steps of a rule of silence at one sensor, with how long it was silent in seconds.

    The clock is looked at once a second, after what has arrived by then.
    """
    steps: list[tuple[str, int, float]] = []
    heard, opened = registered, False
    lines = range(since + -since % SECOND, until + 1, SECOND)
    events = [(at, 0) for at in arrivals] + [(line, 1) for line in lines]
    for at, look in sorted(events):
        if at > until:
            break
        if look and not opened and at - heard >= after_us:
            opened = True
            steps.append(("opened", at, (at - heard) / 1e6))
        elif not look:
            heard = at
            if opened:
                opened = False
                steps.append(("cleared", at, 0.0))
    return steps


def _severity(spec: RuleSpec, seen: Sequence[Reading], now: int, current: str) -> str:
    names = [level.severity for level in spec.levels]
    result = names[0]
    for level in spec.levels[1:]:
        truth = evaluate(level.when, seen, now)
        kept = current in names and names.index(current) >= names.index(level.severity)
        if truth is True or (truth is None and kept):
            result = level.severity
    return result
