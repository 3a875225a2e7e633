"""What test_semantics.py does not try: repeats, shifts in time, values at double's ends."""

from collections.abc import Sequence
from uuid import UUID

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atalaia.engine.judge import judge
from atalaia.engine.state import TenantState
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.ids import Micros, RuleNo, SensorNo, SeriesNo, TenantNo
from atalaia.ports import SensorRow, SeriesRow
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules
from tests.groups import NEIGHBOURS, ORACLE, REPLAY, group
from tests.rules import oracle
from tests.rules.oracle import Reading
from tests.rules.streams import (
    EDGES,
    EXTREMES,
    STEPS,
    TENANT,
    build,
    feed,
    rule_texts,
    streams,
    wild_streams,
)

SILENT = "rule silent on sensors when no data for 5s"

EXACT = (
    "max({m}, {w}) >= 1e300", "min({m}, {w}) < -1e299", "max({m}, {w}) < 1e-300",
    "last({m}, {w}) > 2e-310", "first({m}, {w}) <= -4e-324", "count({m}, {w}) >= 3",
    "delta({m}, {w}) > 1e299", "rate({m}, {w}) < -1e290", "median({m}, {w}) > 0",
    "quantile({m}, 0.8, {w}) >= 1e-300", "mad({m}, {w}) > 1e-310",
    "last(a, {w}) > last({m}, {w}) and not (max(b, {w}) > 1e-5)",
)  # fmt: skip
"""Conditions that no order of additions bends, where sums would."""


@st.composite
def extreme_rules(draw: st.DrawFn) -> str:
    def condition() -> str:
        window, metric = st.sampled_from(["1s", "3s", "10s", "1m"]), st.sampled_from("ab")
        return draw(st.sampled_from(EXACT)).format(m=draw(metric), w=draw(window))

    text = f"rule r on sensors when {condition()}"
    text += draw(st.sampled_from(["", " for 1s"]))
    if draw(st.booleans()):
        text += f" clear when {condition()}"
    return text + " severity info, critical when " + condition()


@given(extreme_rules(), st.sampled_from([STEPS, EDGES]).flatmap(lambda s: streams(s, EXTREMES)))
@group(ORACLE)
def test_extreme_values_make_the_steps_of_the_oracle(
    text: str, groups: list[list[Reading]]
) -> None:
    """From 1e300 to the smallest denormal, signed zeros too."""
    found = feed(build([text]), groups)
    assert [(step.kind, step.at, step.severity) for step in found] == oracle.run(
        parse_rule(text), groups
    )


@given(
    st.sampled_from(["1s", "3s", "10s", "1m"]),
    st.sampled_from([STEPS, EDGES]).flatmap(lambda s: streams(s, EXTREMES)),
)
@group(ORACLE)
def test_sums_of_extreme_values_are_near_those_of_the_oracle(
    window: str, groups: list[list[Reading]]
) -> None:
    """Within rounding of the greatest value. What is squared may pass the range of double: a
    deviation is unknown then, or 0.
    """
    text = f"rule r on sensors when last(c, 1s) > 9 or count(a, {window}) > 0 and ("
    text += f"sum(a, {window}) > 0 or avg(a, {window}) > 0 or stddev(a, {window}) > 0)"
    text += " clear when count(b, 1m) >= 0"
    engine, seen = build([text]), list[Reading]()
    nodes = parse_rule(text).aggregates[2:5]
    for one in groups:
        seen += one
        for step in feed(engine, [one]):
            values = [value for m, ts, value in seen if m == "a" and ts > step.at - 60_000_000]
            greatest = max((abs(value) for value in values), default=0.0)
            found = [atom.value for atom in step.evidence[2:5]]
            total, mean, deviation = (oracle.evaluate(node, seen, step.at) for node in nodes)
            if total is not None:
                assert found[0] == pytest.approx(total, rel=0, abs=1e-13 * len(values) * greatest)
                assert found[1] == pytest.approx(mean, rel=0, abs=1e-13 * greatest)
            if deviation is None or found[2] is None:
                assert (found[2] is None) == (deviation is None or greatest > 1e150)
            else:
                assert found[2] == pytest.approx(deviation, rel=1e-9, abs=1e-7 * greatest + 1e-150)


Sent = list[tuple[str, int, float]]


@st.composite
def repeated(draw: st.DrawFn, groups: list[list[Reading]]) -> tuple[list[Sent], list[Sent]]:
    """The stream in batches, and the same batches with readings of theirs or of earlier ones sent
    again, some with another value; batches of repeats alone come between (empty beside them).
    """
    cuts = sorted(draw(st.lists(st.integers(0, len(groups)), max_size=6)))
    plain: list[Sent] = []
    again: list[Sent] = []
    seen: Sent = []
    for a, b in zip([0, *cuts], [*cuts, len(groups)], strict=True):
        batch = [reading for one in groups[a:b] for reading in one]
        more = list(batch)
        for place, which, other in draw(
            st.lists(st.tuples(st.integers(0), st.integers(0), st.booleans()), max_size=6)
        ):
            known = [*seen, *more]
            if not known:
                continue
            metric, ts, value = known[which % len(known)]
            copy = (metric, ts, value + 1.5 if other else value)
            first = next((n + 1 for n, r in enumerate(more) if r[:2] == copy[:2]), 0)
            more.insert(first + place % (len(more) - first + 1), copy)
        seen += batch
        plain += [batch, []]
        again.append(more)
        again.append([seen[n % len(seen)] for n in draw(st.lists(st.integers(0), max_size=3))
                      if seen])  # fmt: skip
    return plain, again


