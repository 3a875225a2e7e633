"""Health and metrics. Liveness never depends on Postgres; readiness does."""

import hmac
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import trio
from prometheus_client.exposition import choose_encoder
from quart import Blueprint, Response, request

from atalaia.engine.edits import Edits
from atalaia.model.errors import Unauthenticated
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.telemetry.metrics import REGISTRY

PING_DEADLINE_S = 2.0

Checks = Mapping[str, Callable[[], str]]
"""What must be "ok" beside the database, by name."""


def blueprint(
    gate: Edits,
    queries: Queries,
    checks: Checks,
    *,
    leaving: trio.Event,
    metrics_token: str | None = None,
) -> Blueprint:
    """`/health*`, `/ping` and `/metrics`, without a tenant's credential. leaving: set when we soon
    end. metrics_token: what `/metrics` asks for; None: nothing.
    """
    routes = Blueprint("ops", __name__)
    one_at_a_time = trio.CapacityLimiter(1)

    async def database() -> str:
        try:
            with trio.fail_after(PING_DEADLINE_S):
                await queries.ping()
        except (StoreUnavailable, StoreRefused, trio.TooSlowError):
            return "unavailable"
        return "ok"

    async def readiness() -> tuple[dict[str, Any], int]:
        # A full disk answers, and takes nothing.
        commits = "ok" if gate.commits else "failing"
        states = {"database": await database(), "commits": commits}
        states |= {name: look() for name, look in checks.items()}
        if leaving.is_set():
            states["serving"] = "closing"
        ready = set(states.values()) == {"ok"}
        body = {
            "status": "pass" if ready else "fail",
            "version": version("atalaia"),
            "checks": states,
        }
        return body, 200 if ready else 503

    @routes.get("/health")
    async def health() -> tuple[dict[str, Any], int]:
        """The same, in the shape that InfluxDB's clients read."""
        body, status = await readiness()
        checks = [
            {"name": name, "message": state, "status": "pass" if state == "ok" else "fail"}
            for name, state in body["checks"].items()
        ]
        message = "ready for readings" if status == 200 else "not ready"
        return body | {"name": "atalaia", "message": message, "checks": checks}, status

    @routes.get("/ping")
    async def ping() -> Response:
        said = Response("", 204)
        del said.headers["content-type"]
        said.headers["x-influxdb-version"] = f"atalaia-{version('atalaia')}"
        said.headers["x-influxdb-build"] = "atalaia"
        return said

    @routes.get("/health/ready")
    async def ready() -> tuple[dict[str, Any], int]:
        return await readiness()

    @routes.get("/health/live")
    async def live() -> dict[str, Any]:
        return {"status": "pass"}

    @routes.get("/metrics")
    async def metrics() -> Response:
        if metrics_token is not None:
            given = request.headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {metrics_token}".encode()):
                raise Unauthenticated("The metrics ask for the token of ATALAIA_METRICS_TOKEN.")
        gate.observe()
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await trio.to_thread.run_sync(encoder, REGISTRY, limiter=one_at_a_time)
        return Response(text, content_type=content_type)

    return routes
