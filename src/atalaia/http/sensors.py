"""Sensors and their readings."""

from bisect import bisect_right
from collections.abc import Container, Mapping
from functools import partial
from typing import Any

from quart import Blueprint, Response, g, request

from atalaia.engine.asking import Asking
from atalaia.engine.clock import WallClock
from atalaia.engine.edits import Edits
from atalaia.engine.messages import Step, nothing
from atalaia.http import conditions, params, render
from atalaia.http.bodies import NewSensorBody, SensorBody, TagsBody, read_body, read_changes
from atalaia.http.pages import Pages
from atalaia.http.series import Question, answer
from atalaia.model.audit import AuditEntry
from atalaia.model.condition import UNCONDITIONAL, tag_of
from atalaia.model.errors import Conflict, Invalid, NotFound
from atalaia.model.ids import DAY_US, Micros, SeriesNo
from atalaia.model.views import (
    DetailColumn,
    Details,
    SensorFilter,
    SensorView,
    SeriesView,
    flat,
)
from atalaia.ports import Queries
from atalaia.wire.rows import NAME_ADVICE, check_name

COLUMNS: Mapping[str, tuple[DetailColumn, ...]] = {
    "location": ("latitude", "longitude"),
    "place": ("place",),
    "expected_interval": ("expected_us",),
}
"""Of the fields of a body."""


def _is_name(text: str) -> bool:
    return check_name(text, "x") is None


def _is_metric(text: str) -> bool:
    return check_name("x", text) is None


