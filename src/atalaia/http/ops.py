"""Health and metrics. Liveness never depends on Postgres; readiness does."""

from importlib.metadata import version
from typing import Any

import trio
from prometheus_client.exposition import choose_encoder
from quart import Blueprint, Response, request

from atalaia.engine.engine import Gate
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import REGISTRY

PING_DEADLINE_S = 2.0


def blueprint(gate: Gate, queries: Queries) -> Blueprint:
    """`/health*` and `/metrics`, without a credential."""
    routes = Blueprint("ops", __name__)

    async def database() -> str:
        try:
            with trio.fail_after(PING_DEADLINE_S):
                await queries.ping()
        except (StoreUnavailable, StoreRefused, trio.TooSlowError):
            return "unavailable"
        return "ok"

    async def readiness() -> tuple[dict[str, Any], int]:
        state = await database()
        commits = "ok" if gate.commits else "failing"  # a full disk answers, and takes nothing
        ready = state == commits == "ok"
        body = {
            "status": "pass" if ready else "fail",
            "version": version("atalaia"),
            "checks": {"database": state, "commits": commits},
        }
        return body, 200 if ready else 503

    @routes.get("/health")
    async def health() -> tuple[dict[str, Any], int]:
        return await readiness()

    @routes.get("/health/ready")
    async def ready() -> tuple[dict[str, Any], int]:
        return await readiness()

    @routes.get("/health/live")
    async def live() -> dict[str, Any]:
        return {"status": "pass"}

    @routes.get("/metrics")
    async def metrics() -> Response:
        gate.observe()
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(await trio.to_thread.run_sync(encoder, REGISTRY), content_type=content_type)

    return routes
