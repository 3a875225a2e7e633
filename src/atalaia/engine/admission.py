"""What of a batch may be judged: times that are taken, partitions that hold them, series that are
known, and room for all of it.
"""

import attrs
import numpy as np
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.judge import check_times, refuse
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import Hearing
from atalaia.engine.recover import add_sensors, add_series, joining_bytes
from atalaia.engine.state import TenantState
from atalaia.model.batch import Batch, Int64s
from atalaia.model.errors import Overloaded
from atalaia.model.ids import Micros, TenantNo
from atalaia.ports import EngineStore
from atalaia.rules.forecast import Forecast, cures, mib

log = structlog.get_logger()

FULL_RETRY_S = 60  # somebody has to change a rule


@attrs.define(eq=False)
class Admission:
    """Of one life of a tenant's actor, which alone calls it."""

    tenant_no: TenantNo
    store: EngineStore
    clock: WallClock
    limits: EngineLimits
    hearing: Hearing
    _full: dict[bool, Forecast] = attrs.field(factory=dict)
    """What takes most while the tenant holds more memory than it may; True: with new sensors."""

    def begin(self) -> None:
        """The state has been rebuilt: what took most may be gone."""
        self._full.clear()

    async def admit(self, state: TenantState, batch: Batch) -> tuple[Batch, Int64s, Micros]:
        """What is taken of a batch, the series of each row, and when it arrived.

        Raises Overloaded when nothing of it can be taken now.
        """
        try:
            self._check_room(state)
            arrived = state.next_arrival(self.clock.now_us())
            taken = check_times(
                batch,
                oldest=self.limits.oldest(arrived),
                newest=arrived + self.limits.future_skew_us,
            )
            taken = await self._cover(taken)
            taken, slots = await self._register(state, taken)
        except Overloaded:
            self.hearing.refuse(batch.sensors)
            raise
        return taken, slots, arrived

    def _check_room(self, state: TenantState, joining: int = 0) -> None:
        """Raises Overloaded when the tenant holds what it may: only an edit of its rules or
        lateness helps.

        joining: bytes of sensors that are to be added; those that are there go on without them.
        """
        limit, held = state.most_bytes, state.held_bytes + joining
        if held <= limit:
            return
        if not joining:
            self.hearing.own.begin(trio.current_time())
        found = self._full.get(joining > 0)
        if found is None:
            found = self._full[joining > 0] = state.forecast()
            log.warning("tenant_memory_full", held_bytes=held, waiting_bytes=state.waiting_bytes,
                        limit_bytes=limit, costliest=str(found))  # fmt: skip
        parts = "The windows and states of this tenant's rules"
        if state.waiting_bytes:
            parts += f", and readings that wait for their lateness ({mib(state.waiting_bytes)}),"
        if joining:
            parts += " with the sensors that are new in this batch"
        then = "nothing more is taken until they take less"
        if joining:
            then = "a batch with new sensors is taken when they take less, others are as before"
        most = f" Most of it: {found}." if found.costliest else ""
        raise Overloaded(
            f"{parts} take {mib(held)}, and may take {mib(limit)}: {then}.{most} "
            f"{cures(held, state.waiting_bytes).capitalize()}, or ask for more "
            "(ATALAIA_TENANT_MEMORY); then send the same batch again.",
            code="too_much_memory",
            retry_after_s=FULL_RETRY_S,
        )

    async def _cover(self, batch: Batch) -> Batch:
        """Make the partitions these times need; refuse for now what is beyond a request's share.

        Raises Overloaded when the tenant's share of new ones is used up and nothing is left.
        """
        missing = self.store.uncovered(batch.ts)
        if not len(missing):
            return batch
        try:
            now = self.clock.now_us()
            await self.store.ensure_partitions(self.tenant_no, batch.ts[missing], now)
        except Overloaded:
            if len(self.store.uncovered(batch.ts)) == len(batch):
                raise
        keep = np.ones(len(batch), np.bool_)
        keep[self.store.uncovered(batch.ts)] = False
        return refuse(
            batch,
            keep,
            "retry_later",
            "these rows need more new days or months than may be opened now; send them again",
        )

    async def _register(self, state: TenantState, batch: Batch) -> tuple[Batch, Int64s]:
        """Register unknown series; refuse rows whose series the tenant's quota has no room for.

        Returns what is left of the batch, and the slot of each row's series. Raises Overloaded when
        new sensors would take more memory than the tenant may.
        """
        named = state.table.slots(batch.names)
        if -1 not in named:
            return batch, named[batch.idx]
        used = np.unique(batch.idx).tolist()
        unknown = [batch.names[i] for i in used if batch.names[i] not in state.table]
        if unknown:
            strangers = {name.sensor for name in unknown if not state.knows_sensor(name.sensor)}
            self._check_room(state, await joining_bytes(state, strangers, batch.tags))
            sensors, series = await self.store.register(
                self.tenant_no, unknown, self.clock.now_us(), batch.tags
            )
            await add_sensors(state, sensors, {})
            await add_series(state, series, {}, {})
        slots = state.table.slots(batch.names)[batch.idx]
        batch = refuse(
            batch,
            slots >= 0,
            "too_many_series",
            "the tenant's limit of series is reached; ask for more room",
        )
        return batch, slots[slots >= 0]
