"""What was done in a tenant, and by whom."""

from functools import partial
from typing import Any

import msgspec
from quart import Blueprint, g, request

from atalaia.http import params, render
from atalaia.model.audit import AuditRow
from atalaia.model.ids import Micros
from atalaia.model.people import AuditFilter
from atalaia.people import Audit

MAX_FILTER_CHARS = 100


def blueprint(audit: Audit) -> Blueprint:
    """`/v1/audit`."""
    routes = Blueprint("audit", __name__)

    @routes.get("/v1/audit")
    async def list_audit() -> dict[str, Any]:
        count = params.limit(request.args)
        before = params.cursor(request.args, int, lambda seq: 0 < seq < 1 << 63)
        tenant_no, wanted = g.principal.tenant_no, _filter()
        found = await audit.audit(tenant_no, wanted, before=before, limit=count + 1)
        total = await render.total(partial(audit.total, tenant_no, wanted))
        return render.first(found, count, _render, lambda row: row.seq, total)

    return routes


def _filter() -> AuditFilter:
    since = params.time(request.args, "from")
    return AuditFilter(
        actor=_text("actor"),
        action=_text("action"),
        target=_text("target"),
        since=None if since is None else Micros(since - 1),  # `from` is inclusive
        until=params.time(request.args, "to"),
    )


def _text(name: str) -> str | None:
    text = request.args.get(name)
    if text is not None and not (len(text) <= MAX_FILTER_CHARS and text.isprintable()):
        raise params.bad(name, "give it as the entries show it.")
    return text


def _render(row: AuditRow) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "at": render.time(row.at),
        "actor": row.actor,
        "actor_name": row.actor_name,
        "action": row.action,
        "target": row.target,
        "detail": msgspec.json.decode(row.detail),
        "hash": row.hash.hex(),
    }
