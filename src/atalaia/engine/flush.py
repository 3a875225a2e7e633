"""Group commit: whatever arrived during the last commit is the next one.

One commit at a time. A commit is shielded from cancellation and repeated under its group id
while the outcome is unknown; when it fails for good, every uncommitted batch of its tenants
fails with it and their actors are rebuilt from storage, so that memory never stays ahead of
the truth. A group refused for its data is tried tenant by tenant, and the culprit is buried.
"""

from collections.abc import Sequence

import attrs
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.group import Queue
from atalaia.engine.limits import EngineLimits
from atalaia.engine.messages import Work
from atalaia.model.errors import AtalaiaError, Invalid, Unavailable
from atalaia.model.ids import TenantNo, uuid7
from atalaia.ports import EngineStore, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import COMMIT_ROWS, COMMIT_SECONDS, COMMITS, READINGS

log = structlog.get_logger()

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0


@attrs.define(eq=False)
class Flusher:
    """The single writer. `run` lives until its input ends."""

    store: EngineStore
    clock: WallClock
    limits: EngineLimits
    works: trio.MemoryReceiveChannel[Work]
    queue: Queue

    async def run(self) -> None:
        """Commit what arrives until every sender has closed, then return.

        Raises Fenced when the lease is lost: the process must not go on.
        """
        async for work in self.works:
            self.queue.add(work)
            self._collect()
            while len(self.queue):
                with trio.CancelScope(shield=True):
                    await self._flush()
                self._collect()

    def _collect(self) -> None:
        while True:
            try:
                self.queue.add(self.works.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return

    async def _flush(self) -> None:
        for work in self.queue.take_broken():
            _fail(work, Unavailable())
        group = self.queue.next_group()
        if not group:
            return
        try:
            await self._commit(group)
        except StoreUnavailable as error:
            log.error("commit_failed", works=len(group), error=str(error))
            self._break_off(group, Unavailable("The database does not answer; send it again."))
        except StoreRefused as error:
            await self._isolate(group, error)

    async def _commit(self, group: Sequence[Work]) -> None:
        """Commit and settle. Raises StoreUnavailable after the retry deadline, StoreRefused."""
        items = [work.item for work in group]
        group_id = uuid7(self.clock.now_us())
        began = trio.current_time()
        delay_s = FIRST_RETRY_S
        while True:
            try:
                late = await self.store.commit_group(group_id, items)
                break
            except StoreUnavailable as error:
                if trio.current_time() - began > self.limits.commit_retry_s:
                    raise
                log.warning("commit_retried", error=str(error), delay_s=delay_s)
                await trio.sleep(delay_s)
                delay_s = min(2 * delay_s, LAST_RETRY_S)
        took_s = trio.current_time() - began
        rows = sum(item.rows for item in items)
        COMMITS.inc()
        COMMIT_SECONDS.observe(took_s)
        COMMIT_ROWS.observe(rows)
        READINGS.labels("late").inc(sum(late))
        READINGS.labels("stored").inc(sum(len(item.fresh_ts) for item in items))
        for work, count in zip(group, late, strict=True):
            work.incarnation.ended()
            work.settle(count)

    async def _isolate(self, group: Sequence[Work], error: StoreRefused) -> None:
        """Commit a refused group tenant by tenant; bury what is refused alone."""
        tenants: dict[TenantNo, list[Work]] = {}
        for work in group:
            tenants.setdefault(work.item.tenant_no, []).append(work)
        if len(tenants) > 1:
            for works in tenants.values():
                try:
                    await self._commit(works)
                except StoreUnavailable:
                    self._break_off(works, Unavailable())
                except StoreRefused as own:
                    await self._isolate(works, own)
            return
        log.error("batch_refused", tenant_no=next(iter(tenants)), reason=str(error))
        try:
            await self.store.bury([work.item for work in group], str(error))
        except (StoreUnavailable, StoreRefused) as fault:
            log.error("bury_failed", error=str(fault))
            self._break_off(group, Unavailable())
            return
        self._break_off(
            group,
            Invalid(
                "The database refused these readings; they are kept as a dead letter.",
                code="dead_lettered",
            ),
        )

    def _break_off(self, group: Sequence[Work], error: AtalaiaError) -> None:
        for work in group:
            work.incarnation.break_off()
            _fail(work, error)


def _fail(work: Work, error: AtalaiaError) -> None:
    work.incarnation.ended()
    work.receipt.fail(error)
