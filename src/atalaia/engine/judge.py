"""From a batch to what will be committed: dedupe, time limits, the fold. Synchronous and pure
but for the tenant's own state: no clock, no I/O.

Newer than the series' newest is fresh: copied and judged. Everything else is old: late or a
duplicate, which only the store can tell apart, and never judged. Where sensors have a lateness,
readings out of order may be fresh too, and fresh ones wait before they are judged.
"""

from collections.abc import Iterator

import attrs
import numpy as np

from atalaia.engine.series_table import SeriesTable
from atalaia.engine.state import NO_TIMES, Rows, TenantState, unless_equal
from atalaia.model.batch import Batch, Bools, Int32s, Int64s, Reject
from atalaia.model.ids import Micros
from atalaia.ports import CommitItem
from atalaia.rules.reorder import Reorder
from atalaia.rules.tenant_state import TenantRules


@attrs.frozen(eq=False)
class Part:
    """Rows of a batch, ready for their commit; mostly all of them. last: none of it follows."""

    item: CommitItem
    last: bool


def refuse(batch: Batch, keep: Bools, code: str, detail: str) -> Batch:
    """The batch without the rows where keep is false, which become rejects."""
    if keep.all():
        return batch
    refused = [Reject(int(row), code, detail) for row in batch.row[~keep]]
    return attrs.evolve(
        batch,
        idx=batch.idx[keep],
        ts=batch.ts[keep],
        value=batch.value[keep],
        row=batch.row[keep],
        rejects=(*batch.rejects, *refused),
    )


def check_times(batch: Batch, *, oldest: int, newest: int) -> Batch:
    """Refuse rows beyond the allowed skew into the future, and those before the retention."""
    batch = refuse(
        batch,
        batch.ts <= newest,
        "future_timestamp",
        "the time lies in the future; check the device's clock and the precision parameter",
    )
    return refuse(
        batch,
        batch.ts >= oldest,
        "too_old",
        "the time lies before the retention period; readings that old are not kept",
    )


def judge(
    state: TenantState,
    batch: Batch,
    slots: Int64s,
    arrived: Micros,
    *,
    snapshot: bool,
    most_steps: int,
) -> Iterator[Part]:
    """Split fresh rows from old ones, judge what is to be judged now, and say what to commit.

    slots: the series of each row, in state.table. A batch that makes more than most_steps steps of
    alerts comes in parts, each judged when it is asked for, as a batch of its own would be: a part
    stores what it judges. What goes on waiting is stored when all is judged, and repeats are in the
    last: within a batch none may be stored before its reading.
    Cost: two sorts of the batch and the fold; a third sort where readings may wait.
    """
    table, rules = state.table, state.rules
    order = _stable_order(batch.ts, slots)
    rows = Rows(slots[order], batch.ts[order], batch.value[order])
    fresh = rows.ts > table.newest[rows.slot]
    if len(rows) > 1:  # of equal times in one batch the first in body order is the reading
        fresh[1:] &= (rows.ts[1:] != rows.ts[:-1]) | (rows.slot[1:] != rows.slot[:-1])
    news = rows.where(fresh)
    last = _last_of_each(news.slot)
    if len(last):
        table.observe(news.slot[last], last, news.ts)
    waiting = None
    if state.reorder is not None:
        waiting = _Waiting(state.reorder, table.newest.copy(), state.reorder.judged.copy())
    if waiting is None:
        table.newest[news.slot[last]] = news.ts[last]
        by_time = _stable_order(news.ts, table.sensor[news.slot])
        ready = news.where(by_time)
    else:
        fresh, ready = waiting.take(table, rows)
        news = rows.where(fresh)
        by_time = None
    old = np.sort(order[~fresh])  # back to body order: the first of equal ones wins
    repeats = Rows(slots[old], batch.ts[old], batch.value[old])
    silent: list[int] = []
    unstored = np.ones(len(news), np.bool_)
    done = 0
    while True:
        left = ready.where(slice(done, None))
        steps, count = rules.fold_some(left.slot, left.ts, left.value, arrived, most_steps)
        now = left.where(slice(count))
        done += count
        if done == len(ready):
            stored = news if unstored.all() else news.where(unstored)
            unstored = np.zeros(len(news), np.bool_)
        else:
            if by_time is None:
                by_time = _places_in(news, ready)
            places = by_time[done - count : done]
            places = np.sort(places[places >= 0])
            unstored[places] = False
            stored = news.where(places)
        last = _last_of_each(stored.slot)
        heard = touched = stored.slot[last]
        newest, judged = stored.ts[last], NO_TIMES
        if waiting is not None:
            heard = waiting.note(heard, newest, now)
            touched = np.unique(np.concatenate([touched, now.slot]))
            newest, judged = waiting.times(touched)
        # A sensor of which more is stored in a later part is heard of again.
        silent = list(dict.fromkeys([*silent, *rules.hear(heard, arrived)]))
        room = max(0, most_steps - len(steps))
        steps += rules.end_silence(silent[:room], arrived)
        silent = silent[room:]
        is_last = done == len(ready) and not silent
        olds = repeats if is_last else repeats.where(slice(0))
        if snapshot and is_last:
            touched = table.seen()
            newest, judged = table.newest[touched], state.judged_of(touched)
        item = CommitItem(
            tenant_no=state.tenant_no,
            received_at=arrived,
            fresh_series=table.series_no[stored.slot],
            fresh_ts=stored.ts,
            fresh_value=stored.value,
            old_series=table.series_no[olds.slot],
            old_ts=olds.ts,
            old_value=olds.value,
            touched=table.series_no[touched],
            newest=newest,
            judged=judged,
            rule_states=rule_states(rules, snapshot=snapshot and is_last),
            transitions=steps,
            snapshot=snapshot and is_last,
            following=[
                (table.series_no[rows.slot], rows.ts, rows.value)
                for rows in (news.where(unstored), repeats)
                if not is_last
            ],
        )
        yield Part(item, is_last)
        if is_last:
            return
        arrived = state.next_arrival(arrived)


