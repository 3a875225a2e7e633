"""Why an alert of a rule is open at a sensor, or why not: pure, from what is committed.

Says what the rule was judged to, how far every comparison is from what it needs to be, when an
alert could open at the earliest, and what keeps it from opening whatever the readings say.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from atalaia.model.alert import Comparison
from atalaia.model.ids import Micros
from atalaia.rules.absence import on_grid
from atalaia.rules.earliest import earliest, next_open
from atalaia.rules.explanation import Explanation, Obstacle, SilenceTold, Subject
from atalaia.rules.states import Standing
from atalaia.rules.syntax import Selector, Unary, duration_text
from atalaia.rules.weighing import Clause, Scales, Weighing, distance, moment

_WORDS = {">": "more than", ">=": "at least", "<": "less than", "<=": "at most"}
_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def explain(subject: Subject) -> Explanation:
    """See the module."""
    if subject.spec.silence is not None:
        return _explain_silence(subject, subject.spec.silence.after_us)
    if subject.measured is None:
        raise AssertionError("a rule on readings is measured")
    spec, open_now = subject.spec, subject.standing.phase in ("open", "clearing")
    scales = Scales(subject.measured, subject.newest)
    condition = scales.weigh("when", spec.when)
    clear, levels = None, list[Clause]()
    if open_now:
        gone = Unary("not", spec.when) if spec.clear is None else spec.clear
        clear = scales.weigh("clear when", gone)
        levels = [
            scales.weigh(level.severity, level.when, level.severity)
            for level in spec.levels
            if level.when is not None
        ]
    obstacles = tuple(_obstacles(subject, condition))
    earliest, note = _earliest(subject, obstacles)
    return Explanation(
        judged_at=subject.clock,
        condition=condition,
        clear=clear,
        levels=tuple(levels),
        earliest=earliest,
        earliest_note=note,
        obstacles=obstacles,
        silence=None,
        summary=_summary(subject, condition, clear, obstacles),
    )


def mismatch(selector: Selector, sensor: str, tags: Mapping[str, str]) -> str | None:
    """Why a rule does not watch a sensor; None when it does."""
    if selector.name is not None and not attrs.evolve(selector, tags=()).matches(sensor, {}):
        kind = "the sensor" if selector.exact else "sensors like"
        return f'the rule watches {kind} "{selector.name}", this one is "{sensor}"'
    for test in selector.tags:
        if not test.matches(tags):
            wanted = f'{test.tag} {"=" if test.exact else "~"} "{test.pattern}"'
            has = tags.get(test.tag)
            if has is None:
                return f"the rule watches sensors where {wanted}; this one has no tag {test.tag}"
            return f'the rule watches sensors where {wanted}; here {test.tag} is "{has}"'
    return None


def _never_watched(subject: Subject) -> Iterator[Obstacle]:
    """What no reading can change."""
    if not subject.enabled:
        yield Obstacle("rule_disabled", "The rule is disabled: nothing is judged.")
    differs = mismatch(subject.spec.selector, subject.sensor, subject.tags)
    if differs is not None:
        yield Obstacle("selector_mismatch", f"The selector does not match: {differs}.")
    if subject.left_out:
        yield Obstacle(
            "left_out",
            "The rules that match this sensor look at more than 64 of its metrics together; this "
            "one is left out.",
        )


def _obstacles(subject: Subject, condition: Clause) -> Iterator[Obstacle]:
    spec, standing = subject.spec, subject.standing
    yield from _never_watched(subject)
    if standing.phase in ("open", "clearing"):
        yield _open_already(subject)
        if standing.level == spec.levels[-1].severity and len(spec.levels) > 1:
            yield Obstacle(
                "highest_level", f"Its severity is {standing.level} already, the rule's highest."
            )
    if subject.waits:
        yield Obstacle(
            "readings_wait",
            "Newer readings of this sensor wait, as long as its lateness says, for older ones that "
            "may still come.",
        )
    judged, clock = subject.judged, subject.clock
    if judged is None or clock is None:
        metrics = " or ".join(spec.metrics)
        if not subject.waits:
            yield Obstacle("no_readings", f"The sensor has sent no {metrics} yet.")
        return
    if condition.truth is None and spec.on_no_data != "alert":
        reasons = [one.unknown for one in condition.weighings if one.unknown is not None]
        yield Obstacle("unknown", f"The condition is unknown: {reasons[0]}.")
    arrived = max(
        (at for metric, at in subject.arrived.items() if metric in spec.metrics),
        default=Micros(0),  # its readings were dropped
    )
    if standing == Standing() and arrived < subject.active_from:
        yield Obstacle(
            "not_judged_yet",
            "No reading has come since this version of the rule is in force, "
            f"{moment(subject.active_from)}: it judges with the next one.",
        )
    elif judged < clock:
        yield Obstacle(
            "not_judged_lately",
            f"The rule is judged at readings of {' or '.join(spec.metrics)}, of which the newest "
            f"is of {moment(judged)}.",
        )
    if standing.phase == "pending" and standing.since is not None:
        yield Obstacle(
            "for_not_over",
            f"The condition has held since {moment(standing.since)}; it must hold for "
            f"{duration_text(spec.for_us)}.",
        )
    if spec.schedule is not None:
        opens = next_open(spec, clock)
        if opens != clock:
            when = "never within two weeks" if opens is None else f"next at {moment(opens)}"
            yield Obstacle(
                "outside_schedule",
                f"{moment(clock)} is outside of the rule's schedule, which opens {when}.",
            )
    if subject.late:
        plural = "readings" if subject.late > 1 else "reading"
        yield Obstacle(
            "late_readings",
            f"{subject.late} {plural} in its windows came late, after newer ones of the same "
            "metric: stored and not judged.",
        )


def _open_already(subject: Subject) -> Obstacle:
    opened = subject.standing.opened
    if opened is None:
        raise AssertionError("an open alert has been opened")
    return Obstacle(
        "already_open",
        f"Alert {subject.alert} is open since {moment(opened)}; there is one at a time.",
    )


def _earliest(subject: Subject, obstacles: Sequence[Obstacle]) -> tuple[Micros | None, str]:
    spec, standing, clock = subject.spec, subject.standing, subject.clock
    if any(True for _ in _never_watched(subject)):
        return None, "Not while the rule does not watch this sensor."
    if standing.phase in ("open", "clearing"):
        return None, "An alert is open; another can open once it has cleared."
    hold = f" for {duration_text(spec.for_us)}" if spec.for_us else ""
    if clock is None:
        return None, f"Its readings begin to count with the first; the condition must hold{hold}."
    at = earliest(spec, standing, clock)
    if at is None:
        return None, f"Never: its schedule is never open{hold} without a break."
    if standing.phase == "pending":
        return at, (
            "If the condition holds at every reading until then, and readings are no further apart "
            f"than {duration_text(spec.gap_us)}."
        )
    if any(one.code == "outside_schedule" for one in obstacles):
        return at, f"When its schedule is open, if the condition holds{hold} from the opening on."
    if spec.for_us:
        return at, (
            f"{duration_text(spec.for_us)} after the sensor's newest reading, if the condition "
            "holds from the next one on; as much later as that comes."
        )
    return at, "With the next reading at which the condition holds."


def _summary(
    subject: Subject,
    condition: Clause,
    clear: Clause | None,
    obstacles: Sequence[Obstacle],
) -> str:
    spec, standing = subject.spec, subject.standing
    details = {one.code: one.detail for one in obstacles}
    for code in ("rule_disabled", "selector_mismatch", "left_out"):
        if code in details:
            return f"No alert can open. {details[code]}"
    if clear is not None and standing.opened is not None:
        said = f"An alert is open since {moment(standing.opened)}, {standing.level}."
        if standing.phase == "clearing" and standing.since is not None:
            return (
                f"{said} It has been clearing since {moment(standing.since)} and must for "
                f"{duration_text(spec.clear_for_us)}."
            )
        if clear.truth is True:
            return f"{said} Its condition to clear holds; the next reading says so."
        return f"{said} It does not clear: {_state_of(clear)}"
    if "no_readings" in details:
        return f"No alert: {_lower(details['no_readings'])}"
    if standing.phase == "pending":
        at = None if subject.clock is None else earliest(spec, standing, subject.clock)
        then = "" if at is None else f" It opens at {moment(at)} at the earliest."
        return f"Not yet. {details['for_not_over']}{then}"
    if condition.truth is True or (condition.truth is None and spec.on_no_data == "alert"):
        for code in ("outside_schedule", "not_judged_yet", "not_judged_lately"):
            if code in details:
                return f"The condition holds, but no alert is open. {details[code]}"
        return "The condition holds; an alert can open with the next reading."
    return f"No alert: {_state_of(condition)}"


def _state_of(clause: Clause) -> str:
    """What is still missing for a condition, in a sentence."""
    missing = [w for w in clause.weighings if w.comparison.truth is not w.comparison.needs]
    unknown = [w for w in missing if w.unknown is not None]
    if clause.truth is None and unknown:
        return f"{unknown[0].comparison.text} is unknown, {unknown[0].unknown}."
    if not missing:
        return f"{clause.text} holds."
    first = missing[0]
    said = first.comparison
    more = f" ({len(missing) - 1} more to go)" if len(missing) > 1 else ""
    if first.unknown is not None or said.value is None or said.threshold is None:
        return f"{said.text} is unknown, {first.unknown}{more}."
    wanted = said.operator if said.needs else _OPPOSITE[said.operator]
    left = "" if first.distance is None else f": {first.distance:.6g} to go"
    return (
        f"{said.expression} is {said.value:.6g} and must be {_WORDS[wanted]} "
        f"{said.threshold:.6g}{left}{more}."
    )


def _explain_silence(subject: Subject, after_us: int) -> Explanation:
    """By arrival: the condition is how long nothing came."""
    heard = max(subject.arrived.values(), default=None)
    since = subject.silent_since
    deadline = Micros(on_grid(since + after_us))
    said = Comparison(
        clause="when",
        text=str(subject.spec.when),
        expression="seconds of silence",
        value=max(0, subject.now - since) / 1e6,
        operator=">=",
        threshold=after_us / 1e6,
        needs=True,
        truth=subject.now >= deadline,
    )
    condition = Clause(said.text, said.truth, (Weighing(said, distance(said), None),))
    obstacles = list(_never_watched(subject))
    watched, standing = not obstacles, subject.standing
    at: Micros | None = deadline
    note = "Unless a reading arrives before; it is looked at every second."
    if not watched:
        at, note = None, "Not while the rule does not watch this sensor."
        summary = f"No alert can open. {obstacles[0].detail}"
    elif standing.phase == "open" and standing.opened is not None:
        obstacles.append(_open_already(subject))
        at, note = None, "An alert is open; it clears with the next reading."
        summary = (
            f"An alert is open since {moment(standing.opened)}, {standing.level}: nothing has "
            f"arrived since {moment(since)}."
        )
    else:
        if subject.deaf:
            obstacles.append(
                Obstacle(
                    "not_heard",
                    "Nothing of this tenant can be taken just now, and no alert of silence opens "
                    "meanwhile; that time is left out of the silence.",
                )
            )
            note = "If readings are taken again at once, and none arrives before."
        what = "the newest reading arrived" if heard == since else "its silence counts"
        summary = (
            f"No alert: {what} {'at' if heard == since else 'from'} {moment(since)}; it opens at "
            f"{moment(deadline)} {'at the earliest' if subject.deaf else 'if nothing arrives'}."
        )
    return Explanation(
        judged_at=subject.now,
        condition=condition,
        clear=None,
        levels=(),
        earliest=at,
        earliest_note=note,
        obstacles=tuple(obstacles),
        silence=SilenceTold(heard, since, deadline),
        summary=summary,
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
