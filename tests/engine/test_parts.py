"""Batches, ticks and edits that make many steps of alerts are committed in parts."""

from collections.abc import Mapping, Sequence
from functools import partial
from uuid import UUID

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import CreateRule, DeleteRule
from atalaia.model.errors import AtalaiaError
from atalaia.model.ids import Micros, RuleNo
from atalaia.model.rule import StoredRule
from atalaia.ports import StoreUnavailable
from tests.engine.store import FaultyStore
from tests.engine.test_lateness import ONE, Clock, Row, as_batch, timeless
from tests.rules.oracle import Reading
from tests.rules.streams import cuts_of, rule_texts, streams

FAULT = StoreUnavailable("the commit was lost")


def send(
    texts: Sequence[str], lateness_us: int, batches: Sequence[Sequence[Row]],
    faults: Mapping[int, int], steps: int,
) -> FaultyStore:  # fmt: skip
    """Send batches, each again until it is taken. faults: of some, which of its commits is lost."""
    store = FaultyStore()
    for n, text in enumerate(texts, 1):
        store.tenant(ONE).rules[n] = StoredRule(
            rule_no=RuleNo(n), rule_id=UUID(int=n), name=f"r{n}", text=text, version=1, revision=1,
            enabled=True, active_from=Micros(0), created_at=Micros(0), updated_at=Micros(0),
        )  # fmt: skip
    store.tenant(ONE).lateness_us = lateness_us
    limits = EngineLimits(
        item_steps=steps, unsettled_steps=1, commit_retry_s=-1.0, snapshot_every=3
    )

    async def main() -> None:
        async with open_engine(store, Clock(), limits) as gate:
            for n, batch in enumerate(batches):
                store.faults[:] = [None] * faults[n] + [FAULT] if n in faults else []
                for _ in range(3):
                    try:
                        await gate.submit(ONE, as_batch(batch)).wait()
                        break
                    except AtalaiaError:
                        await trio.sleep(1)

    trio.run(partial(main), clock=MockClock(autojump_threshold=0))
    return store


@pytest.mark.parametrize("lateness_us", [0, 5_000_000])
@given(st.lists(rule_texts(), min_size=1, max_size=3), streams(), streams(), st.data())
def test_a_commit_lost_between_parts_changes_nothing(
    lateness_us: int,
    texts: list[str],
    first: list[list[Reading]],
    second: list[list[Reading]],
    data: st.DataObject,
) -> None:
    """The batch is sent again: every reading is stored, and every alert as if all were well."""
    rows: list[Row] = [
        (sensor, *reading)
        for sensor, groups in (("s", first), ("q", second))
        for group in groups[:30]
        for reading in group
    ]
    rows = data.draw(st.permutations(rows))[:60] + rows[:5]
    batches = [batch for batch in data.draw(cuts_of(rows)) if batch]
    lost = st.dictionaries(
        st.integers(0, len(batches) - 1), st.integers(0, 6), min_size=1, max_size=4
    )
    whole = send(texts, lateness_us, batches, {}, 256)
    parts = send(texts, lateness_us, batches, data.draw(lost), 1)
    assert parts.tenant(ONE).rows == whole.tenant(ONE).rows

    def told(store: FaultyStore) -> list[tuple[object, ...]]:
        steps = timeless(store.transitions)
        found = [(s.sensor_no, s.rule_no, s.kind, s.at, s.alert_id, s.severity, s.value)
                 for s in steps]  # fmt: skip
        return sorted(found, key=lambda step: step[:2])

    assert told(parts) == told(whole)


async def test_many_alerts_are_cleared_and_closed_in_parts(autojump_clock: MockClock) -> None:
    """By silence, by its end, and by the end of a rule: never more than so many in one commit."""
    store, names = FaultyStore(), [f"s{n}" for n in range(100)]
    limits = EngineLimits(item_steps=8, unsettled_steps=16)

    async def take(gate: Gate, value: float, ts: int) -> None:
        answer = await gate.submit(ONE, as_batch([(s, "a", ts, value) for s in names])).wait()
        assert answer.accepted == 100

    def kinds() -> list[str]:
        found: list[str] = [step.kind for step in store.transitions]
        store.transitions.clear()
        return found

    async with open_engine(store, Ticking(), limits) as gate:
        await gate.edit_rule(ONE, CreateRule("rule gone on sensors when no data for 10s")).wait()
        hot = CreateRule("rule hot on sensors when last(a, 1m) > 5")
        rule = await gate.edit_rule(ONE, hot).wait()
        await take(gate, 1.0, 1)
        await trio.sleep(30)
        assert kinds() == ["opened"] * 100
        await take(gate, 9.0, 2)
        assert sorted(kinds()) == ["cleared"] * 100 + ["opened"] * 100
        await gate.edit_rule(ONE, DeleteRule(rule.rule_id)).wait()
        assert kinds() == ["cleared"] * 100
    assert max(store.steps) <= 8


class Ticking:
    """The wall, as trio's clock has it."""

    def now_us(self) -> Micros:
        return Micros(10**15 + round(1e6 * trio.current_time()))
