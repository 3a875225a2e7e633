"""GET /v1/stream: readings and alerts as they are committed, as server-sent events.

Alerts are read from the database, in the order of their commits, after whatever the client has
seen last: none is lost and none comes twice, over reconnections and restarts. Readings are passed
on from the commits; those that came while the client was away are read from the database first. An
id is that of the last commit that was sent whole: what is larger than an event and breaks off in
the middle comes again. A client that does not keep up is told so and let go.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import attrs
import trio
from quart import Blueprint, Response, g, request

from atalaia.engine.broadcast import Follower
from atalaia.engine.edits import Edits
from atalaia.engine.turns import Turns
from atalaia.http import params, render
from atalaia.http.auth import CHECK_S
from atalaia.http.downloads import Check, asking_again
from atalaia.http.missed import LookingBack
from atalaia.http.places import LAST_ORDINAL, Place, Told, last_event, parse_place
from atalaia.http.streamed_readings import TURN_S, StreamedReadings
from atalaia.model.errors import Conflict, Forbidden, NotFound, Unauthenticated
from atalaia.model.ids import Micros, TenantNo
from atalaia.model.views import StreamedStep
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import STREAMS

MOST_STREAMS = 20  # of one tenant
STEPS = 500
HEARTBEAT_S = 15.0
RETRY_MS = 2_000
CONTENT_TYPE = "text/event-stream"
KINDS = ("alerts", "readings")


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
    looking_back: LookingBack = attrs.field(factory=LookingBack)

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
        # A page that asks with a new ticket has a new EventSource, which knows no last event.
        seen = request.headers.get("last-event-id", request.args.get("last_event_id"))
        place = parse_place(seen)
        if request.method == "HEAD":
            return Response(b"", content_type=CONTENT_TYPE)
        tenant_no = g.principal.tenant_no
        events = _Stream(
            gate, queries, streams, tenant_no, wanted, place, asking_again(check)
        ).events()
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
                newest = Micros(await self._queries.last_received(self._tenant_no) or 0)
                place = self._place
                if place is None or place.is_beyond(newest):
                    place = Place(newest, LAST_ORDINAL)
                    follower.alerts = False
                if follower.readings and place.readings is None:
                    place = attrs.evolve(place, readings=newest)
                yield f"retry: {RETRY_MS}\nid: {place}\n\n".encode()
                told = Told(place, HEARTBEAT_S)
                async with aclosing(self._follow(follower, told, newest)) as events:
                    async for event in events:
                        yield event
            finally:
                self._streams.open.discard(follower)
                STREAMS.dec()

    async def _follow(
        self, follower: Follower, told: Told, newest: Micros
    ) -> AsyncGenerator[bytes, None]:
        checked_at = trio.current_time()
        readings = StreamedReadings(
            self._queries,
            self._streams.looking_back,
            self._tenant_no,
            self._wanted.sensors,
            self._wanted.metrics,
            told,
        )
        was_away = follower.readings and told.readings < newest
        while not follower.closed:
            try:
                if trio.current_time() - checked_at > CHECK_S:
                    checked_at = trio.current_time()
                    await self._check()
                if follower.alerts and "alerts" in self._wanted.kinds:
                    follower.alerts = False
                    async with aclosing(self._alerts(follower, told)) as events:
                        async for event in events:
                            yield event
                if was_away and not self._streams.looking_back.wait_s(self._tenant_no):
                    was_away = False
                    async with aclosing(readings.missed(follower)) as events:
                        async for event in events:
                            yield event
                while not was_away and (part := follower.take()) is not None:
                    async with aclosing(readings.committed(part, follower)) as events:
                        async for event in events:
                            yield event
            except (Unauthenticated, Forbidden, NotFound, Conflict) as error:
                yield last_event("unauthenticated", error.detail)
                return
            except (StoreUnavailable, StoreRefused):
                yield last_event("unavailable", "The database does not answer.")
                return
            if follower.dropped:
                yield last_event("dropped", "Readings came faster than they were taken.")
                return
            with trio.move_on_after(TURN_S if was_away else HEARTBEAT_S) as waited:
                await follower.news()
            if waited.cancelled_caught and not was_away:
                follower.alerts = True  # a commit of unknown outcome told nobody
            if told.is_silent:
                yield told.still_here()
        yield last_event("closing", "The service shuts down; connect again.")

    async def _alerts(self, follower: Follower, told: Told) -> AsyncGenerator[bytes, None]:
        """Every step since the last one that was sent."""
        while not follower.closed:
            after = (told.place.arrival, told.place.ordinal)
            steps = await self._queries.alert_steps(
                self._tenant_no, after, self._wanted.sensors, STEPS
            )
            for step in steps:
                told.has_step(Micros(step.arrival), step.ordinal)
                yield told.event("alert", _step(step))
            if len(steps) < STEPS:
                return


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
