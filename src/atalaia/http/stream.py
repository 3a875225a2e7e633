"""GET /v1/stream: readings and alerts as they are committed, as server-sent events.

Alerts are read from the database, in the order of their commits, after whatever the client has
seen last: none is lost and none comes twice, over reconnections and restarts. Readings are passed
on from the commits, from now on. A client that does not keep up is told so and let go.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import attrs
import numpy as np
import trio
from quart import Blueprint, Response, g, request

from atalaia.engine.broadcast import Committed, Follower
from atalaia.engine.edits import Edits
from atalaia.engine.turns import Turns
from atalaia.http import params, render
from atalaia.http.auth import require
from atalaia.http.errors import encode
from atalaia.model.batch import Floats, Int32s, Int64s
from atalaia.model.errors import Forbidden, Unauthenticated
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.principal import Principal
from atalaia.model.views import StreamedStep
from atalaia.ports import Queries, SeriesFilter, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import STREAMS

MOST_STREAMS = 20  # of one tenant
MOST_SERIES = 100_000
EVENT_ROWS = 500
STEPS = 500
HEARTBEAT_S = 15.0
CHECK_S = 4.0  # with what is kept of a key a revocation takes less than ten seconds
LOOK_S = 5.0
"""How often the register is read again at most, for series that are new."""
RETRY_MS = 2_000
CONTENT_TYPE = "text/event-stream"
KINDS = ("alerts", "readings")

Check = Callable[[Any], Awaitable[Principal]]

Place = tuple[int, int]
"""Arrival and ordinal of a step of an alert: where a stream goes on."""


@attrs.define(eq=False)
class Streams:
    """Those that are open, so that they can be ended."""

    turns: Turns = attrs.field(
        factory=lambda: Turns(
            MOST_STREAMS,
            f"A tenant may follow {MOST_STREAMS} streams at once; close one.",
            "too_many_streams",
        )
    )
    open: set[Follower] = attrs.field(factory=set)

    def close(self) -> None:
        """The service shuts down: each ends with an event that says so."""
        for follower in self.open:
            follower.close()


@attrs.frozen(eq=False)
class _Wanted:
    """None: all of them."""

    kinds: Sequence[str]
    sensors: Sequence[str] | None
    metrics: Sequence[str] | None


def blueprint(gate: Edits, queries: Queries, streams: Streams, check: Check) -> Blueprint:
    """`/v1/stream`. check: whether a request's credential is good, asked again and again."""
    routes = Blueprint("stream", __name__)

    @routes.get("/v1/stream")
    async def stream() -> Response:
        kinds = params.names(request.args, "kind") or list(KINDS)
        if not set(kinds) <= set(KINDS):
            raise params.bad("kind", f"give one or both of {', '.join(KINDS)}.")
        wanted = _Wanted(
            kinds,
            params.names(request.args, "sensor") or None,
            params.names(request.args, "metric") or None,
        )
        place = _place(request.headers.get("last-event-id"))
        if request.method == "HEAD":
            return Response(b"", content_type=CONTENT_TYPE)
        scope = request.scope

        async def check_again() -> None:
            require(await check(scope), "read")

        tenant_no = g.principal.tenant_no
        events = _Stream(gate, queries, streams, tenant_no, wanted, place, check_again).events()
        hello = await anext(events)  # one too many is told so by a status
        response = Response(_after(hello, events), content_type=CONTENT_TYPE)
        response.timeout = None
        response.headers["x-accel-buffering"] = "no"  # nginx would hold events back
        return response

    return routes


