"""Backtests over the committed past: what is asked of storage, and where the work is done.

The loop that serves everybody only waits here: readings come over the bridge in bounded chunks,
and whatever counts or sorts them is done in a worker thread, one at a time over all backtests, so
that they take at most one core. Cancelling ends a run within a chunk.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import attrs
import numpy as np
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.feed import MOST_ROWS, Feed, Slice, as_rows
from atalaia.engine.limits import EngineLimits
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.errors import Busy
from atalaia.model.ids import SECOND_US, Micros, SensorNo, TenantNo
from atalaia.ports import Queries, SensorRow, SeriesRow
from atalaia.rules.backtest import Backtest, Group
from atalaia.rules.silent import SilentGroup, Watched

T = TypeVar("T")
Judge = Callable[[Int64s, Int64s, Floats, Int64s], None]

MOST_AT_ONCE = 2  # one of them loads while the other folds; one per tenant
RETRY_AFTER_S = 10
GROUP_SERIES = 256
GROUP_BYTES = 256 << 20
READING_BYTES = 24
AHEAD_US = EngineLimits().future_skew_us
"""How much later than its arrival the time of a reading may be."""


@attrs.frozen
class Progress:
    """How much of the work is done, from 0 to 1, and how many readings were judged."""

    share: float
    readings: int


@attrs.frozen(eq=False)
class _Members:
    """The sensors of a group, and the numbers of their series in the group's order."""

    sensors: tuple[Watched, ...]
    series_no: Int32s


@attrs.define(eq=False)
class Backtests:
    """Runs backtests, few at once."""

    _queries: Queries
    clock: WallClock
    _running: set[TenantNo] = attrs.field(factory=set)
    _core: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def run(self, tenant_no: TenantNo, backtest: Backtest) -> AsyncGenerator[Progress, None]:
        """Fold the tenant's readings into the backtest, whose outcome can then be asked for.

        What it yields first says that it has begun. Whoever does not exhaust it closes it.
        Raises Busy, Invalid for windows beyond all memory, StoreUnavailable.
        """
        if tenant_no in self._running or len(self._running) >= MOST_AT_ONCE:
            raise Busy(
                "A backtest of yours is running; try again when it is done."
                if tenant_no in self._running
                else "Other backtests are running; try again after the delay.",
                code="too_many_backtests",
                retry_after_s=RETRY_AFTER_S,
            )
        self._running.add(tenant_no)
        try:
            sensors, series = await self._queries.register(tenant_no)
            settings = await self._queries.settings(tenant_no)
            groups = await self._work(
                partial(_groups, backtest, sensors, series, settings.lateness_us)
            )
            yield Progress(0.0, 0)
            for number, members in enumerate(groups):
                group = await self._work(partial(backtest.open_group, members.sensors))
                load = self._load(tenant_no, backtest, group, members.series_no)
                async with aclosing(load) as shares:
                    async for share in shares:
                        yield Progress((number + share) / len(groups), backtest.readings)
                await self._work(group.close)
        finally:
            self._running.remove(tenant_no)

    async def _load(
        self,
        tenant_no: TenantNo,
        backtest: Backtest,
        group: Group | SilentGroup,
        series_no: Int32s,
    ) -> AsyncGenerator[float, None]:
        """Warm the windows from what was before the range, then judge the range."""
        arrival = backtest.order == "arrival"
        sensor = group.sensor_of[: len(series_no)]
        lateness = group.lateness_of[: len(series_no)]
        before = Micros(backtest.since - 1)
        late_by = lateness if lateness.any() else None
        feeds: list[tuple[Feed, Judge, int]]
        if isinstance(group, SilentGroup):
            since = await self._hear_before(tenant_no, backtest, group, series_no)
            until = backtest.until + AHEAD_US
            feeds = [(Feed(sensor, since, until, arrival, late_by), group.fold, 1)]
        else:
            feeds = [
                (Feed(sensor, before - backtest.reach_us, before, arrival=False), group.warm, 0),
                (Feed(sensor, before, backtest.until, arrival, late_by), group.fold, 1),
            ]
        for feed, judge, counted in feeds:
            while not feed.done:
                asked = feed.next_slice()
                columns = await self._queries.history(
                    tenant_no,
                    series_no[asked.series],
                    asked.since,
                    asked.until,
                    late=not arrival,
                    limit=MOST_ROWS,
                )
                await self._work(partial(_take, feed, asked, columns, series_no, judge))
                yield counted * feed.share

    async def _hear_before(
        self, tenant_no: TenantNo, backtest: Backtest, group: SilentGroup, series_no: Int32s
    ) -> Int64s:
        """Say what was last heard before the range; per series the time after which it begins."""
        until = Micros(backtest.until + AHEAD_US)
        since, received = await self._queries.arrivals_before(
            tenant_no, series_no, backtest.since, until
        )
        group.hear_before(received)
        return np.minimum(since, until)

    async def _work(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._core)


def _take(
    feed: Feed,
    asked: Slice,
    columns: tuple[Int32s, Int64s, Floats, Int64s],
    series_no: Int32s,
    judge: Judge,
) -> None:
    rows = feed.take(asked, as_rows(columns, series_no))
    if len(rows):
        judge(rows.series, rows.ts, rows.value, rows.received)


def _groups(
    backtest: Backtest,
    sensors: Sequence[SensorRow],
    series: Sequence[SeriesRow],
    lateness_us: int,
) -> list[_Members]:
    """The sensors that matter, so many at a time as windows have room for at a reading a second.

    lateness_us: of sensors without their own.
    """
    metrics: dict[SensorNo, dict[str, int]] = {}
    for row in series:
        metrics.setdefault(row.sensor_no, {})[row.metric] = row.series_no
    reach_us = backtest.reach_us
    if backtest.order == "arrival":  # readings wait twice: for their order, and as they did live
        reach_us += 2 * max([lateness_us, *(sensor.lateness_us or 0 for sensor in sensors)])
    held = READING_BYTES * (reach_us // SECOND_US + 1)
    most = max(1, min(GROUP_SERIES, GROUP_BYTES // held))
    groups: list[_Members] = []
    members: list[Watched] = []
    numbers: list[int] = []

    def end() -> None:
        if members:
            groups.append(_Members(tuple(members), np.array(numbers, np.int32)))
            members.clear()
            numbers.clear()

    for sensor in sensors:
        found = metrics.get(sensor.sensor_no, {})
        own = lateness_us if sensor.lateness_us is None else sensor.lateness_us
        watched = backtest.watch(
            sensor.sensor_id, sensor.name, sensor.tags, list(found), own, sensor.registered_at
        )
        if watched is not None:
            if len(numbers) + len(watched.metrics) > most:
                end()
            members.append(watched)
            numbers += [found[metric] for metric in watched.metrics]
    end()
    return groups
