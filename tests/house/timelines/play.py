"""A scene played by the real engine: its gate, actor, fold and recovery, on a clock that jumps.

Only the store is of dicts. What a picture shows is taken from what was committed and answered;
nothing is said twice in the scene. Seconds count from the scene's beginning.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import attrs
import numpy as np
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import ReplaceRule
from atalaia.model.alert import Transition
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.ids import Micros, RuleNo, SensorNo, TenantNo
from atalaia.model.rule import StoredRule
from atalaia.ports import CommitItem
from atalaia.rules.language import parse_rule
from atalaia.rules.states import STORED
from atalaia.rules.syntax import SEVERITY_ORDER
from tests.engine.store import FaultyStore

TENANT = TenantNo(1)
START_US = 1_767_571_200_000_000  # a Monday at 00:00 UTC


@attrs.frozen
class Send:
    """One request: (sensor, metric, event time, value) of each row."""

    at: float
    rows: tuple[tuple[str, str, float, float], ...]


@attrs.frozen
class Edit:
    """Another text for the rule of this number."""

    at: float
    rule: int
    text: str


@attrs.frozen
class Down:
    """The engine is stopped, and started again from what it has committed."""

    at: float
    until: float


Happening = Send | Edit | Down


@attrs.frozen
class Row:
    """A reading and what became of it: judged, late, duplicate, or the code of its refusal."""

    sensor: str
    metric: str
    ts: float
    value: float
    arrived: float
    fate: str


@attrs.frozen
class Step:
    """A transition. alert: the beginning of its id."""

    kind: str
    rule: int
    version: int
    sensor: str
    at: float
    arrived: float
    severity: str
    reason: str | None
    alert: str


@attrs.frozen
class State:
    """The state of a rule at a sensor from this judgement on, as it was committed."""

    rule: int
    sensor: str
    at: float
    phase: int
    level: str
    since: float


@attrs.frozen
class Story:
    """What happened."""

    rows: tuple[Row, ...]
    steps: tuple[Step, ...]
    states: tuple[State, ...]


def play(
    rules: Sequence[str], happenings: Iterable[Happening], until: float, lateness: float = 0
) -> Story:
    """Everything in the order of its time, on a clock that jumps from one to the next.

    lateness: of the tenant, in seconds.
    """
    player = _Player(tuple(sorted(happenings, key=lambda happening: happening.at)), until)
    player.store.tenant(TENANT).lateness_us = round(1e6 * lateness)
    for number, text in enumerate(rules, 1):
        player.store.add_rule(RuleNo(number), text)
    with capture_logs():
        trio.run(player.run, clock=MockClock(autojump_threshold=0))
    return player.story()


class _Wall:
    """A wall clock that goes with trio's, which begins at 0."""

    def now_us(self) -> Micros:
        return Micros(START_US + round(1e6 * trio.current_time()))


@attrs.define(eq=False)
class _Store(FaultyStore):
    """Keeps what was committed, item by item, and the sensors' clocks at each."""

    kept: list[tuple[CommitItem, dict[SensorNo, int]]] = attrs.field(factory=list)
    clocks: dict[SensorNo, int] = attrs.field(factory=dict)

    def _store(self, item: CommitItem) -> int:
        sensors = {row.series_no: row.sensor_no for row in self.tenant(TENANT).series.values()}
        for series, ts in zip(item.fresh_series.tolist(), item.fresh_ts.tolist(), strict=True):
            self.clocks[sensors[series]] = max(self.clocks.get(sensors[series], ts), ts)
        self.kept.append((item, dict(self.clocks)))
        return super()._store(item)

    def add_rule(self, number: RuleNo, text: str) -> None:
        spec, began = parse_rule(text), Micros(START_US - 1)
        tenant = self.tenant(TENANT)
        tenant.rules[number] = StoredRule(
            number, UUID(int=number), spec.name, text, 1, 1, True, began, began, began
        )
        if spec.silence is not None:
            tenant.waits.add(number)


