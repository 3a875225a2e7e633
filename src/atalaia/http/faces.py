"""How readings are asked for and answered over HTTP: one face for each wire that devices speak.

A face knows its path, where its senders put their key, and how its answers look. What happens
between is the same for all: bytes to answer.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from atalaia.engine.receipt import Answer
from atalaia.http.auth import header_fields
from atalaia.http.errors import PROBLEM_JSON, encode, headers, problem, status_of
from atalaia.http.params import check_known, parameters
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.model.principal import Principal
from atalaia.wire.options import Format, WireOptions
from atalaia.wire.times import Precision

INGEST_PATH = "/v1/readings"
JSON_PARAMETERS = ("precision", "bool")
MAX_LISTED = 1_000  # rejects; 50,000 would be an answer of 5 MB to a body of 100 kB
JSON = "application/json"

_PRECISIONS: dict[str, Precision] = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}

Scope = dict[str, Any]


@attrs.frozen
class Rendered:
    """One complete response; outcome: its label in the metrics."""

    status: int
    content_type: str
    body: bytes
    outcome: str
    headers: Sequence[tuple[str, str]] = ()


class Face(Protocol):
    """One of the wires."""

    @property
    def route(self) -> str:
        """Its path, as metrics and logs call it."""
        ...

    def credential(self, scope: Scope) -> str | None:
        """The key, where this face alone would look for it."""
        ...

    def options(self, scope: Scope, principal: Principal, now_us: int) -> WireOptions:
        """What the sender says of its body. Raises Invalid."""
        ...

    def render(self, answer: Answer, request_id: str) -> Rendered: ...

    def refuse(self, error: AtalaiaError, request_id: str) -> Rendered: ...


@attrs.frozen
class ReadingsFace:
    """`POST /v1/readings`: ours."""

    route: str = INGEST_PATH

    def credential(self, scope: Scope) -> str | None:
        return None

    def options(self, scope: Scope, principal: Principal, now_us: int) -> WireOptions:
        content_type = header_fields(scope).get(b"content-type", "")
        ndjson = "ndjson" in content_type or "jsonlines" in content_type
        asked = parameters(scope)
        check_known(asked, JSON_PARAMETERS)
        return json_options(asked, "ndjson" if ndjson else "json")

    def render(self, answer: Answer, request_id: str) -> Rendered:
        status, content_type, body, outcome = account(answer, request_id)
        return Rendered(status, content_type, encode(body), outcome)

    def refuse(self, error: AtalaiaError, request_id: str) -> Rendered:
        return Rendered(
            status_of(error)[0],
            PROBLEM_JSON,
            encode(problem(error, request_id)),
            error.code,
            headers(error),
        )


def json_options(asked: dict[str, str], form: Format) -> WireOptions:
    """Raises Invalid (`bad_parameter`)."""
    boolean = asked.get("bool", "")
    if boolean not in ("", "number"):
        raise Invalid("The only value of bool is number.", code="bad_parameter")
    return WireOptions(
        format=form,
        precision=precision_of(asked, _PRECISIONS, "ms"),
        bool_as_number=boolean == "number",
    )


def precision_of(
    asked: dict[str, str], known: dict[str, Precision], default: Precision
) -> Precision:
    """Raises Invalid (`bad_parameter`)."""
    precision = asked.get("precision", default)
    if precision not in known:
        raise Invalid(f"precision must be one of {', '.join(known)}.", code="bad_parameter")
    return known[precision]


def account(answer: Answer, request_id: str) -> tuple[int, str, dict[str, Any], str]:
    """What became of a batch, as JSON: (status, content type, body, metric label)."""
    body: dict[str, Any] = {
        "accepted": answer.accepted,
        "duplicates": answer.duplicates,
        "late": answer.late,
        "rejected": [attrs.asdict(reject) for reject in answer.rejects[:MAX_LISTED]],
        "rejected_count": len(answer.rejects),
    }
    if answer.ignored:
        body["ignored"] = answer.ignored
    if answer.queued and answer.accepted:
        return 202, JSON, body | {"durability": "queued"}, "queued"
    if answer.accepted or answer.duplicates or not answer.rejects:
        return 200, JSON, body | {"durability": "committed"}, "ok"
    error = AtalaiaError("No row of this batch could be taken.", code="all_rejected")
    rendered = problem(error, request_id, **body) | {
        "status": 422,
        "title": "Every row was rejected",
    }
    return 422, PROBLEM_JSON, rendered, "all_rejected"
