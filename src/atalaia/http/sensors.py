"""Sensors and their readings."""

from typing import Any

from quart import Blueprint, g, request

from atalaia.engine.edits import Edits
from atalaia.http import params, render
from atalaia.http.bodies import SensorBody, TagsBody, read_body
from atalaia.model.errors import NotFound
from atalaia.model.ids import DAY_US, Micros
from atalaia.model.views import SensorView
from atalaia.ports import Queries
from atalaia.wire.rows import check_name


def _is_name(text: str) -> bool:
    return check_name(text, "x") is None


def blueprint(gate: Edits, queries: Queries) -> Blueprint:
    """`/v1/sensors` and below."""
    routes = Blueprint("sensors", __name__, url_prefix="/v1/sensors")

    async def find(name: str) -> SensorView:
        # A name that no sensor can have is not worth a query (nor can Postgres hold a NUL).
        view = await queries.sensor(g.principal.tenant_no, name) if _is_name(name) else None
        if view is None:
            raise NotFound(f'There is no sensor named "{name}".')
        return view

    @routes.get("")
    async def list_sensors() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, _is_name)
        found = await queries.sensors(g.principal.tenant_no, after=after, limit=count + 1)
        more = params.next_cursor(found[count - 1].name) if len(found) > count else None
        return render.page([render.sensor(view) for view in found[:count]], more)

    @routes.get("/<sensor>")
    async def read_sensor(sensor: str) -> dict[str, Any]:
        return render.sensor(await find(sensor))

    @routes.patch("/<sensor>")
    async def change_sensor(sensor: str) -> dict[str, Any]:
        body = await read_body(SensorBody)
        await gate.set_lateness(
            g.principal.tenant_no, sensor, body.lateness, g.principal.actor
        ).answer()
        return render.sensor(await find(sensor))

    @routes.put("/<sensor>/tags")
    async def replace_tags(sensor: str) -> dict[str, Any]:
        body = await read_body(TagsBody)
        await gate.set_tags(g.principal.tenant_no, sensor, body.tags, g.principal.actor).answer()
        return render.sensor(await find(sensor))

    @routes.get("/<sensor>/latest")
    async def read_latest(sensor: str) -> dict[str, Any]:
        view = await find(sensor)
        points = await queries.latest(g.principal.tenant_no, view)
        return {
            "sensor": view.name,
            "metrics": {metric: render.point(point) for metric, point in points.items()},
        }

    @routes.get("/<sensor>/readings")
    async def read_readings(sensor: str) -> dict[str, Any]:
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
        points = await queries.readings(
            g.principal.tenant_no,
            series,
            after=Micros(low if after is None else max(after, low)),
            until=Micros(high),
            limit=count + 1,
        )
        more = params.next_cursor(points[count - 1].ts) if len(points) > count else None
        return render.page([render.point(point) for point in points[:count]], more)

    return routes