def judged(
    texts: Sequence[str], batches: Sequence[Sent], most_steps: int = 1_000
) -> tuple[list[Transition], dict[str, int]]:
    """What the actor does with batches, and a store in a dict: steps, and the account."""
    rules = [
        ActiveRule(RuleNo(n), UUID(int=n), 1, parse_rule(text)) for n, text in enumerate(texts, 1)
    ]
    state = TenantState(TenantNo(1), TenantRules(TENANT, rules), Micros(0), 0, most_bytes=1 << 30)
    state.add_sensor(SensorRow(SensorNo(1), UUID(int=101), "s", {}, Micros(0)), Micros(0))
    names = tuple(SeriesName("s", metric) for metric in "abc")
    for n, name in enumerate(names):
        state.add_series(SeriesRow(SeriesNo(n), SensorNo(1), name.metric), None, None)
    stored: dict[tuple[int, int], float] = {}
    account = {"sent": 0, "accepted": 0, "duplicates": 0, "late": 0}
    steps: list[Transition] = []
    for n, rows in enumerate(batches):
        # Whoever fell silent is looked at before each batch, also where one has nothing to send.
        arrived = Micros(4_000_000 * n + 1)
        line = Micros(4_000_000 * n)
        steps += state.rules.tick(state.rules.due(line), line, Micros(arrived - 1))
        if not rows:
            continue
        batch = Batch(
            names=names,
            idx=np.array(["abc".index(metric) for metric, _, _ in rows], np.int32),
            ts=np.array([ts for _, ts, _ in rows], np.int64),
            value=np.array([value for _, _, value in rows], np.float64),
            row=np.arange(len(rows), dtype=np.int32),
            rejects=(),
            sent=len(rows),
        )
        slots = state.table.slots(names)[batch.idx]
        account["sent"] += len(rows)
        for part in judge(state, batch, slots, arrived, snapshot=False, most_steps=most_steps):
            item = part.item
            assert len(item.transitions) < most_steps + len(texts)
            # That a batch came in parts may be seen in its arrival alone.
            steps += (attrs.evolve(step, arrived=arrived) for step in item.transitions)
            fresh = zip(item.fresh_series.tolist(), item.fresh_ts.tolist(), strict=True)
            for key, value in zip(fresh, item.fresh_value.tolist(), strict=True):
                assert key not in stored
                stored[key] = value
            account["accepted"] += len(item.fresh_ts)
            for key in zip(item.old_series.tolist(), item.old_ts.tolist(), strict=True):
                account["duplicates" if key in stored else "late"] += 1
            known = account["accepted"] + account["duplicates"] + account["late"]
            assert known + sum(len(ts) for _, ts, _ in item.following) == account["sent"]
    return steps, account


@given(st.lists(rule_texts(), min_size=1, max_size=3), wild_streams(), st.integers(1, 4), st.data())
@group(NEIGHBOURS)
def test_parts_change_nothing(
    texts: list[str], groups: list[list[Reading]], most_steps: int, data: st.DataObject
) -> None:
    """A batch that opens many alerts is committed in parts: the same steps and account, and what
    follows a part is known to it. (Silence is measured to the part, µs later than the batch.)
    """
    _, batches = data.draw(repeated(groups))
    assert judged(texts, batches, most_steps) == judged(texts, batches)


@given(st.lists(rule_texts(), min_size=1, max_size=2), wild_streams(), st.data())
@group(NEIGHBOURS)
def test_repeats_change_nothing(
    texts: list[str], groups: list[list[Reading]], data: st.DataObject
) -> None:
    """Sent again anywhere, in the same batch or later, with the same value or another: the same
    steps, silence among them, and every reading is counted once as accepted.
    """
    plain, again = data.draw(repeated(groups))
    once, alone = judged([*texts, SILENT], plain)
    twice, account = judged([*texts, SILENT], again)
    assert list(map(repr, twice)) == list(map(repr, once))
    assert account["accepted"] == alone["accepted"] == alone["sent"]
    assert account["late"] == 0
    assert account["sent"] == account["accepted"] + account["duplicates"]


@pytest.mark.parametrize(("after_us", "opened"), [(3_999_999, []), (4_000_000, [4_000_000])])
def test_what_held_for_just_that_time_opens(after_us: int, opened: list[int]) -> None:
    """And a microsecond less does not."""
    engine = build(["rule r on sensors when a > 0 for 4s"])
    assert [s.at for s in feed(engine, [[("a", 0, 1.0)], [("a", after_us, 1.0)]])] == opened


def test_a_window_is_looked_at_for_every_rule_that_shares_it() -> None:
    """At the readings of every metric that some of them look at."""
    engine = build(["rule both on sensors when count(a, 10s) < 1 and b > 0",
                    "rule one on sensors when count(a, 10s) > 5"])  # fmt: skip
    steps = feed(engine, [[("a", 0, 1.0), ("b", 0, 1.0)], [("b", 11_000_000, 1.0)]])
    assert [(step.kind, step.at) for step in steps] == [("opened", 11_000_000)]


@given(
    st.lists(rule_texts(schedules=False), min_size=1, max_size=2), wild_streams(),
    st.integers(-(1 << 20), 1 << 20),
)  # fmt: skip
@group(REPLAY)
def test_a_shift_in_time_changes_no_bit(
    texts: list[str], groups: list[list[Reading]], shift: int
) -> None:
    """By a multiple of the widest pane: later by as much, and the same values."""
    by = shift << 23
    later = [[(metric, ts + by, value) for metric, ts, value in one] for one in groups]

    def bare(steps: list[Transition], moved: int) -> list[str]:
        return [
            repr((s.kind, s.rule_no, s.at - moved, s.severity, s.value, s.evidence)) for s in steps
        ]

    assert bare(feed(build(texts), later), by) == bare(feed(build(texts), groups), 0)