def blueprint(gate: Edits, queries: Queries, clock: WallClock, asking: Asking) -> Blueprint:
    """`/v1/sensors` and below."""
    routes = Blueprint("sensors", __name__, url_prefix="/v1/sensors")
    pages = Pages()

    async def find(name: str) -> SensorView:
        # A name that no sensor can have is not worth a query (nor can Postgres hold a NUL).
        view = await queries.sensor(g.principal.tenant_no, name) if _is_name(name) else None
        if view is None:
            raise NotFound(f'There is no sensor named "{name}".')
        return view

    def description(name: str, body: SensorBody, sent: Container[str]) -> Step:
        """Writes down what was sent."""
        columns = {column for field in COLUMNS if field in sent for column in COLUMNS[field]}
        details = Details(body.location, body.place, body.expected_interval)
        said: dict[str, Any] = {
            column: value for column, value in flat(details).items() if column in columns
        }
        tenant_no = g.principal.tenant_no
        audit = AuditEntry(g.principal.actor, "sensor.described", name, said)

        async def describe() -> None:
            await queries.describe(tenant_no, {name: details}, columns, audit)

        return describe

    def checked(name: str, then: Step = nothing) -> Step:
        """Goes on when the sensor is as the request wants it. For the tenant's turn: nobody changes
        the sensor between the look and what follows it.
        """
        only, tenant_no = conditions.asked(_said), g.principal.tenant_no

        async def first() -> None:
            view = await queries.sensor(tenant_no, name) if _is_name(name) else None
            if view is None or view.name != name:
                raise NotFound(f'There is no sensor named "{name}".')
            only.check(view.tag)
            await then()

        return nothing if only == UNCONDITIONAL and then is nothing else first

    def shown(view: SensorView) -> dict[str, Any]:
        """Its tag is of what is said of it, a dot, and all of it, with what readings change."""
        body = render.sensor(view, clock.now_us())
        conditions.show(f"{view.tag}.{tag_of(body)}")
        return body

    @routes.get("")
    async def list_sensors() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, _is_name) or ""
        wanted = SensorFilter(*(params.text(request.args, tag) for tag in ("group", "profile")))
        tenant_no = g.principal.tenant_no
        found = await queries.sensors(tenant_no, wanted, after=after, limit=count + 1)
        total = await render.total(partial(queries.total, tenant_no, wanted))
        now = clock.now_us()
        return render.first(
            found, count, lambda view: render.sensor(view, now), lambda view: view.name, total
        )

    @routes.post("")
    async def create_sensor() -> tuple[dict[str, Any], int]:
        body = await read_body(NewSensorBody)
        if not _is_name(body.name):
            raise Invalid(f"name: {NAME_ADVICE}", code="bad_sensor")
        tenant_no, actor = g.principal.tenant_no, g.principal.actor
        made = await gate.register(tenant_no, {body.name: body.tags}, actor).answer()
        if not made:
            raise Conflict(f'A sensor named "{body.name}" exists.', code="name_taken")
        await description(body.name, body, COLUMNS)()
        if body.lateness is not None:
            await gate.set_lateness(tenant_no, body.name, body.lateness, actor).answer()
        return shown(await find(body.name)), 201

    @routes.get("/<sensor>")
    async def read_sensor(sensor: str) -> dict[str, Any]:
        return shown(await find(sensor))

    @routes.delete("/<sensor>")
    async def remove_sensor(sensor: str) -> tuple[str, int]:
        await gate.remove(
            g.principal.tenant_no, sensor, g.principal.actor, checked(sensor)
        ).answer()
        return "", 204

    @routes.patch("/<sensor>")
    async def change_sensor(sensor: str) -> dict[str, Any]:
        body, sent = await read_changes(SensorBody)
        tenant_no, actor = g.principal.tenant_no, g.principal.actor
        first = checked(sensor, description(sensor, body, sent))
        if "lateness" in sent:
            await gate.set_lateness(tenant_no, sensor, body.lateness, actor, first).answer()
        else:
            await gate.do(tenant_no, first).answer()
        return shown(await find(sensor))

    @routes.put("/<sensor>/tags")
    async def replace_tags(sensor: str) -> dict[str, Any]:
        body = await read_body(TagsBody)
        wanted = {sensor: body.tags}
        await gate.set_tags(
            g.principal.tenant_no, wanted, g.principal.actor, checked(sensor)
        ).answer()
        return shown(await find(sensor))

    @routes.get("/<sensor>/latest")
    async def read_latest(sensor: str) -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, _is_metric) or ""
        view = await find(sensor)
        names = list(view.metrics)  # by name, and as many as its tenant may have series
        place = bisect_right(names, after)
        wanted = names[place : place + count]
        points = await queries.latest(g.principal.tenant_no, view, wanted)
        said: dict[str, Any] = {
            "sensor": view.name,
            "metrics": {metric: render.point(point) for metric, point in points.items()},
        }
        more = params.next_cursor(wanted[-1]) if place + count < len(names) else None
        total = len(names) if params.flag(request.args, "count") else None
        return said | render.pages(more, total)

    @routes.get("/<sensor>/readings")
    async def read_readings(sensor: str) -> dict[str, Any] | Response:
        metrics = params.names(request.args, "metric")
        if not metrics:
            raise params.bad("metric", "name one; GET /v1/sensors/<sensor> lists them.")
        question = Question.of(request.args)
        view = await find(sensor)
        for metric in metrics:
            if metric not in view.metrics:
                raise NotFound(f'The sensor "{sensor}" has no metric "{metric}".')
        if question is not None:
            found = [SeriesView(*_series(view, metric)) for metric in sorted(metrics)]
            return await answer(asking, g.principal.tenant_no, question, found)
        if len(metrics) > 1:
            raise params.bad("metric", "name one, or ask for a bucket or for points.")
        return await _page(view, metrics[0])

    async def _page(view: SensorView, metric: str) -> dict[str, Any] | Response:
        """Readings as they are. A cursor holds the range, so that pages are of one and the same
        set, whatever comes meanwhile.
        """
        count = params.limit(request.args, highest=params.MAX_READINGS)
        since, until = params.time(request.args, "from"), params.time(request.args, "to")
        place = params.cursor(
            request.args, tuple[int, int], lambda p: all(map(params.fits_time, p))
        )
        series, newest = view.metrics[metric]
        if newest is None:
            return render.page([], None)
        # Every query has a time bound; without one asked for it is the last day of this series.
        high = newest if until is None else min(until, newest)
        low = high - DAY_US if since is None else since - 1  # `from` is inclusive
        if place is not None:
            low, high = Micros(place[0]), Micros(place[1])
        tenant_no = g.principal.tenant_no
        with pages.one(tenant_no, count):
            points = await queries.readings(
                tenant_no, series, after=Micros(low), until=Micros(high), limit=count + 1
            )
            more = None
            if len(points) > count:
                more = params.next_cursor((points[count - 1].ts, high))
            return await pages.answer(points[:count], more)

    return routes


def _said(tag: str) -> str:
    """Of a sensor's tag what readings leave as it is."""
    return tag.partition(".")[0]


def _series(view: SensorView, metric: str) -> tuple[SeriesNo, str, str, Micros | None]:
    number, newest = view.metrics[metric]
    return number, view.name, metric, newest
