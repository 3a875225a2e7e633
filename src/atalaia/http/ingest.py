"""The ingest routes as a bare ASGI handler: 1.3 to 1.8 times the rate of a Quart route."""

from collections.abc import Awaitable, Callable

import attrs
import structlog
import trio

from atalaia.engine.clock import WallClock
from atalaia.engine.gate import Gate
from atalaia.engine.ingest import Body, ingest
from atalaia.engine.receipt import Answer
from atalaia.http.access import check_access
from atalaia.http.asgi import respond
from atalaia.http.auth import header_fields
from atalaia.http.errors import as_error, status_of
from atalaia.http.faces import INGEST_PATH, Face, ReadingsFace, Rendered
from atalaia.http.incoming import Scope, Send
from atalaia.http.influx import V1_PATH, V2_PATH, InfluxFace
from atalaia.http.thingsboard import ROUTE, TelemetryFace, is_telemetry
from atalaia.model.principal import Principal
from atalaia.telemetry.metrics import BATCHES, REQUEST_SECONDS

log = structlog.get_logger()

Take = Callable[[Principal, Body], Awaitable[Answer]]
"""Bytes to answer: by the engine in this process, or by a queue."""

_FACES: dict[str, Face] = {
    INGEST_PATH: ReadingsFace(),
    V1_PATH: InfluxFace(v1=True),
    V2_PATH: InfluxFace(v1=False),
}
_TELEMETRY = TelemetryFace()
ROUTES = (*_FACES, ROUTE)


def find_face(scope: Scope) -> Face | None:
    """Whose request this is, if it brings readings."""
    if scope["method"] != "POST":
        return None
    path = scope["path"]
    return _FACES.get(path) or (_TELEMETRY if is_telemetry(path) else None)


@attrs.frozen(eq=False)
class IngestRoute:
    """Ingests, answers. Every error is answered as its face has it."""

    take: Take
    clock: WallClock

    async def __call__(self, scope: Scope, body: bytes, send: Send) -> None:
        request_id, face = scope["state"]["request_id"], scope["state"]["face"]
        began, size = trio.current_time(), len(body)
        rendered = await self._rendered(scope, face, body)
        del body  # its room is given back as soon as the answer begins
        BATCHES.labels(rendered.outcome).inc()
        took_s = trio.current_time() - began
        REQUEST_SECONDS.labels(face.route, str(rendered.status)).observe(took_s)
        log.debug(
            "request_answered",
            method="POST",
            route=face.route,
            status=rendered.status,
            bytes=size,
            took_ms=round(1e3 * took_s, 1),
        )
        extra = [*rendered.headers, ("x-request-id", request_id)]
        await respond(send, rendered.status, rendered.content_type, rendered.body, extra)

    async def _rendered(self, scope: Scope, face: Face, body: bytes) -> Rendered:
        """The answer. Neither the body nor an error, which would hold it, outlives this."""
        request_id = scope["state"]["request_id"]
        try:
            return face.render(await self._ingest(scope, face, body), request_id)
        except Exception as error:
            known = as_error(error)
            if status_of(known)[0] == 500:
                log.exception("request_failed", request_id=request_id, route=face.route)
            return face.refuse(known, request_id)

    async def _ingest(self, scope: Scope, face: Face, body: bytes) -> Answer:
        principal = scope["state"]["principal"]
        check_access(principal, "POST", face.route)
        options = face.options(scope, principal, self.clock.now_us())
        encoding = header_fields(scope).get(b"content-encoding", "identity").strip().lower()
        return await self.take(principal, Body(body, encoding, options))


def into(gate: Gate, max_body_bytes: int) -> Take:
    """The engine in this process: answered after the commit."""

    async def take(principal: Principal, body: Body) -> Answer:
        return await ingest(
            gate,
            principal.tenant_no,
            body,
            max_bytes=max_body_bytes,
            quota=principal.quota,
        )

    return take
