"""Edits of rules that follow one another: one rebuild for all, and no difference but that."""

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from atalaia.engine.gate import Gate
from atalaia.engine.messages import CreateRule, DeleteRule, ReplaceRule, SwitchRule
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import Conflict, NotFound
from atalaia.rules.foresight import Foresight
from atalaia.rules.language import parse_rule
from tests.engine.store import FaultyStore
from tests.engine.test_engine import ONE, batch, engine

TEXTS = (
    "rule {} on sensors when t > 3",
    "rule {} on sensors when avg(t, 5s) > 1 severity critical",
    "rule {} on sensors when avg(t, 5s) > 1 severity info",  # other labels of the same rule
    'rule {} on sensors "s1*" when max(t, 1m) > 2 clear when t < 0',
)


async def test_a_file_of_rules_is_one_rebuild(autojump_clock: MockClock) -> None:
    """Sent one by one; what comes then is judged by all of them."""
    store = FaultyStore()
    async with engine(store) as gate:
        await gate.submit(ONE, batch()).wait()
        assert store.loads == 1
        for n in range(50):
            await gate.edit_rule(ONE, CreateRule(f"rule r{n} on sensors when t > 3")).wait()
            await trio.sleep(0.01)
        assert store.loads == 1
        await gate.submit(ONE, batch(value=4.0)).wait()
        assert store.loads == 2
    assert len(store.transitions) == 50


async def test_the_rebuild_does_not_wait_for_the_next_reading(autojump_clock: MockClock) -> None:
    """Nor for ever for the next edit."""
    store = FaultyStore()
    async with engine(store) as gate:
        rule = await gate.edit_rule(ONE, CreateRule(TEXTS[0].format("r"))).wait()
        assert store.loads == 1
        await trio.sleep(1)
        assert store.loads == 2
        for n in range(600):
            text = f"rule r on sensors when t > {n}"
            await gate.edit_rule(ONE, ReplaceRule(rule.rule_id, text)).wait()
            await trio.sleep(0.01)
        assert 3 <= store.loads <= 4


async def test_an_edit_of_a_rule_that_does_not_judge_is_no_rebuild(
    autojump_clock: MockClock,
) -> None:
    store = FaultyStore()
    async with engine(store) as gate:
        made = CreateRule(TEXTS[0].format("r"), enabled=False)
        rule = await gate.edit_rule(ONE, made).wait()
        await trio.sleep(1)
        await gate.edit_rule(ONE, ReplaceRule(rule.rule_id, TEXTS[1].format("r"))).wait()
        await trio.sleep(1)
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
        await trio.sleep(1)
        assert (await gate.submit(ONE, batch(value=4.0)).wait()).accepted == 1
        assert store.loads == 1
        other = await gate.edit_rule(ONE, CreateRule(TEXTS[0].format("r"))).wait()
        assert other.rule_no > rule.rule_no


EDITS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("abc"), st.sampled_from(TEXTS)),
    min_size=1, max_size=8,
)  # fmt: skip


async def edit(gate: Gate, known: dict[str, Any], what: int, name: str, text: str) -> str:
    """One edit; how it was answered."""
    rule = known.get(name)
    if rule is None:
        made: Any = CreateRule(text.format(name), enabled=what != 4)
    else:
        made = [
            ReplaceRule(rule, text.format(name)), SwitchRule(rule, True), SwitchRule(rule, False),
            DeleteRule(rule), CreateRule(text.format(name)),
        ][what]  # fmt: skip
    try:
        stands = await gate.edit_rule(ONE, made).wait()
    except (Conflict, NotFound) as error:
        return type(error).__name__
    known[name] = stands.rule_id
    return f"{stands.rule_no} {stands.name} {stands.version} {stands.revision} {stands.enabled}"


async def play(
    plays: Sequence[tuple[list[tuple[int, str, str]], float]], pause_s: float
) -> tuple[list[str], list[str]]:
    """Readings and edits in turn, with a pause after every edit; the answers, and the alerts."""
    store, times, said = FaultyStore(), itertools.count(1_000_000, 1_000_000), []
    known: dict[str, Any] = {}
    async with engine(store) as gate:
        for edits, value in plays:
            for what, name, text in edits:
                said.append(await edit(gate, known, what, name, text))
                await trio.sleep(pause_s)
            names = (SeriesName("s1", "t"), SeriesName("s2", "t"))
            ts = np.full(2, next(times))
            await gate.submit(
                ONE,
                Batch(names=names, idx=np.arange(2, dtype=np.int32), ts=ts, value=np.full(2, value),
                      row=np.arange(2, dtype=np.int32), rejects=(), sent=2),
            ).wait()  # fmt: skip
    steps = [
        f"{s.kind} {s.rule_no} {s.rule_version} {s.sensor_no} {s.severity} {s.at} {s.reason} "
        f"{s.value}"
        for s in store.transitions
    ]
    return said, steps


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.tuples(EDITS, st.sampled_from([-1.0, 2.0, 5.0])), min_size=1, max_size=5))
def test_edits_that_follow_one_another_do_what_they_do_apart(
    plays: list[tuple[list[tuple[int, str, str]], float]],
) -> None:
    """The same answers and the same alerts as with a rebuild after each of them."""
    together = trio.run(play, plays, 0.0, clock=MockClock(autojump_threshold=0))
    assert together == trio.run(play, plays, 1.0, clock=MockClock(autojump_threshold=0))


async def test_checks_of_edits_run_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tenant with many sensors: rules, tags, and questions about rules."""
    store, here, seen = FaultyStore(), threading.get_ident(), []
    for name in ("crowded", "crowds", "forecast"):
        function = getattr(Foresight, name)

        def noting(*args: Any, function: Any = function, **kwargs: Any) -> Any:
            seen.append(threading.get_ident())
            return function(*args, **kwargs)

        monkeypatch.setattr(Foresight, name, noting)
    rows = np.arange(300, dtype=np.int32)
    many = attrs.evolve(
        batch(300), names=tuple(SeriesName(f"s{n}", "t") for n in range(300)), idx=rows
    )
    async with engine(store) as gate:
        await gate.submit(ONE, many).wait()
        await gate.edit_rule(ONE, CreateRule(TEXTS[0].format("r"))).wait()
        await gate.set_tags(ONE, {"s1": {"k": "v"}}).wait()
        await gate.foresee(ONE, [parse_rule(TEXTS[0].format("q"))]).wait()
    assert len(seen) == 9
    assert here not in seen
