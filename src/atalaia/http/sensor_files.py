"""All sensors of a tenant as CSV: exported, and brought in with an error for each line that is bad.

Importing may break off anywhere; the same file again does what is left. A tenant's files are
brought in one after another, so that it has no more than one of them in memory.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import attrs
from quart import Blueprint, Response, g, request

from atalaia.engine.edits import Edits
from atalaia.engine.messages import SensorTags
from atalaia.engine.turns import Turns
from atalaia.http.aside import Aside
from atalaia.http.bodies import check_tags
from atalaia.http.downloads import Check, attachment
from atalaia.http.locks import Locks
from atalaia.http.sensor_csv import (
    SensorFile,
    columns_of,
    read_sensors,
    write_columns,
    write_sensors,
)
from atalaia.model.audit import AuditEntry, listed
from atalaia.model.batch import merge_tags
from atalaia.model.errors import Invalid
from atalaia.model.ids import TenantNo
from atalaia.ports import Queries, SensorRow

CSV = "text/csv; charset=utf-8"
PAGE = 100  # with as many columns as there may be, ten milliseconds
MOST_AT_ONCE = 2  # of one tenant


def blueprint(gate: Edits, queries: Queries, aside: Aside, check: Check) -> Blueprint:
    """`/v1/sensors:export` and `/v1/sensors:import`. check: whether a request's credential is good,
    asked again and again.
    """
    routes = Blueprint("sensor_files", __name__)
    importing = Locks()
    exporting = Turns(
        MOST_AT_ONCE,
        f"A tenant may have {MOST_AT_ONCE} files of sensors under way; try again when one is done.",
        "too_many_exports",
    )

    async def pieces(tenant_no: TenantNo) -> AsyncGenerator[bytes, None]:
        with exporting.one(tenant_no):
            tags = columns_of(await queries.tag_names(tenant_no))
            yield write_columns(tags)
            after, more = "", True
            while more:
                some = await queries.described(tenant_no, after=after, limit=PAGE)
                if some:
                    yield write_sensors(tags, some)
                    after = some[-1][0]
                more = len(some) == PAGE

    @routes.get("/v1/sensors:export")
    async def export_sensors() -> Response:
        if request.method == "HEAD":
            return Response(b"", content_type=CSV)
        found = pieces(g.principal.tenant_no)
        head = await anext(found)  # whoever gets none is told why by a status
        return attachment(head, found, check, CSV, "sensors.csv")

    @routes.post("/v1/sensors:import")
    async def import_sensors() -> dict[str, Any]:
        tenant_no, body = g.principal.tenant_no, await request.get_data()
        async with importing.one(tenant_no):
            file = await aside.run(tenant_no, read_sensors, body, check_tags)
            if file.faults and not file.lines:
                fault = file.faults[0]
                raise Invalid(
                    f"No line can be taken. Line {fault.line}, {fault.column}: {fault.detail}.",
                    code="all_rejected",
                )
            return await _apply(gate, queries, aside, file)

    return routes


@attrs.frozen
class _Plan:
    """What the lines say of the tags of new sensors, and of those whose tags they change."""

    new: SensorTags
    changed: SensorTags


def _plan(stored: Sequence[SensorRow], file: SensorFile) -> _Plan:
    """Raises Invalid for a sensor that has too many tags besides."""
    said = {line.name: line.tags for line in file.lines}
    has = {sensor.name: sensor.tags for sensor in stored if sensor.name in said}
    changed = {}
    for name, own in has.items():
        wanted = merge_tags(own, said[name], file.tags)
        try:
            check_tags(dict(wanted))
        except ValueError as error:
            raise Invalid(f'With the tags that "{name}" has already: {error}.') from error
        if wanted != own:
            changed[name] = said[name]
    return _Plan({name: tags for name, tags in said.items() if name not in has}, changed)


async def _apply(gate: Edits, queries: Queries, aside: Aside, file: SensorFile) -> dict[str, Any]:
    """What was looked at is only what need not be sent; what others change meanwhile is kept, as
    every change is made in the tenant's turn.
    """
    tenant_no, actor = g.principal.tenant_no, g.principal.actor
    stored, _ = await queries.register(tenant_no)
    plan = await aside.run(tenant_no, _plan, stored, file)
    created = set(await gate.register(tenant_no, plan.new, actor).answer()) if plan.new else set()
    made_meanwhile = {name: tags for name, tags in plan.new.items() if name not in created}
    changed: set[str] = set()
    if others := {**plan.changed, **made_meanwhile}:
        tagging = gate.set_tags(tenant_no, others, actor, about=file.tags)
        changed.update(await tagging.answer())
    details = {line.name: line.details for line in file.lines}
    audit = AuditEntry(actor, "sensors.described", "", {"sensors": listed(details)})

    async def describe() -> None:
        changed.update(await queries.describe(tenant_no, details, file.columns, audit))

    if file.columns:
        await gate.do(tenant_no, describe).answer()
    return {
        "created": len(created),
        "changed": len(changed - created),
        "unchanged": len(details) - len(created | changed),
        "rejected": [
            {"line": fault.line, "column": fault.column, "detail": fault.detail}
            for fault in file.faults
        ],
    }
