"""What is answered: the answers of each operation, and the errors that its route may give.

Statuses, titles and headers of errors are those of `errors` and of the classes in `model.errors`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from atalaia.http import errors, influx, rates
from atalaia.http.access import Access
from atalaia.http.openapi.around import is_counted
from atalaia.http.openapi.operation import JSON, Answer, Example, Operation, reference
from atalaia.http.openapi.problems import Problem
from atalaia.model import errors as model
from atalaia.model.standing import Standing

HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Request-Id": {
        "description": "Under which the log of the service has this request.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "Retry-After": {
        "description": "Seconds until it is worth another try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to say who asks.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Link": {
        "description": 'The next page, `rel="next"`; not on the last one.',
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where what was made is, or what is asked for.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Content-Disposition": {
        "description": "The name of the file.",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "Of what is sent; `If-None-Match` with it is answered 304.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "The answer is that of the first time.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit-Policy": {
        "description": "The buckets that were counted in: `q` requests (of quotas: readings or "
        "bytes) in `w` seconds.",
        "schema": {"type": "string", "examples": ['"key";q=6000;w=60, "tenant";q=12000;w=60']},
    },
    "RateLimit": {
        "description": "Of each bucket: `r` are left, and in `t` seconds all of them are again.",
        "schema": {"type": "string", "examples": ['"key";r=5999;t=1, "tenant";r=11999;t=1']},
    },
    "X-RateLimit-Limit": {
        "description": "Of the bucket with the smallest part left: how many it holds.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-RateLimit-Remaining": {
        "description": "Of the same bucket: how many are left.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-RateLimit-Reset": {
        "description": "Of the same bucket: seconds until it is full.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Atalaia-Ignored": {
        "description": "How many fields were texts, and ignored.",
        "schema": {"type": "integer"},
    },
    "X-Influxdb-Version": {
        "description": "For clients that look whether this is InfluxDB.",
        "required": True,
        "schema": {"type": "string"},
    },
}
"""Of answers, by name."""

_ALSO = {
    405: "This cannot be done here; `Allow` says what can.",
    500: "Our fault; the log has it under the `request_id`.",
}
_KINDS: list[type[model.AtalaiaError]] = [
    kind
    for kind in vars(model).values()
    if isinstance(kind, type)
    and issubclass(kind, model.AtalaiaError)
    and not errors.STATUS.keys().isdisjoint(kind.__mro__)
    and "code" in vars(kind)
]
SAMPLES = [kind() for kind in _KINDS if kind not in (model.RuleInvalid, model.RuleFileInvalid)]
"""An error of each class that says of itself what it is; the others have bodies of their own."""
_STANDING = rates.fields([Standing("key", 1, 1.0, 1, 0.0)])
RATES = [name for name in HEADERS if name.lower().encode() in dict(_STANDING)]
"""Of answers for which something was counted."""


def _headers(names: Sequence[str] = (), *, maybe: Sequence[str] = ()) -> dict[str, Any]:
    """maybe: of those that are always there elsewhere."""
    known = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}
    return known | {name: {**HEADERS[name], "required": False} for name in maybe}


def shared() -> dict[str, Any]:
    """A response for each status of an error, by `Problem<status>`."""
    statuses = {status for status, _ in errors.STATUS.values()} | set(_ALSO)
    return {f"Problem{status}": _problem(status) for status in sorted(statuses)}


def _problem(status: int, here: str | Answer = "") -> dict[str, Any]:
    """here: what it means at this route, and what more it says."""
    samples = [one for one in SAMPLES if errors.status_of(one)[0] == status]
    known = here if isinstance(here, Answer) else Answer(here, Problem)
    codes = " ".join(f"`{one.code}`: {one.detail}" for one in samples)
    also = [{name for name, _ in errors.headers(one)} for one in samples]
    always = [name for name in HEADERS if also and all(name.lower() in one for one in also)]
    some = [name for name in HEADERS if any(name.lower() in one for one in also)]
    return {
        "description": known.description or _ALSO.get(status) or codes,
        "headers": _headers([*always, *RATES], maybe=[name for name in some if name not in always]),
        "content": {errors.PROBLEM_JSON: {"schema": reference(*known.shapes)}},
    }


def _influx() -> dict[str, Any]:
    """By status, as the write API of InfluxDB has them."""
    told = {
        400: "Some lines were refused, and the others are stored: `message` has the counts. Or the "
        "request cannot be read.",
        401: "No valid key.",
        403: "The key lacks the scope, its tenant is suspended, or it came to the proxy in clear.",
        413: "Send less at once.",
        429: "The quota is used up, or the share is full: send the same again after the delay.",
        500: "Our fault.",
        503: "Not now: send the same again after the delay.",
    }
    also = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
    shape = {"schema": {"$ref": "#/components/schemas/InfluxError"}}
    return {
        str(status): {
            "description": told[status],
            "headers": _headers([*also.get(status, ()), *RATES]),
            "content": {JSON: shape},
        }
        for status in influx.CODES
    }


def by_status(told: Operation, rule: str, access: Access) -> dict[str, Any]:
    """Every answer and every error of an operation, examples included."""
    counted = RATES if is_counted(rule) else []
    found = {str(status): _answer(answer, counted) for status, answer in told.answers.items()}
    if told.face == "influx":
        found |= _influx()
    else:
        common = _common(rule, access)
        found |= {str(s): {"$ref": f"#/components/responses/Problem{s}"} for s in common}
        found |= {str(status): _problem(status, here) for status, here in told.errors.items()}
    for example in told.examples:
        status = str(example.status or next(iter(told.answers)))
        if "$ref" in found[status]:
            found[status] = _problem(int(status))
        _show(found[status], told, example)
    return dict(sorted(found.items()))


def _common(rule: str, access: Access) -> set[int]:
    """What every route of this kind may answer, whatever it does."""
    if not is_counted(rule):
        return {413, 500} | ({404} if "<" in rule else set())
    statuses = {400, 403, 408, 413, 429, 500, 503}
    if access.role is not None:
        statuses |= {401, 404}
    if "<" in rule:
        statuses |= {404, 405}
    return statuses


def _answer(answer: Answer, counted: Sequence[str]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "description": answer.description,
        "headers": _headers([*answer.headers, *counted]),
    }
    content: dict[str, Any] = {"schema": {"type": "string"}}
    kinds = answer.content_types
    if answer.shapes:
        content["schema"], kinds = reference(*answer.shapes), kinds or (JSON,)
    if answer.lines:
        content["x-lines"] = reference(*answer.lines)
    return said | ({"content": {kind: dict(content) for kind in kinds}} if kinds else {})


def _show(response: dict[str, Any], told: Operation, example: Example) -> None:
    """Put what was answered to the example there."""
    if "content" in response:
        content = next(iter(response["content"].values()))
        answer = _recorded().get(told.name, {}).get(example.name)
        shown = {"summary": example.summary, "value": answer}
        content.setdefault("examples", {})[example.name] = shown


@cache
def _recorded() -> Mapping[str, Mapping[str, Any]]:
    """What was answered to the examples, by operation and example."""
    text = resources.files(__package__).joinpath("answers.json").read_bytes()
    return msgspec.json.decode(text)  # type: ignore[no-any-return]