@attrs.define(eq=False)
class _Player:
    happenings: tuple[Happening, ...]
    until: float
    store: _Store = attrs.field(factory=_Store)
    rows: list[Row] = attrs.field(factory=list)

    async def run(self) -> None:
        left = list(self.happenings)
        down: Down | None = Down(0, 0)
        while down is not None:
            await trio.sleep_until(down.until)
            async with open_engine(self.store, _Wall(), EngineLimits()) as gate:
                down = await self._live(gate, left)

    async def _live(self, gate: Gate, left: list[Happening]) -> Down | None:
        """What happens until the engine is stopped, or until the end."""
        while left:
            happening = left.pop(0)
            await trio.sleep_until(happening.at)
            if isinstance(happening, Down):
                return happening
            await self._do(gate, happening)
        await trio.sleep_until(self.until)
        return None

    async def _do(self, gate: Gate, happening: Send | Edit) -> None:
        if isinstance(happening, Edit):
            edit = ReplaceRule(UUID(int=happening.rule), happening.text)
            await gate.edit_rule(TENANT, edit).wait()
            return
        tenant = self.store.tenant(TENANT)
        batch = _batch(happening)
        known = self._stored(batch)
        answer = await gate.submit(TENANT, batch).wait()
        refused = {reject.index: reject.code for reject in answer.rejects}
        for place, (sensor, metric, ts, value) in enumerate(happening.rows):
            fate = refused.get(place, "duplicate" if known[place] else "judged")
            if fate == "judged":
                series = tenant.series[SeriesName(sensor, metric)].series_no
                fate = "late" if tenant.rows[series, START_US + round(1e6 * ts)][1] else fate
            self.rows.append(Row(sensor, metric, ts, value, happening.at, fate))
        fates = [row.fate for row in self.rows[-len(happening.rows) :]]
        assert (fates.count("late"), fates.count("duplicate")) == (answer.late, answer.duplicates)

    def _stored(self, batch: Batch) -> list[bool]:
        tenant = self.store.tenant(TENANT)
        series = [tenant.series.get(name) for name in batch.names]
        found = [None if row is None else row.series_no for row in series]
        return [
            (found[name], ts) in tenant.rows
            for name, ts in zip(batch.idx.tolist(), batch.ts.tolist(), strict=True)
        ]

    def story(self) -> Story:
        names = {row.sensor_no: row.name for row in self.store.tenant(TENANT).sensors.values()}
        states = []
        for item, clocks in self.store.kept:
            for stored in np.frombuffer(item.rule_states, STORED).tolist():
                rule, _, sensor, phase, level, _, since, _, _ = stored
                if sensor not in clocks:
                    continue
                at, level = seconds(clocks[sensor]), SEVERITY_ORDER[level]
                states.append(State(rule, names[sensor], at, phase, level, seconds(since)))
        steps = [_step(step, names[step.sensor_no]) for step in self.store.transitions]
        return Story(tuple(self.rows), tuple(steps), tuple(states))


def seconds(us: int) -> float:
    """Since the scene began."""
    return (us - START_US) / 1e6


def _step(step: Transition, sensor: str) -> Step:
    return Step(
        step.kind, step.rule_no, step.rule_version, sensor, seconds(step.at),
        seconds(step.arrived), step.severity, step.reason, str(step.alert_id)[:4],
    )  # fmt: skip


def _batch(send: Send) -> Batch:
    names = tuple(dict.fromkeys(SeriesName(sensor, metric) for sensor, metric, _, _ in send.rows))
    count = len(send.rows)
    return Batch(
        names=names,
        idx=np.array([names.index(SeriesName(s, m)) for s, m, _, _ in send.rows], np.int32),
        ts=np.array([START_US + round(1e6 * ts) for _, _, ts, _ in send.rows], np.int64),
        value=np.array([value for _, _, _, value in send.rows], np.float64),
        row=np.arange(count, dtype=np.int32),
        rejects=(),
        sent=count,
    )
