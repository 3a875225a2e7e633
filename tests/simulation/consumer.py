"""Those who keep an order: what comes from a queue is sent in waves, each batch after the other."""

from collections.abc import Sequence
from random import Random

import attrs
import trio

from atalaia.engine.receipt import Answer, Receipt
from atalaia.model.batch import Batch, SeriesName
from atalaia.model.errors import AtalaiaError, Overloaded, Unavailable
from atalaia.model.ids import TenantNo
from tests.simulation.clients import Reading, make_batch
from tests.simulation.plan import KEPT_IN_ORDER
from tests.simulation.world import DEVICES_US, World


@attrs.define(eq=False)
class Consumer:
    """Of one tenant. What failed is sent again before what came after it, so that no reading is
    ever late: the reference looks.
    """

    world: World
    tenant_no: TenantNo
    _random: Random = attrs.field(init=False)
    _at: int = DEVICES_US

    def __attrs_post_init__(self) -> None:
        self._random = Random(f"consumer/{self.world.plan.seed}/{self.tenant_no}")

    async def run(self) -> None:
        rng, left = self._random, [self._batch() for _ in range(2 * self.world.plan.batches)]
        while left:
            await trio.sleep(rng.choice([0.0, 0.1, 1.0, 3.0]))
            size = rng.choice([1, 3, 8])
            left = [*await self._send(left[:size]), *left[size:]]

    def _batch(self) -> Batch:
        rng, rows = self._random, list[Reading]()
        for _ in range(rng.choice([1, 1, 3])):
            self._at += rng.choice([1, 500_000, 1_000_000, 4_000_000])
            name = SeriesName(rng.choice(KEPT_IN_ORDER), "a")
            rows.append((name, self._at, rng.randint(-10, 10) / 2))
        return make_batch(self.world, self.tenant_no, rows)

    async def _send(self, wave: Sequence[Batch]) -> list[Batch]:
        """Until there is no room; waits for all. Returns what is to be sent again, in order."""
        world, process = self.world, self.world.process
        if process is None or process.gate is None:
            return list(wave)
        since, sent = len(world.journal), list[Receipt[Answer]]()
        failed: list[Batch] = []
        settled = 0
        world.note("wave", tenant=self.tenant_no, batches=len(wave))
        with process.connection():
            try:
                for batch in wave:
                    await trio.lowlevel.checkpoint()
                    after = sent[-1] if sent else None
                    sent.append(process.gate.submit(self.tenant_no, batch, None, after=after))
            except AtalaiaError as error:
                self._check_refusal(error)
            for batch, receipt in zip(wave, sent, strict=False):
                try:
                    answer = await receipt.wait()
                    world.check_answer(self.tenant_no, batch, answer, since)
                except AtalaiaError as error:
                    self._check_refusal(error)
                    failed.append(batch)
                settled += 1
        world.note("waved", tenant=self.tenant_no, settled=settled, failed=len(failed))
        return [*failed, *wave[settled:]]

    def _check_refusal(self, error: AtalaiaError) -> None:
        world = self.world
        world.answers[error.code] += 1
        world.check(
            isinstance(error, Overloaded | Unavailable),
            "a good batch is not refused", who=f"t{self.tenant_no}/queue", error=repr(error),
        )  # fmt: skip
        world.check(
            not world.bystander(self.tenant_no),
            "one tenant's faults are nobody else's", error=repr(error),
        )  # fmt: skip