async def _after(hello: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield hello
        async for event in events:
            yield event


@attrs.define(eq=False)
class _Stream:
    _gate: Edits
    _queries: Queries
    _streams: Streams
    _tenant_no: TenantNo
    _wanted: _Wanted
    _place: Place | None
    _check: Callable[[], Awaitable[None]]
    _names: Mapping[int, tuple[str, str]] = attrs.field(factory=dict)
    _known_at: float = -1e9

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Raises Busy, Conflict where there is no engine, StoreUnavailable: before the first."""
        follower = Follower(readings="readings" in self._wanted.kinds)
        broadcast = self._gate.broadcast
        with (
            self._streams.turns.one(self._tenant_no),
            broadcast.followed(self._tenant_no, follower),
        ):
            self._streams.open.add(follower)
            STREAMS.inc()
            try:
                if self._place is None:
                    last = await self._queries.last_received(self._tenant_no)
                    self._place = (last or 0, (1 << 31) - 1)
                    follower.alerts = False
                yield f"retry: {RETRY_MS}\nid: {_id(self._place)}\n\n".encode()
                async with aclosing(self._follow(follower)) as events:
                    async for event in events:
                        yield event
            finally:
                self._streams.open.discard(follower)
                STREAMS.dec()

    async def _follow(self, follower: Follower) -> AsyncGenerator[bytes, None]:
        checked_at = trio.current_time()
        while not follower.closed:
            try:
                if trio.current_time() - checked_at > CHECK_S:
                    checked_at = trio.current_time()
                    await self._check()
                if follower.alerts and "alerts" in self._wanted.kinds:
                    follower.alerts = False
                    async with aclosing(self._alerts(follower)) as events:
                        async for event in events:
                            yield event
                while (part := follower.take()) is not None:
                    for event in await self._readings(part):
                        yield event
            except (Unauthenticated, Forbidden) as error:
                yield _event("unauthenticated", {"detail": error.detail})
                return
            except (StoreUnavailable, StoreRefused):
                yield _event("unavailable", {"detail": "The database does not answer."})
                return
            if follower.dropped:
                yield _event("dropped", {"detail": "Readings came faster than they were taken."})
                return
            with trio.move_on_after(HEARTBEAT_S) as waited:
                await follower.news()
            if waited.cancelled_caught:
                follower.alerts = True  # a commit of unknown outcome told nobody
                yield b": still here\n\n"
        yield _event("closing", {"detail": "The service shuts down; connect again."})

    async def _alerts(self, follower: Follower) -> AsyncGenerator[bytes, None]:
        """Every step since the last one that was sent."""
        while not follower.closed:
            steps = await self._queries.alert_steps(
                self._tenant_no, self._place or (0, 0), self._wanted.sensors, STEPS
            )
            for step in steps:
                self._place = (step.arrival, step.ordinal)
                yield _event("alert", _step(step), _id(self._place))
            if len(steps) < STEPS:
                return

    async def _readings(self, part: Committed) -> list[bytes]:
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
        known = np.isin(series, np.fromiter(self._names, np.int32, len(self._names)))
        return list(self._rows(series[known], ts[known], value[known]))

    async def _learn(self, series: Int32s) -> None:
        """Read the register anew when there is a series that it did not have."""
        if np.isin(series, np.fromiter(self._names, np.int32, len(self._names))).all():
            return
        selective = self._wanted.sensors or self._wanted.metrics
        if selective and trio.current_time() - self._known_at < LOOK_S:
            return  # it is one of those that are not wanted
        wanted = SeriesFilter(self._wanted.sensors, None, self._wanted.metrics)
        found = await self._queries.find_series(self._tenant_no, wanted, MOST_SERIES)
        self._names = {one.series_no: (one.sensor, one.metric) for one in found}
        self._known_at = trio.current_time()

    def _rows(self, series: Int32s, ts: Int64s, value: Floats) -> list[bytes]:
        events = []
        for start in range(0, len(ts), EVENT_ROWS):
            part = slice(start, start + EVENT_ROWS)
            rows = zip(
                series[part].tolist(), render.times(ts[part]), value[part].tolist(), strict=True
            )
            body = [
                {"sensor": self._names[nr][0], "metric": self._names[nr][1], "ts": at, "value": v}
                for nr, at, v in rows
            ]
            events.append(_event("readings", body))
        return events


def _place(text: str | None) -> Place | None:
    """What an event's id said. Another text is as good as none: a browser sends what it has."""
    if text is None:
        return None
    arrival, _, ordinal = text.partition("-")
    if not (arrival.isascii() and arrival.isdigit() and ordinal.isascii() and ordinal.isdigit()):
        return None
    if len(arrival) > 17 or len(ordinal) > 10 or int(ordinal) >= 1 << 31:
        return None
    return int(arrival), int(ordinal)


def _id(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


def _event(kind: str, body: Any, event_id: str | None = None) -> bytes:
    """JSON has no line breaks, so that data is one line."""
    head = f"event: {kind}\n" if event_id is None else f"event: {kind}\nid: {event_id}\n"
    return head.encode() + b"data: " + encode(body) + b"\n\n"


def _step(step: StreamedStep) -> dict[str, Any]:
    return {
        "alert": str(step.alert_id),
        "kind": step.kind,
        "rule": {"id": str(step.rule_id), "name": step.rule},
        "sensor": step.sensor,
        "severity": step.severity,
        "value": step.value,
        "at": render.time(step.at),
        "arrival": render.time(Micros(step.arrival)),
    }
