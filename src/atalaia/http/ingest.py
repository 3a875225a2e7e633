"""POST /v1/readings as a bare ASGI handler: 1.3 to 1.8 times the rate of a Quart route."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import attrs
import structlog
import trio

from atalaia.engine.engine import Gate
from atalaia.engine.ingest import Body, ingest
from atalaia.engine.receipt import Answer
from atalaia.http.access import check_access
from atalaia.http.asgi import INGEST_PATH, Scope, Send, respond
from atalaia.http.auth import header_fields
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.model.principal import Principal
from atalaia.telemetry.metrics import BATCHES, REQUEST_SECONDS
from atalaia.wire.readings import WireOptions
from atalaia.wire.times import Precision

log = structlog.get_logger()

MAX_LISTED = 1_000  # rejects; 50,000 would be an answer of 5 MB to a body of 100 kB

Take = Callable[[Principal, Body], Awaitable[Answer]]
"""Bytes to answer: by the engine in this process, or by a queue."""

_PRECISIONS: dict[str, Precision] = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}


@attrs.frozen(eq=False)
class IngestRoute:
    """Ingests, answers. Every error becomes a problem document."""

    take: Take

    async def __call__(self, scope: Scope, body: bytes, send: Send) -> None:
        request_id = scope["state"]["request_id"]
        began = trio.current_time()
        try:
            answer = await self._ingest(scope, body)
        except Exception as error:
            known = as_error(error)
            status, content_type = status_of(known)[0], PROBLEM_JSON
            if status == 500:
                log.exception("request_failed", request_id=request_id, route=INGEST_PATH)
            rendered, extra, outcome = problem(known, request_id), headers(known), known.code
        else:
            status, content_type, rendered, outcome = _render(answer, request_id)
            extra = []
        BATCHES.labels(outcome).inc()
        took_s = trio.current_time() - began
        REQUEST_SECONDS.labels(INGEST_PATH, str(status)).observe(took_s)
        log.debug(
            "request_answered",
            method="POST",
            route=INGEST_PATH,
            status=status,
            bytes=len(body),
            took_ms=round(1e3 * took_s, 1),
        )
        await respond(
            send, status, content_type, encode(rendered), [*extra, ("x-request-id", request_id)]
        )

    async def _ingest(self, scope: Scope, body: bytes) -> Answer:
        principal = scope["state"]["principal"]
        check_access(principal, "POST", INGEST_PATH)
        fields = header_fields(scope)
        options = _options(scope["query_string"].decode("latin-1"), fields.get(b"content-type", ""))
        encoding = fields.get(b"content-encoding", "identity").strip().lower()
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


def _options(query: str, content_type: str) -> WireOptions:
    asked = parse_qs(query, keep_blank_values=True)
    precision = asked.get("precision", ["ms"])[-1]
    if precision not in _PRECISIONS:
        raise Invalid(f"precision must be one of {', '.join(_PRECISIONS)}.", code="bad_parameter")
    boolean = asked.get("bool", [""])[-1]
    if boolean not in ("", "number"):
        raise Invalid("The only value of bool is number.", code="bad_parameter")
    ndjson = "ndjson" in content_type or "jsonlines" in content_type
    return WireOptions(
        format="ndjson" if ndjson else "json",
        precision=_PRECISIONS[precision],
        bool_as_number=boolean == "number",
    )


def _render(answer: Answer, request_id: str) -> tuple[int, str, dict[str, Any], str]:
    """(status, content type, body, metric label)."""
    body: dict[str, Any] = {
        "accepted": answer.accepted,
        "duplicates": answer.duplicates,
        "late": answer.late,
        "rejected": [attrs.asdict(reject) for reject in answer.rejects[:MAX_LISTED]],
        "rejected_count": len(answer.rejects),
    }
    if answer.queued and answer.accepted:
        return 202, "application/json", body | {"durability": "queued"}, "queued"
    if answer.accepted or answer.duplicates:
        return 200, "application/json", body | {"durability": "committed"}, "ok"
    error = AtalaiaError("No row of this batch could be taken.", code="all_rejected")
    rendered = problem(error, request_id, **body) | {
        "status": 422,
        "title": "Every row was rejected",
    }
    return 422, PROBLEM_JSON, rendered, "all_rejected"
