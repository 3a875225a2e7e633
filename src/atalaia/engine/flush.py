"""Group commit: whatever arrived during the last commit is the next one.

One commit at a time. A commit is shielded from cancellation and repeated under its group id
while the outcome is unknown; when it fails for good, every uncommitted batch of its tenants
fails with it and their actors are rebuilt from storage, so that memory never stays ahead of
the truth. A group refused for its data is tried in halves, and the culprit is buried
alone.
"""

from collections import Counter, deque
from collections.abc import Sequence
from itertools import chain

import attrs
import structlog
import trio

from atalaia.engine.broadcast import Broadcast
from atalaia.engine.clock import WallClock
from atalaia.engine.group import Queue
from atalaia.engine.limits import EngineLimits
from atalaia.engine.listening import Listening
from atalaia.engine.messages import Work
from atalaia.engine.outage import Outage
from atalaia.engine.outcomes import Outcomes
from atalaia.engine.tally import Tally
from atalaia.model.errors import AtalaiaError, Closing, Invalid, TenantErased, Unavailable
from atalaia.model.ids import uuid7
from atalaia.ports import (
    CommitItem,
    EngineStore,
    Fenced,
    StoreRefused,
    StoreUnavailable,
    TenantGone,
)
from atalaia.telemetry.metrics import ALERTS, COMMIT_ROWS, COMMIT_SECONDS, COMMITS, READINGS

log = structlog.get_logger()

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0
OUTAGE_S = 0.1  # the second retry: one may meet a deadlock or a broken connection


@attrs.define(eq=False)
class Flusher:
    """The single writer. `run` lives until its input ends."""

    store: EngineStore
    outcomes: Outcomes
    clock: WallClock
    limits: EngineLimits
    works: trio.MemoryReceiveChannel[Work]
    queue: Queue
    listening: Listening
    outage: Outage
    broadcast: Broadcast = attrs.field(factory=Broadcast)
    tally: Tally = attrs.field(factory=Tally)

    async def run(self) -> None:
        """Commit what arrives until every sender has closed, then return.

        Raises Fenced when the lease is lost: the process must not go on, but may still `refuse`.
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

    async def refuse(self) -> None:
        """Fail what waits and what still comes, until every sender has closed."""
        while group := self.queue.next_group():
            _fail_all(group, Closing())
        async for work in self.works:
            _fail_all([work], Closing())

    async def _flush(self) -> None:
        """Commit the next group, or what can be of it.

        What is refused for its data is halved until the culprit stands alone. Its tenant's later
        works were judged on top of it and fail with their incarnation.
        """
        _fail_all(self.queue.take_broken(), Unavailable())
        parts = deque([self.queue.next_group()])
        while parts:
            taken = parts.popleft()
            _fail_all([work for work in taken if work.incarnation.broken], Unavailable())
            part = [work for work in taken if not work.incarnation.broken]
            if not part:
                continue
            try:
                await self._commit(part)
            except StoreRefused as error:
                if len(part) == 1 and isinstance(error, TenantGone):
                    _break_off(part, TenantErased())  # and no letter of it
                elif len(part) == 1:
                    await self._bury(part[0], error)
                else:
                    half = len(part) // 2
                    parts.extendleft((part[half:], part[:half]))
            except StoreUnavailable as error:
                left = [*part, *chain.from_iterable(parts)]
                log.error("commit_failed", works=len(left), error=str(error))
                self.broadcast.lose(work.item for work in left)
                _break_off(left, Unavailable("The database does not answer; send it again."))
                return
            except Fenced:
                _fail_all([*part, *chain.from_iterable(parts)], Closing())
                raise

    async def _commit(self, group: Sequence[Work]) -> None:
        """Commit and settle. Raises StoreUnavailable after the retry deadline, StoreRefused."""
        self.listening.begin_commit()
        try:
            await self._commit_heard(group)
        finally:
            self.listening.end_commit()
            self.outage.end()

    async def _commit_heard(self, group: Sequence[Work]) -> None:
        items = [work.item for work in group]
        group_id = uuid7(self.clock.now_us())
        began = trio.current_time()
        failing_since: float | None = None
        delay_s = FIRST_RETRY_S
        while True:
            try:
                late = await self.outcomes.commit(group_id, items)
                break
            except StoreUnavailable as error:
                if failing_since is None:
                    failing_since = trio.current_time()
                failing_s = trio.current_time() - failing_since
                if failing_s > OUTAGE_S:
                    self.outage.begin()
                if failing_s > self.limits.commit_retry_s:
                    raise
                log.warning("commit_retried", error=str(error), delay_s=delay_s)
                await trio.sleep(delay_s)
                delay_s = min(2 * delay_s, LAST_RETRY_S)
        took_s = trio.current_time() - began
        self._note(items, took_s)
        READINGS.labels("late").inc(sum(late))
        READINGS.labels("stored").inc(sum(len(item.fresh_ts) for item in items))
        self.broadcast.tell(items, late)
        for work, count in zip(group, late, strict=True):
            work.ended()
            work.settle(count)

    def _note(self, items: Sequence[CommitItem], took_s: float) -> None:
        rows = sum(item.rows for item in items)
        COMMITS.inc()
        COMMIT_SECONDS.observe(took_s)
        COMMIT_ROWS.observe(rows)
        kinds = Counter(step.kind for item in items for step in item.transitions)
        for kind, count in kinds.items():
            ALERTS.labels(kind).inc(count)
        tenants = {item.tenant_no for item in items}
        log.debug(
            "group_committed", rows=rows, tenants=len(tenants), took_ms=round(1e3 * took_s, 1)
        )
        self.tally.add(rows, tenants, took_s)

    async def _bury(self, work: Work, error: StoreRefused) -> None:
        log.error("batch_refused", tenant_no=work.item.tenant_no, reason=str(error))
        try:
            await self.store.bury([work.item], str(error))
        except (StoreUnavailable, StoreRefused) as fault:
            log.error("bury_failed", error=str(fault))
            _break_off([work], Unavailable())
            return
        _break_off(
            [work],
            Invalid(
                "The database refused these readings; they are kept as a dead letter.",
                code="dead_lettered",
            ),
        )


def _break_off(group: Sequence[Work], error: AtalaiaError) -> None:
    for work in group:
        work.incarnation.break_off()
    _fail_all(group, error)


def _fail_all(group: Sequence[Work], error: AtalaiaError) -> None:
    for work in group:
        work.ended()
        work.receipt.fail(error)
