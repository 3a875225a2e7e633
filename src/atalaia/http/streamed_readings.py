"""Readings of a stream: those of each commit when it is told of, and before them those that came
while the client was away, from the database.

Invariant: whatever was committed after what the client has seen is sent, or named in a `gap`,
before anything newer; and once, but for a commit of more than EVENT_ROWS that breaks off within.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing

import attrs
import numpy as np
import trio

from atalaia.engine.broadcast import Committed, Follower
from atalaia.http import render
from atalaia.http.missed import MOST_ROWS, MOST_SPANS, LookingBack, gap
from atalaia.http.places import Told
from atalaia.model.batch import Bools, Int32s
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.stored import NOTHING, Arrived
from atalaia.ports import Queries, SeriesFilter, StoreSlow

MOST_SERIES = 100_000
EVENT_ROWS = 500
LOOK_S = 5.0
"""How often the register is read again at most, for series that are new."""
TURN_S = 0.1
"""How often one that waits for its turn to look back asks for it."""


@attrs.define(eq=False)
class StreamedReadings:
    """Of one stream. sensors, metrics: those that are wanted; None: all."""

    _queries: Queries
    _looking_back: LookingBack
    _tenant_no: TenantNo
    _sensors: Sequence[str] | None
    _metrics: Sequence[str] | None
    _told: Told
    _names: Mapping[int, tuple[str, str]] = attrs.field(factory=dict)
    _known_at: float = -1e9

    async def missed(self, follower: Follower) -> AsyncGenerator[bytes, None]:
        """What was committed since the client was sent readings last, and what is left out of it.

        Others of the tenant may look back first. Whatever is told of meanwhile is of these commits,
        or comes after them.
        """
        while (wait_s := self._looking_back.wait_s(self._tenant_no)) and not follower.closed:
            await trio.sleep(min(wait_s, TURN_S))
            if self._told.is_silent:
                yield self._told.still_here()
        if follower.closed:
            return
        after = self._told.readings
        with self._looking_back.one(self._tenant_no):
            until = Micros(await self._queries.last_received(self._tenant_no) or 0)
            if until <= after:
                return
            try:
                since, found = await self._look_back(after, until)
            except StoreSlow:
                since, found = until, NOTHING
        if since > after:
            self._told.has_read(since)
            wanted = {"sensor": self._sensors, "metric": self._metrics}
            yield self._told.event("gap", gap(after, since, **wanted))
        for event in self._rows(found, until):
            yield event

    async def _look_back(self, after: Micros, until: Micros) -> tuple[Micros, Arrived]:
        """Since when they are complete, and all since then."""
        selective = self._sensors or self._metrics
        spans = await self._queries.arrivals(
            self._tenant_no, after, until, MOST_SPANS if selective else MOST_ROWS
        )
        await self._learn(np.unique(spans.series))
        spans = spans.where(self._knows(spans.series)).last(MOST_ROWS)
        return spans.after, await self._queries.arrived(self._tenant_no, spans)

    async def committed(self, part: Committed, follower: Follower) -> AsyncGenerator[bytes, None]:
        if not part.follows:
            async with aclosing(self.missed(follower)) as events:
                async for event in events:
                    yield event
        if part.received_at <= self._told.readings:
            return
        columns = [part.fresh]
        if part.late == len(part.old[1]):
            columns.append(part.old)
        elif part.late:  # which of them were new only the database can tell
            columns.append(
                await self._queries.stored_of(
                    self._tenant_no, part.received_at, part.old[0], part.old[1]
                )
            )
        series, ts, value = (np.concatenate(column) for column in zip(*columns, strict=True))
        await self._learn(series)
        known = self._knows(series)
        received = np.full(int(known.sum()), part.received_at, np.int64)
        rows = Arrived(received, series[known], ts[known], value[known])
        for event in self._rows(rows, part.received_at):
            yield event

    def _knows(self, series: Int32s) -> Bools:
        return np.isin(series, np.fromiter(self._names, np.int32, len(self._names)))

    async def _learn(self, series: Int32s) -> None:
        """Read the register anew when there is a series that it did not have."""
        if self._knows(series).all():
            return
        selective = self._sensors or self._metrics
        if selective and trio.current_time() - self._known_at < LOOK_S:
            return  # it is one of those that are not wanted
        wanted = SeriesFilter(self._sensors, None, self._metrics)
        found = await self._queries.find_series(self._tenant_no, wanted, MOST_SERIES)
        self._names = {one.series_no: (one.sensor, one.metric) for one in found}
        self._known_at = trio.current_time()

    def _rows(self, found: Arrived, until: Micros) -> Iterator[bytes]:
        """As events, each with the id of the last commit that is whole then; after the last it is
        `until`.
        """
        for start in range(0, len(found.ts), EVENT_ROWS):
            end = start + EVENT_ROWS
            part = slice(start, end)
            rows = zip(
                found.series[part].tolist(),
                render.times(found.ts[part]),
                found.value[part].tolist(),
                strict=True,
            )
            body = [
                {"sensor": self._names[nr][0], "metric": self._names[nr][1], "ts": at, "value": v}
                for nr, at, v in rows
            ]
            whole = found.received[:end]
            if end < len(found.ts):
                whole = whole[whole < found.received[end]]
            if len(whole):
                self._told.has_read(Micros(int(whole[-1])))
            yield self._told.event("readings", body)
        self._told.has_read(until)
