"""The document itself, put together of the subjects, the access table, bodies and errors."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, assert_never

import msgspec

from atalaia.http.access import ROUTES, Access
from atalaia.http.openapi import problems, requests, responses
from atalaia.http.openapi.around import complete
from atalaia.http.openapi.operation import (
    Answer,
    Body,
    Example,
    Of,
    Operation,
    Parameter,
    Subject,
    components,
)
from atalaia.http.openapi.parameters import OF_PATHS, SHOWN, UUID
from atalaia.http.openapi.subjects import SUBJECTS
from atalaia.http.tickets import STREAM_PATH

_VARIABLE = re.compile(r"<(?:path:)?(\w+)>")
ABOUT = """\
Readings in, rules over sliding windows, alerts out. A reading that is answered with 200 is stored.

Errors are problem documents (RFC 9457) with a `code` for programs. Lists come in pages: pass
`next_cursor` as `cursor`, or follow `Link`. Times are RFC 3339 in UTC; where times are asked for,
epoch milliseconds will do. Readings may come over a WebSocket too (`/v1/ingest`), which this
document has no words for."""
TENANT = Parameter(
    "X-Tenant-Id",
    "Another tenant than one's own, for those who look after all; the audit of that tenant has it.",
    UUID,
    "header",
)
SCHEMES = {
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A person's, of `POST /v1/auth/login`. A key is taken here too.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "A key as Telegraf sends it: `Token <key>`.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Of Influx clients: the password is a key, the user's name does not matter.",
    },
    "parameter": {
        "type": "apiKey",
        "in": "query",
        "name": "p",
        "description": "A key where InfluxDB 1 has the password.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "Of `POST /v1/tickets`, once: for an `EventSource`, which sends no headers.",
    },
}


@cache
def operations() -> dict[str, tuple[Subject, Operation]]:
    """By route, as the access table writes it."""
    return {
        route: (subject, complete(route, operation))
        for subject in SUBJECTS
        for route, operation in subject.operations.items()
    }


def template(rule: str) -> str:
    """A rule of the router as OpenAPI writes it."""
    return _VARIABLE.sub(r"{\1}", rule)


@cache
def document() -> bytes:
    """As it is served: a function of the source alone."""
    return msgspec.json.encode(build())


def build() -> dict[str, Any]:
    """As Python has it."""
    paths: dict[str, dict[str, Any]] = {}
    for route, (subject, operation) in operations().items():
        method, _, rule = route.partition(" ")
        told = _operation(subject, operation, rule, ROUTES[route])
        paths.setdefault(template(rule), {})[method.lower()] = told
    _, shapes = components([problems.Problem, problems.InfluxError, *_shapes()])
    bodies = {
        of.kind.__name__: requests.schema(of)
        for _, operation in operations().values()
        if operation.body is not None
        for of in operation.body.content.values()
        if isinstance(of, Of)
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Atalaia",
            "version": version("atalaia"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": one.name, "description": one.description} for one in SUBJECTS],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": SCHEMES,
            "parameters": {"Tenant": _parameter(TENANT, ())},
            "headers": responses.HEADERS,
            "responses": responses.shared(),
            "schemas": dict(sorted((shapes | bodies).items())),
        },
    }


def _shapes() -> Iterator[Any]:
    for _, operation in operations().values():
        for answer in (*operation.answers.values(), *operation.errors.values()):
            if isinstance(answer, Answer):
                yield from (*answer.shapes, *answer.lines)


def _operation(subject: Subject, told: Operation, rule: str, access: Access) -> dict[str, Any]:
    variables = _VARIABLE.findall(rule)
    parameters = [
        _parameter(one, told.examples)
        for one in (*(OF_PATHS[name] for name in variables), *told.parameters)
    ]
    if access.role is not None:
        parameters.append({"$ref": "#/components/parameters/Tenant"})
    body = None if told.body is None else _body(told.body, told.examples)
    said: dict[str, Any] = {
        "operationId": told.name,
        "summary": told.summary,
        "description": "\n\n".join(filter(None, (told.description, _who(access)))),
        "tags": [subject.name],
        "parameters": parameters,
        "requestBody": body,
        "responses": responses.by_status(told, rule, access),
        "security": _security(told, access, rule),
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def _parameter(told: Parameter, examples: Sequence[Example]) -> dict[str, Any]:
    shown = {
        one.name: {"value": value} for one in examples if (value := _value(told, one)) is not None
    }
    said: dict[str, Any] = {
        "name": told.name,
        "in": told.where,
        "description": told.description,
        "required": told.required or told.where == "path",
        "schema": told.schema,
    }
    if told.schema.get("type") == "array":
        said |= {"style": "form", "explode": False}
    return said | ({"examples": shown} if shown else {})


def _value(told: Parameter, example: Example) -> Any:
    match told.where:
        case "path":
            return example.path.get(told.name, SHOWN.get(told.name))
        case "query":
            return example.query.get(told.name)
        case "header":
            return example.headers.get(told.name)
        case where:
            assert_never(where)


def _body(body: Body, examples: Sequence[Example]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media_type, known in body.content.items():
        schema = known
        if isinstance(known, Of):
            schema = {"$ref": f"#/components/schemas/{known.kind.__name__}"}
        shown = {
            one.name: {"summary": one.summary, "value": one.body}
            for one in examples
            if one.body is not None and one.content_type == media_type
        }
        content[media_type] = {"schema": schema} | ({"examples": shown} if shown else {})
    return {"required": body.required, "content": content}


def _who(access: Access) -> str:
    if access.role is None:
        return ""
    if access.role == "platform":
        return "For those who look after all tenants."
    people = f"People need the role `{access.role}`"
    match access.scope:
        case None:
            return f"{people}; keys may not."
        case "any":
            return f"{people}; any key will do."
        case scope:
            return f"{people}, keys the scope `{scope}`."


def _security(told: Operation, access: Access, rule: str) -> list[dict[str, list[str]]]:
    """Roles and scopes stand where OpenAPI 3.1 has them."""
    if access.role is None or "<token>" in rule:
        return []
    schemes: list[dict[str, list[str]]] = [{"accessToken": [access.role]}]
    if access.scope is not None:
        scopes = [] if access.scope == "any" else [access.scope]
        names = ["apiKey", "token"]
        if told.face == "influx":
            names += ["basic", "parameter"] if rule == "/write" else ["basic"]
        schemes += [{name: list(scopes)} for name in names]
    if rule == STREAM_PATH:
        schemes.append({"ticket": [access.role]})
    return schemes