@attrs.define(eq=False)
class _Waiting:
    """Where the series of a tenant with a lateness stand in the store, part by part."""

    reorder: Reorder
    newest: Int64s
    judged: Int64s

    def take(self, table: SeriesTable, rows: Rows) -> tuple[Bools, Rows]:
        """Which rows are fresh, in the order given, and what is to be judged now."""
        sensor = table.sensor[rows.slot].astype(np.int64)
        order = np.lexsort((rows.slot, rows.ts, sensor))
        found, ready = self.reorder.take(
            sensor[order], sensor[order], rows.slot[order], rows.ts[order], rows.value[order],
            table.newest,
        )  # fmt: skip
        fresh = np.empty(len(rows), np.bool_)
        fresh[order] = found
        return fresh, Rows(ready.slot, ready.ts, ready.value)

    def note(self, slot: Int64s, ts: Int64s, judged: Rows) -> Int64s:
        """The newest of what is stored of some series, and what is judged of any. Returns the
        series whose newest that is.
        """
        moved = ts > self.newest[slot]
        self.newest[slot[moved]] = ts[moved]
        self.judged[judged.slot] = judged.ts  # of several of a series the last one stays
        return slot[moved]

    def times(self, slot: Int64s) -> tuple[Int64s, Int64s]:
        newest = self.newest[slot]
        return newest, unless_equal(self.judged[slot], newest)


def _places_in(news: Rows, ready: Rows) -> Int64s:
    """Where each row that is ready stands among the new ones; -1: it is stored already."""
    slot = np.concatenate([news.slot, ready.slot])
    ts = np.concatenate([news.ts, ready.ts])
    order = np.lexsort((ts, slot))  # stable: the new one comes before it
    same = (slot[order][1:] == slot[order][:-1]) & (ts[order][1:] == ts[order][:-1])
    found = np.full(len(ready), -1, np.int64)
    found[order[1:][same] - len(news)] = order[:-1][same]
    return found


def _last_of_each(slot: Int64s) -> Int64s:
    """Where the rows of each series end; sorted by series."""
    return np.flatnonzero(np.append(slot[1:] != slot[:-1], len(slot) > 0))


def rule_states(rules: TenantRules, *, snapshot: bool) -> bytes:
    """What changed since the last commit, or everything."""
    changed = rules.take_dirty()
    return rules.dump() if snapshot else changed


def _stable_order(minor: Int64s, major: Int64s | Int32s) -> Int64s:
    """Indexes that sort by (major, minor), equal ones in their first order."""
    if len(minor) < 2:
        return np.arange(len(minor))
    step = major[1:] - major[:-1]
    if bool(((step > 0) | ((step == 0) & (minor[1:] >= minor[:-1]))).all()):
        return np.arange(len(minor))  # gateways mostly send in order
    return np.lexsort((minor, major))
