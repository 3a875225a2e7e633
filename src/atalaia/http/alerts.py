"""Alerts: listed newest first, read one by one with their history."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast
from uuid import UUID

from quart import Blueprint, Response, g, request

from atalaia.http import params, render
from atalaia.http.sparkline import sparkline
from atalaia.model.alert import SEVERITIES
from atalaia.model.errors import NotFound
from atalaia.model.ids import Micros
from atalaia.model.views import AlertFilter, AlertState, AlertStep, AlertView, OpeningView
from atalaia.ports import Queries
from atalaia.wire.rows import check_name

PICTURE_HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}
"""A browser that opens the picture alone runs and loads nothing for it."""


def _filter() -> AlertFilter:
    args = request.args
    rule = args.get("rule")
    rule_id = params.identifier(rule) if rule is not None else None
    if rule is not None and rule_id is None:
        raise params.bad("rule", "give the rule's id.")
    sensor = args.get("sensor")
    if sensor is not None and check_name(sensor, "x") is not None:
        raise params.bad("sensor", "give the sensor's name.")
    since = params.time(args, "from")
    return AlertFilter(
        state=cast("AlertState | None", params.choice(args, "state", ("open", "cleared"))),
        severity=params.choice(args, "severity", SEVERITIES),
        sensor=sensor,
        rule_id=rule_id,
        since=None if since is None else Micros(since - 1),  # `from` is inclusive
        until=params.time(args, "to"),
    )


def blueprint(queries: Queries) -> Blueprint:
    """`/v1/alerts` and below."""
    routes = Blueprint("alerts", __name__, url_prefix="/v1/alerts")

    async def find(
        alert: str,
    ) -> tuple[AlertView, Sequence[AlertStep], OpeningView | None]:
        alert_id = params.identifier(alert)
        found = None
        if alert_id is not None:
            found = await queries.alert(g.principal.tenant_no, alert_id)
        if found is None:
            raise NotFound("There is no alert with this id.")
        return found

    @routes.get("")
    async def list_alerts() -> dict[str, Any]:
        count = params.limit(request.args)
        position = params.cursor(request.args, tuple[int, UUID], lambda p: params.fits_time(p[0]))
        before = None if position is None else (Micros(position[0]), position[1])
        tenant_no, wanted = g.principal.tenant_no, _filter()
        found = await queries.alerts(tenant_no, wanted, before=before, limit=count + 1)
        total = await render.total(partial(queries.total, tenant_no, wanted))
        return render.first(
            found, count, render.alert, lambda view: (view.opened_at, view.alert_id), total
        )

    @routes.get("/<alert>")
    async def read_alert(alert: str) -> dict[str, Any]:
        view, steps, opening = await find(alert)
        return render.alert(view) | {
            "history": [render.step(step) for step in steps],
            "opening": opening and render.opening(opening, view),
        }

    @routes.get("/<alert>/sparkline.svg")
    async def read_sparkline(alert: str) -> Response:
        view, _, opening = await find(alert)
        drawn = None if opening is None else sparkline(opening.opening, view.opened_at)
        if drawn is None:
            raise NotFound("No readings were kept with this alert: there is nothing to draw.")
        return Response(drawn, content_type="image/svg+xml", headers=PICTURE_HEADERS)

    return routes
