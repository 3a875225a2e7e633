"""How a tenant fares: whether its readings are processed, and what it may send."""

from typing import Any

from quart import Blueprint, g

from atalaia.engine.edits import Edits


def blueprint(gate: Edits) -> Blueprint:
    """`/v1/status`."""
    routes = Blueprint("status", __name__)

    @routes.get("/v1/status")
    async def status() -> dict[str, Any]:
        found = gate.status(g.principal.tenant_no)
        quota = gate.quotas.in_force(g.principal.quota)
        return {
            "processing": "ok" if found.reason is None else "quarantined",
            "reason": found.reason,
            "retry_after_s": found.retry_after_s,
            "unsettled_readings": found.unsettled_rows,
            "quota": {
                "readings_per_s": quota.readings_per_s,
                "bytes_per_s": quota.bytes_per_s,
                "key_readings_per_s": quota.key_readings_per_s,
                "key_bytes_per_s": quota.key_bytes_per_s,
                "waiting_bytes": quota.waiting_bytes,
                "max_rules": gate.max_rules(quota),
            },
        }

    return routes
