"""Aggregates and points over the committed past, from rollups where they will do.

Here it is decided what to ask of storage, and where the work is done: readings come over the bridge
in bounded chunks, and are folded in a worker thread, one question at a time. What a question may
read is bounded, and how many of one tenant are under way.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import attrs
import numpy as np
import trio

from atalaia.buckets.cells import CELL, LEVELS_US, NO_CELLS, Cells, join, merge_cells
from atalaia.buckets.fold import Fold
from atalaia.buckets.grid import Grid
from atalaia.buckets.lttb import thin
from atalaia.buckets.plan import Plan, make_plan
from atalaia.buckets.table import SHARES, Fill, Table, make_table
from atalaia.engine.turns import Budget, RowRoom, Turns
from atalaia.model.batch import Floats, Int64s
from atalaia.model.ids import Micros, SeriesNo, TenantNo
from atalaia.model.stored import PackSpan, Scan
from atalaia.ports import Queries

T = TypeVar("T")

MOST_ROWS = 2_000_000  # readings or cells that one question may read: some seconds of a core
TENANT_ROWS = 4_000_000  # of all that a tenant asks at once
TOTAL_ROWS = 16_000_000  # of everybody: some 300 MB, were all of them to be held
MOST_AT_ONCE = 4  # of one tenant
GROUP_SERIES = 32

_NO_HOURS = np.empty(0, np.int64)


@attrs.frozen(eq=False)
class Asked:
    """What to say of each bucket."""

    grid: Grid
    aggregates: Sequence[str]
    fill: Fill = "none"

    @property
    def shares(self) -> Mapping[str, float]:
        return {name: SHARES[name] for name in self.aggregates if name in SHARES}


@attrs.define(eq=False)
class Asking:
    """Answers questions, few of one tenant at once."""

    _queries: Queries
    turns: Turns = attrs.field(
        factory=lambda: Turns(
            MOST_AT_ONCE,
            f"A tenant may ask {MOST_AT_ONCE} such questions at once; try again after the delay.",
            "too_many_queries",
        )
    )
    _room: RowRoom = attrs.field(factory=lambda: RowRoom(TENANT_ROWS, TOTAL_ROWS))
    _core: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def work(self, work: Callable[[], T]) -> T:
        """In a thread, after the others."""
        return await trio.to_thread.run_sync(work, limiter=self._core)

    async def tables(
        self, tenant_no: TenantNo, series: Sequence[SeriesNo], asked: Asked
    ) -> list[Table]:
        """One table per series. Raises Invalid for too much to read, StoreUnavailable."""
        with self._room.budget(tenant_no, MOST_ROWS) as budget:
            return await self._tables(tenant_no, series, asked, budget)

    async def _tables(
        self, tenant_no: TenantNo, series: Sequence[SeriesNo], asked: Asked, budget: Budget
    ) -> list[Table]:
        level = asked.grid.level
        if level is not None:
            cells = (asked.grid.end - asked.grid.begin) // LEVELS_US[level]
            budget.spend(0 if asked.shares else cells * len(series))
        found: list[Table] = []
        for start in range(0, len(series), GROUP_SERIES):
            some = series[start : start + GROUP_SERIES]
            found += await self._group(tenant_no, some, asked, budget)
        return found

    async def _group(
        self, tenant_no: TenantNo, series: Sequence[SeriesNo], asked: Asked, budget: Budget
    ) -> list[Table]:
        plans = await self._plans(tenant_no, series, asked)
        stored = [
            PackSpan(level, number, begin, end)
            for plan, number in zip(plans, series, strict=True)
            for level, spans in enumerate(plan.stored)
            for begin, end in spans
        ]
        packs = iter(await self._queries.packs(tenant_no, stored) if stored else ())
        cells = [[_cells([next(packs) for _ in spans]) for spans in plan.stored] for plan in plans]
        owner, since, until = _spans([plan.readings for plan in plans])
        minutes, shares = asked.grid.level is not None, tuple(asked.shares.values())
        folds = [Fold(asked.grid, minutes, shares) for _ in owner]
        numbers = np.array(series, np.int32)[owner]
        async with aclosing(self._queries.scan(tenant_no, numbers, since, until)) as chunks:
            async for chunk in chunks:
                budget.spend(len(chunk))
                await self.work(partial(_take, folds, chunk))

        def finish() -> list[Table]:
            return [
                _table(asked, plan, packed, [folds[span] for span in np.flatnonzero(owner == nr)])
                for nr, (plan, packed) in enumerate(zip(plans, cells, strict=True))
            ]

        return await self.work(finish)

    async def _plans(
        self, tenant_no: TenantNo, series: Sequence[SeriesNo], asked: Asked
    ) -> list[Plan]:
        grid = asked.grid
        if grid.level is None:
            return [Plan((), [(grid.begin, grid.end)], _NO_HOURS) for _ in series]
        if asked.shares:
            return [make_plan(grid.begin, grid.end, grid.level, 0, _NO_HOURS) for _ in series]
        rolled = await self._queries.rolled(tenant_no, np.array(series, np.int32))
        return [
            make_plan(
                grid.begin, grid.end, grid.level, rolled.mark, rolled.hours[rolled.series == number]
            )
            for number in series
        ]

    async def points(
        self,
        tenant_no: TenantNo,
        series: Sequence[SeriesNo],
        since: Micros,
        until: Micros,
        most: int,
    ) -> list[tuple[Int64s, Floats]]:
        """Per series at most so many of its readings with since < ts <= until, that look like all.

        Raises Invalid for too much to read, StoreUnavailable.
        """
        found: list[tuple[Int64s, Floats]] = []
        with self._room.budget(tenant_no, MOST_ROWS) as budget:
            for number in series:
                parts: list[tuple[Int64s, Floats]] = []
                span = (np.array([number], np.int32), np.array([since]), np.array([until]))
                async with aclosing(self._queries.scan(tenant_no, *span)) as chunks:
                    async for chunk in chunks:
                        budget.spend(len(chunk))
                        parts.append((chunk.ts, chunk.value))
                found.append(await self.work(partial(_thin, parts, most)))
        return found


def _spans(readings: Sequence[Sequence[tuple[int, int]]]) -> tuple[Int64s, Int64s, Int64s]:
    """Of each span whose it is, and its bounds as (since, until]."""
    rows = [(nr, begin - 1, end - 1) for nr, spans in enumerate(readings) for begin, end in spans]
    owner, since, until = np.array(rows, np.int64).reshape(-1, 3).T
    return owner, since, until


def _take(folds: Sequence[Fold], chunk: Scan) -> None:
    spans, starts = np.unique(chunk.span, return_index=True)
    ends = np.append(starts[1:], len(chunk))
    for span, start, end in zip(spans.tolist(), starts.tolist(), ends.tolist(), strict=True):
        folds[span].take(chunk.ts[start:end], chunk.value[start:end])


def _cells(packs: Sequence[bytes]) -> Cells:
    """The packs of several spans, each touched by one of them or more."""
    cells = np.frombuffer(b"".join(packs), CELL)
    if not len(cells):
        return NO_CELLS
    _, places = np.unique(cells["at"], return_index=True)
    return cells[places]


def _table(asked: Asked, plan: Plan, packed: Sequence[Cells], folds: Sequence[Fold]) -> Table:
    """folds: one per span of readings; where quantiles are asked for, there is one span."""
    cells = plan.assemble(packed, join([fold.end() for fold in folds]))
    ranked = {}
    if asked.shares:
        (fold,) = folds
        ranked = dict(zip(asked.shares, fold.quantiles(), strict=True))
    buckets = merge_cells(cells, asked.grid.begins(cells["at"]))
    return make_table(asked.grid, buckets, ranked, asked.aggregates, asked.fill)


def _thin(parts: Sequence[tuple[Int64s, Floats]], most: int) -> tuple[Int64s, Floats]:
    ts = np.concatenate([ts for ts, _ in parts] or [_NO_HOURS])
    value = np.concatenate([value for _, value in parts] or [np.empty(0)])
    kept = thin(ts, value, most)
    return ts[kept], value[kept]
