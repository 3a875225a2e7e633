"""Those outside: how they ask, and gateways that send each batch until it is answered."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import attrs
import numpy as np
import trio

from atalaia.engine.gate import Gate
from atalaia.engine.ingest import COMMIT_IS_SLOW
from atalaia.engine.receipt import ANSWER_DEADLINE_S, Receipt
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import AtalaiaError, Overloaded, Unavailable
from atalaia.model.ids import DAY_US, Micros, TenantNo
from tests.simulation.plan import NAMES
from tests.simulation.port import POISON
from tests.simulation.world import DEVICES_US, World

T = TypeVar("T")
Reading = tuple[SeriesName, int, float]


async def ask(
    world: World, make: Callable[[Gate], Receipt[T]], slow: str, patience_s: float
) -> T | AtalaiaError | None:
    """What the process says; None when there is none, it dies, or patience ends first."""
    process, began = world.process, trio.current_time()
    if process is None or process.gate is None:
        return None
    try:
        with process.connection(), trio.move_on_after(patience_s):
            answer = await make(process.gate).answer(slow)
            world.check(
                trio.current_time() - began <= ANSWER_DEADLINE_S + 0.001, "an answer in time"
            )
            return answer
    except AtalaiaError as error:
        world.check(trio.current_time() - began <= ANSWER_DEADLINE_S + 0.001, "a refusal in time")
        return error
    return None


def make_batch(world: World, tenant_no: TenantNo, rows: Sequence[Reading]) -> Batch:
    """Of these readings; it is known from now on that they were sent."""
    names = list(dict.fromkeys(name for name, _, _ in rows))
    for name, ts, value in rows:
        world.sent.setdefault((tenant_no, name, Micros(ts)), set()).add(value)
    return Batch(
        names=tuple(names),
        idx=np.array([names.index(name) for name, _, _ in rows], np.int32),
        ts=np.array([ts for _, ts, _ in rows], np.int64),
        value=np.array([value for _, _, value in rows], np.float64),
        row=np.arange(len(rows), dtype=np.int32),
        rejects=(),
        sent=len(rows),
    )


@attrs.define(eq=False)
class Gateway:
    """Sends a tenant's readings in batches, each until it is answered."""

    world: World
    tenant_no: TenantNo
    number: int
    _random: Random = attrs.field(init=False)
    _names: list[SeriesName] = attrs.field(init=False)
    _clocks: dict[SeriesName, int] = attrs.field(factory=dict)
    _past: list[Batch] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._random = Random(f"gateway/{self.world.plan.seed}/{self.tenant_no}/{self.number}")
        sensors = self._random.sample(NAMES, self._random.randint(1, 3))
        self._names = [SeriesName(s, m) for s in sensors for m in "ab"][
            : self._random.choice([1, 2, 6])
        ]

    async def run(self) -> None:
        rng = self._random
        async with trio.open_nursery() as nursery:
            for number in range(self.world.plan.batches):
                await trio.sleep(rng.choice([0.0, 0.0, 0.01, 0.3, 1.0, 3.0, 6.0]))
                batch = self._batch()
                self._past.append(batch)
                if rng.random() < 0.3:  # does not wait for the answer before it sends on
                    nursery.start_soon(self._deliver, batch, number)
                else:
                    await self._deliver(batch, number)

    def _batch(self) -> Batch:
        rng = self._random
        if self._past and rng.random() < 0.1:
            return rng.choice(self._past)
        victim = self.tenant_no == self.world.plan.victim
        size = rng.choice([1, 2, 5, 12, 120 if victim else 8])
        rows = [self._reading() for _ in range(size)]
        if rng.random() < 0.03:  # a history of as many months as rows
            rows = [(n, ts - (40 + 31 * k) * DAY_US, v) for k, (n, ts, v) in enumerate(rows)]
        if victim and rng.random() < 0.25:
            rows[-1] = (*rows[-1][:2], POISON)
        return make_batch(self.world, self.tenant_no, rows)

    def _reading(self) -> Reading:
        rng = self._random
        name = rng.choice(self._names)
        value = rng.randint(-10, 10) / 2
        clock = self._clocks.get(name, DEVICES_US)
        if clock > DEVICES_US and rng.random() < 0.15:  # late, or sent before, maybe otherwise
            return name, clock - rng.choice([0, 1, 500_000, 2_000_000, 20_000_000]), value
        at = max(self._clocks.get(other, 0) for other in self._names if other[0] == name[0])
        step = rng.choice([1, 500_000, 1_000_000, 1_000_000, 3_000_000, 15_000_000])
        self._clocks[name] = max(clock, at - rng.choice([0, 0, 2_000_000])) + step
        return name, self._clocks[name], value

    async def _deliver(self, batch: Batch, number: int) -> None:
        """As often as it takes; one that was answered now and then once more."""
        world, rng = self.world, self._random
        who = f"t{self.tenant_no}/g{self.number}#{number}"
        poisoned = POISON in batch.value
        while True:
            since = len(world.journal)
            asleep = world.process is None
            patience_s = rng.choice([0.05, 20.0, 20.0, 20.0])
            world.note("sent", who=who, rows=len(batch), anybody=not asleep)
            answer = await ask(
                world, lambda gate: gate.submit(self.tenant_no, batch), COMMIT_IS_SLOW, patience_s
            )
            world.note("answered", who=who, answer=answer)
            if isinstance(answer, AtalaiaError):
                world.answers[answer.code] += 1
                buried = poisoned and answer.code == "dead_lettered"
                world.check(
                    buried or isinstance(answer, Overloaded | Unavailable),
                    "a good batch is not refused", who=who, error=repr(answer),
                )  # fmt: skip
                world.check(
                    not world.bystander(self.tenant_no),
                    "one tenant's faults are nobody else's", who=who, error=repr(answer),
                )  # fmt: skip
                if buried:
                    return
            elif answer is not None:
                kept = set(range(len(batch))) - {reject.index for reject in answer.rejects}
                world.check(
                    all(batch.value[n] != POISON for n in kept),
                    "what the database refuses is not answered with 200", who=who,
                )  # fmt: skip
                world.check_answer(self.tenant_no, batch, answer, since)
                if rng.random() < 0.9:
                    return
            await trio.sleep(rng.choice([0.0, 0.5, 1.0, 2.0, 4.0]))
