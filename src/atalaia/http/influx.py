"""InfluxDB's write API, as Telegraf and Influx clients speak it: `/api/v2/write` and `/write`.

What the senders do decides the statuses. Telegraf drops a batch at 400 and at every 4xx that it
does not know, keeps it at 401 and 403, splits it at 413, and waits at 429 and 503; at `/write` it
drops it at every 4xx, so that there what may be sent again later is always a 503.
"""

import base64
import binascii

import attrs

from atalaia.engine.receipt import Answer
from atalaia.http.auth import header_fields
from atalaia.http.errors import encode, headers, status_of
from atalaia.http.faces import JSON, Rendered, Scope, precision_of
from atalaia.http.params import parameters
from atalaia.model.errors import AtalaiaError, Invalid, Overloaded, TooSlow
from atalaia.model.principal import Principal
from atalaia.telemetry.secrets import redact
from atalaia.wire.options import WireOptions
from atalaia.wire.times import Precision

V1_PATH, V2_PATH = "/write", "/api/v2/write"
MAX_NAMED = 5  # lines, in a message that ends in a log
LINE_PARAMETERS = ("precision", "sensor_tag", "metric_tags")
"""Of ours and of the write API those that mean something; here others are left out."""
MAX_METRIC_TAGS = 8
SENSOR_TAG, METRIC_TAGS = b"x-atalaia-sensor-tag", b"x-atalaia-metric-tags"
"""For senders that cannot add a parameter to the path."""

_V2_PRECISIONS: dict[str, Precision] = {"ns": "ns", "us": "us", "ms": "ms", "s": "s"}
_V1_PRECISIONS: dict[str, Precision] = {
    "ns": "ns", "n": "ns", "us": "us", "u": "us", "µ": "us", "ms": "ms", "s": "s", "m": "m",
    "h": "h",
}  # fmt: skip
CODES = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    413: "request too large",
    429: "too many requests",
    500: "internal error",
    503: "unavailable",
}


@attrs.frozen
class InfluxFace:
    """One of both versions."""

    v1: bool

    @property
    def route(self) -> str:
        return V1_PATH if self.v1 else V2_PATH

    def credential(self, scope: Scope) -> str | None:
        """Out of `Authorization: Token` or `Basic` (its password), or `p`; whom it names besides
        does not matter, since a key stands for its tenant.
        """
        scheme, _, value = header_fields(scope).get(b"authorization", "").partition(" ")
        match scheme.lower():
            case "token":
                return value.strip().rpartition(":")[2]
            case "basic":
                return _password(value)
        return parameters(scope).get("p") if self.v1 else None

    def options(self, scope: Scope, principal: Principal, now_us: int) -> WireOptions:
        asked, fields = parameters(scope), header_fields(scope)
        metric_tags = asked.get("metric_tags") or fields.get(METRIC_TAGS, "")
        tags = tuple(tag.strip() for tag in metric_tags.split(",") if tag.strip())
        if len(tags) > MAX_METRIC_TAGS:
            raise Invalid(f"metric_tags may name {MAX_METRIC_TAGS} tags.", code="bad_parameter")
        known = _V1_PRECISIONS if self.v1 else _V2_PRECISIONS
        return WireOptions(
            format="line",
            precision=precision_of(asked, known, "ns"),
            now_us=now_us,
            sensor_tag=asked.get("sensor_tag") or fields.get(SENSOR_TAG) or None,
            metric_tags=tags,
        )

    def render(self, answer: Answer, request_id: str) -> Rendered:
        extra = [("x-atalaia-ignored", str(answer.ignored))] if answer.ignored else []
        if not answer.rejects:
            outcome = "queued" if answer.queued else "ok"
            return Rendered(202 if answer.queued else 204, JSON, b"", outcome, extra)
        named = [
            f"line {reject.index + 1}: {reject.detail} ({reject.code})"
            for reject in answer.rejects[:MAX_NAMED]
        ]
        if len(answer.rejects) > MAX_NAMED:
            named.append(f"and {len(answer.rejects) - MAX_NAMED} more")
        taken = answer.accepted + answer.duplicates
        said = f"partial write: {len(answer.rejects)} refused, {taken} taken: {'; '.join(named)}"
        if any(reject.code == "retry_later" for reject in answer.rejects):
            # What was taken counts as duplicate then, and what is wrong is named at last.
            return self.refuse(Overloaded(said, code="retry_later", retry_after_s=2), request_id)
        line = answer.rejects[0].index + 1
        outcome = "partial" if taken else "all_rejected"
        return Rendered(400, JSON, self._body(400, said, line=line), outcome, extra)

    def refuse(self, error: AtalaiaError, request_id: str) -> Rendered:
        status, extra = status_of(error)[0], headers(error)
        if isinstance(error, TooSlow):
            status, extra = 503, [("retry-after", "1")]
        elif isinstance(error, Overloaded):
            status = 503 if self.v1 else 429
        elif status not in CODES:
            status = 400
        said = f"{error.detail} ({error.code})"
        return Rendered(status, JSON, self._body(status, said), error.code, extra)

    def _body(self, status: int, message: str, **more: int) -> bytes:
        message = redact(message)
        body = {"code": CODES[status], "message": message, **more}
        return encode(body | {"error": message} if self.v1 else body)


def _password(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
