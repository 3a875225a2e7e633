"""What metrics are measured in: said once, checked whenever a rule is saved."""

from functools import partial
from typing import Any

from quart import Blueprint, g, request

from atalaia.http import params, render
from atalaia.http.aside import Aside
from atalaia.http.bodies import UnitBody, read_body
from atalaia.model.errors import Invalid, NotFound
from atalaia.ports import Queries
from atalaia.rules.units import parse_unit
from atalaia.wire.rows import check_name


def _is_metric(text: str) -> bool:
    return check_name("x", text) is None


def blueprint(queries: Queries, aside: Aside) -> Blueprint:
    """`/v1/metrics` and below. Metrics may have a slash in their names."""
    routes = Blueprint("metrics", __name__, url_prefix="/v1/metrics")

    @routes.get("")
    async def list_units() -> dict[str, Any]:
        count = params.limit(request.args)
        after = params.cursor(request.args, str, _is_metric) or ""
        tenant_no = g.principal.tenant_no
        found = await queries.list_units(tenant_no, after=after, limit=count + 1)
        total = await render.total(partial(queries.total, tenant_no, "metrics"))
        return render.first(
            found, count, lambda one: {"metric": one[0], "unit": one[1]}, lambda one: one[0], total
        )

    @routes.put("/<path:metric>")
    async def set_unit(metric: str) -> dict[str, Any]:
        body = await read_body(UnitBody)
        if not _is_metric(metric):
            raise Invalid(
                "A metric's name has 1 to 64 of letters, digits and _ - : . /", code="bad_metric"
            )
        tenant_no = g.principal.tenant_no
        known = await aside.run(tenant_no, parse_unit, body.unit) is not None
        await queries.set_unit(tenant_no, metric, body.unit)
        return {"metric": metric, "unit": body.unit, "known": known}

    @routes.delete("/<path:metric>")
    async def drop_unit(metric: str) -> tuple[str, int]:
        known = _is_metric(metric) and await queries.drop_unit(g.principal.tenant_no, metric)
        if not known:
            raise NotFound("Nobody has said what this metric is measured in.")
        return "", 204

    return routes
