"""All sensors of a tenant as CSV: exported, and brought in with an error for each line that is bad.

Importing may break off anywhere; the same file again does what is left.
"""

from collections.abc import AsyncIterator
from typing import Any

from quart import Blueprint, Response, g, request

from atalaia.engine.edits import Edits
from atalaia.http.bodies import check_tags
from atalaia.http.aside import Aside
from atalaia.http.sensor_csv import SensorFile, read_sensors, write_sensors
from atalaia.model.audit import AuditEntry, listed
from atalaia.model.errors import Invalid
from atalaia.ports import Queries

CSV = "text/csv; charset=utf-8"
PAGE = 1_000


def blueprint(gate: Edits, queries: Queries, aside: Aside) -> Blueprint:
    """`/v1/sensors:export` and `/v1/sensors:import`."""
    routes = Blueprint("sensor_files", __name__)

    @routes.get("/v1/sensors:export")
    async def export_sensors() -> Response:
        tenant_no = g.principal.tenant_no
        tags = await queries.tag_names(tenant_no)
        first = await queries.described(tenant_no, after="", limit=PAGE)

        async def lines() -> AsyncIterator[str]:
            some = first
            for part in write_sensors(tags, some, first=True):
                yield part
            while len(some) == PAGE:
                some = await queries.described(tenant_no, after=some[-1][0], limit=PAGE)
                for part in write_sensors(tags, some, first=False):
                    yield part

        return Response(
            lines(),
            content_type=CSV,
            headers={"content-disposition": 'attachment; filename="sensors.csv"'},
        )

    @routes.post("/v1/sensors:import")
    async def import_sensors() -> dict[str, Any]:
        file = await aside.run(
            g.principal.tenant_no, read_sensors, await request.get_data(), check_tags
        )
        if file.faults and not file.lines:
            fault = file.faults[0]
            raise Invalid(
                f"No line can be taken. Line {fault.line}, {fault.column}: {fault.detail}.",
                code="all_rejected",
            )
        return await _apply(gate, queries, file)

    return routes


async def _apply(gate: Edits, queries: Queries, file: SensorFile) -> dict[str, Any]:
    tenant_no, actor = g.principal.tenant_no, g.principal.actor
    stored, _ = await queries.register(tenant_no)
    tags_of = {sensor.name: dict(sensor.tags) for sensor in stored}
    wanted = {
        line.name: {
            tag: value
            for tag, value in (tags_of.get(line.name, {}) | dict(line.tags)).items()
            if value is not None
        }
        for line in file.lines
    }
    for name, tags in wanted.items():
        try:
            check_tags(tags)
        except ValueError as error:
            raise Invalid(f'With the tags that "{name}" has already: {error}.') from error
    new = {name: tags for name, tags in wanted.items() if name not in tags_of}
    created = set(await gate.register(tenant_no, new, actor).answer()) if new else set()
    retagged = {
        name: tags for name, tags in wanted.items() if name in tags_of and tags != tags_of[name]
    }
    if retagged:
        await gate.set_tags(tenant_no, retagged, actor).answer()
    details = {line.name: line.details for line in file.lines}
    audit = AuditEntry(actor, "sensors.described", "", {"sensors": listed(details)})
    changed = set(retagged) | await queries.describe(tenant_no, details, file.columns, audit)
    return {
        "created": len(created),
        "changed": len(changed - created),
        "unchanged": len(wanted) - len(created | changed),
        "rejected": [
            {"line": fault.line, "column": fault.column, "detail": fault.detail}
            for fault in file.faults
        ],
    }
