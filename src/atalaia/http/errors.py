"""One table from errors to RFC 9457 problem details."""

import random
from typing import Any

import attrs
import msgspec

from atalaia.model.errors import (
    AtalaiaError,
    Busy,
    Conflict,
    Forbidden,
    InProgress,
    Invalid,
    KeyReused,
    NotFound,
    NotInstalled,
    Overloaded,
    PreconditionFailed,
    RuleFileInvalid,
    RuleInvalid,
    TooLarge,
    TooSlow,
    Unauthenticated,
    Unavailable,
    UnsupportedEncoding,
)
from atalaia.ports import StoreSlow, StoreUnavailable
from atalaia.telemetry.secrets import redacted

PROBLEM_JSON = "application/problem+json"
SPREAD_S = 2

STATUS: dict[type[AtalaiaError], tuple[int, str]] = {
    RuleInvalid: (422, "The rule cannot be understood"),
    RuleFileInvalid: (422, "The file of rules cannot be understood"),
    Invalid: (400, "The request cannot be understood"),
    TooLarge: (413, "The body is too large"),
    TooSlow: (408, "Too slow"),
    UnsupportedEncoding: (415, "The content encoding is not supported"),
    Unauthenticated: (401, "No valid credential"),
    Forbidden: (403, "Not allowed"),
    NotFound: (404, "Not found"),
    Conflict: (409, "Conflict with what is stored"),
    PreconditionFailed: (412, "Changed meanwhile"),
    InProgress: (409, "Under way already"),
    KeyReused: (422, "The key of another request"),
    Busy: (429, "Too many at once"),
    Overloaded: (429, "Too much at once"),
    NotInstalled: (501, "Not installed here"),
    Unavailable: (503, "Not available now"),
}


def status_of(error: AtalaiaError) -> tuple[int, str]:
    """HTTP status and title of an error, by its nearest listed class."""
    if error.code == "dead_lettered":
        return 422, "The readings were refused by the database"
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500, "Internal error"


def as_error(error: Exception) -> AtalaiaError:
    """Our error for whatever was raised; the unknown becomes a bare internal error."""
    if isinstance(error, AtalaiaError):
        return error
    if isinstance(error, StoreSlow):
        return Unavailable("The query took too long; ask for less, such as a shorter range.")
    if isinstance(error, StoreUnavailable):
        return Unavailable("The database does not answer; try again after the delay.")
    return AtalaiaError("Something went wrong here; the log has it under this request_id.")


def problem(error: AtalaiaError, request_id: str, **extra: Any) -> dict[str, Any]:
    """The body. Never holds what the client must not see, nor a secret that it repeats."""
    status, title = status_of(error)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
    }
    if isinstance(error, Overloaded) and error.bucket is not None:
        body["bucket"] = error.bucket
    if isinstance(error, RuleInvalid):
        body |= {"line": error.line, "column": error.column, "caret": error.caret}
    elif isinstance(error, RuleFileInvalid):
        body["problems"] = [attrs.asdict(fault) for fault in error.faults]
    elif isinstance(error, Invalid) and error.problems:
        body["problems"] = [{"where": p.where, "detail": p.detail} for p in error.problems]
    said: dict[str, Any] = redacted("", body)
    return said | extra


def headers(error: AtalaiaError) -> list[tuple[str, str]]:
    """What the status demands beside the body."""
    if isinstance(error, Unavailable):  # which all are told at once, and must not come at once
        wait_s = error.retry_after_s + random.randint(0, SPREAD_S)  # noqa: S311 - no secret
        return [("retry-after", str(wait_s))]
    if isinstance(error, Overloaded):
        return [("retry-after", str(error.retry_after_s))]
    if isinstance(error, Unauthenticated):
        return [("www-authenticate", 'Bearer realm="atalaia"')]
    return []


def encode(body: object) -> bytes:
    return msgspec.json.encode(body)
