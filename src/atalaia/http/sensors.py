"""Sensors and their readings."""

from collections.abc import Mapping
from typing import Any

from quart import Blueprint, Response, g, request

from atalaia.engine.clock import WallClock
from atalaia.engine.edits import Edits
from atalaia.http import params, render
from atalaia.http.auth import require
from atalaia.http.bodies import NewSensorBody, SensorBody, TagsBody, read_body, read_changes
from atalaia.http.pages import Pages
from atalaia.model.errors import Conflict, Invalid, NotFound
from atalaia.model.ids import DAY_US, Micros
from atalaia.model.views import DetailColumn, Details, SensorFilter, SensorView
from atalaia.ports import Queries
from atalaia.wire.rows import NAME_ADVICE, check_name

COLUMNS: Mapping[str, tuple[DetailColumn, ...]] = {
    "location": ("latitude", "longitude"),
    "place": ("place",),
    "expected_interval": ("expected_us",),
}
"""Of the fields of a body."""

ALL_DETAILS = frozenset(column for columns in COLUMNS.values() for column in columns)


def _is_name(text: str) -> bool:
    return check_name(text, "x") is None


def blueprint(gate: Edits, queries: Queries, clock: WallClock) -> Blueprint:
    """`/v1/sensors` and below."""
    routes = Blueprint("sensors", __name__, url_prefix="/v1/sensors")
    pages = Pages()

    async def find(name: str) -> SensorView:
        # A name that no sensor can have is not worth a query (nor can Postgres hold a NUL).
        view = await queries.sensor(g.principal.tenant_no, name) if _is_name(name) else None
        if view is None:
            raise NotFound(f'There is no sensor named "{name}".')
        return view

    @routes.get("")
    async def list_sensors() -> dict[str, Any]:
        require(g.principal, "read")
        count = params.limit(request.args)
        after = params.cursor(request.args, str, _is_name) or ""
        wanted = SensorFilter(*(params.text(request.args, tag) for tag in ("group", "profile")))
        found = await queries.sensors(g.principal.tenant_no, wanted, after=after, limit=count + 1)
        more = params.next_cursor(found[count - 1].name) if len(found) > count else None
        now = clock.now_us()
        return render.page([render.sensor(view, now) for view in found[:count]], more)

    @routes.post("")
    async def create_sensor() -> tuple[dict[str, Any], int]:
        require(g.principal, "admin")
        body = await read_body(NewSensorBody)
        if not _is_name(body.name):
            raise Invalid(f"name: {NAME_ADVICE}", code="bad_sensor")
        tenant_no = g.principal.tenant_no
        made = await gate.register(tenant_no, {body.name: body.tags}).answer()
        if not made:
            raise Conflict(f'A sensor named "{body.name}" exists.', code="name_taken")
        details = Details(body.location, body.place, body.expected_interval)
        await queries.describe(tenant_no, {body.name: details}, ALL_DETAILS)
        if body.lateness is not None:
            await gate.set_lateness(tenant_no, body.name, body.lateness).answer()
        return render.sensor(await find(body.name), clock.now_us()), 201

    @routes.get("/<sensor>")
    async def read_sensor(sensor: str) -> dict[str, Any]:
        require(g.principal, "read")
        return render.sensor(await find(sensor), clock.now_us())

    @routes.delete("/<sensor>")
    async def remove_sensor(sensor: str) -> tuple[str, int]:
        require(g.principal, "admin")
        await gate.remove(g.principal.tenant_no, sensor).answer()
        return "", 204

    @routes.patch("/<sensor>")
    async def change_sensor(sensor: str) -> dict[str, Any]:
        require(g.principal, "admin")
        body, sent = await read_changes(SensorBody)
        tenant_no = g.principal.tenant_no
        if "lateness" in sent:
            await gate.set_lateness(tenant_no, sensor, body.lateness).answer()
        details = Details(body.location, body.place, body.expected_interval)
        columns = {column for field in sent for column in COLUMNS.get(field, ())}
        await queries.describe(tenant_no, {sensor: details}, columns)
        return render.sensor(await find(sensor), clock.now_us())

    @routes.put("/<sensor>/tags")
    async def replace_tags(sensor: str) -> dict[str, Any]:
        require(g.principal, "admin")
        body = await read_body(TagsBody)
        await gate.set_tags(g.principal.tenant_no, {sensor: body.tags}).answer()
        return render.sensor(await find(sensor), clock.now_us())

    @routes.get("/<sensor>/latest")
    async def read_latest(sensor: str) -> dict[str, Any]:
        require(g.principal, "read")
        view = await find(sensor)
        points = await queries.latest(g.principal.tenant_no, view)
        return {
            "sensor": view.name,
            "metrics": {metric: render.point(point) for metric, point in points.items()},
        }

    @routes.get("/<sensor>/readings")
    async def read_readings(sensor: str) -> dict[str, Any] | Response:
        require(g.principal, "read")
        count = params.limit(request.args, highest=params.MAX_READINGS)
        after = params.cursor(request.args, int, params.fits_time)
        since, until = params.time(request.args, "from"), params.time(request.args, "to")
        metric = request.args.get("metric")
        if metric is None:
            raise params.bad("metric", "name one; GET /v1/sensors/<sensor> lists them.")
        view = await find(sensor)
        if metric not in view.metrics:
            raise NotFound(f'The sensor "{sensor}" has no metric "{metric}".')
        series, newest = view.metrics[metric]
        if newest is None:
            return render.page([], None)
        # Every query has a time bound; without one asked for it is the last day of this series.
        high = newest if until is None else min(until, newest)
        low = high - DAY_US if since is None else since - 1  # `from` is inclusive
        with pages.one(g.principal.tenant_no, count):
            points = await queries.readings(
                g.principal.tenant_no,
                series,
                after=Micros(low if after is None else max(after, low)),
                until=Micros(high),
                limit=count + 1,
            )
            more = params.next_cursor(points[count - 1].ts) if len(points) > count else None
            return await pages.answer(points[:count], more)

    return routes
