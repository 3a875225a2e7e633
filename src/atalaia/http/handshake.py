"""The handshake of a WebSocket: which bodies will come, and how it is refused."""

import re
from typing import Any

from atalaia.http.errors import PROBLEM_JSON, encode, headers, problem, status_of
from atalaia.http.faces import JSON_PARAMETERS, Scope, json_options
from atalaia.http.influx import LINE_PARAMETERS, InfluxFace
from atalaia.http.params import check_known, parameters
from atalaia.model.errors import AtalaiaError, Invalid
from atalaia.model.principal import Principal
from atalaia.wire.options import WireOptions

_PROTOCOL = re.compile(r"atalaia\.(json|ndjson|line)")


def protocol_of(scope: Scope) -> str:
    """Which bodies come. Raises Invalid (`bad_parameter`)."""
    offered = [name for name in scope["subprotocols"] if _PROTOCOL.fullmatch(name)]
    asked = parameters(scope).get("format")
    if offered:
        return str(offered[0])
    name = f"atalaia.{asked or 'json'}"
    if scope["subprotocols"] or not _PROTOCOL.fullmatch(name):
        raise Invalid(
            "The subprotocol is atalaia.json, atalaia.ndjson or atalaia.line; without one, format "
            "is json, ndjson or line.",
            code="bad_parameter",
        )
    return name


def options_of(scope: Scope, principal: Principal, protocol: str) -> WireOptions:
    """As over HTTP. Raises Invalid."""
    line = protocol == "atalaia.line"
    check_known(
        parameters(scope), ("format", "ticket", *(LINE_PARAMETERS if line else JSON_PARAMETERS))
    )
    match protocol:
        case "atalaia.line":
            return InfluxFace(v1=False).options(scope, principal, 0)
        case "atalaia.ndjson":
            return json_options(parameters(scope), "ndjson")
        case _:
            return json_options(parameters(scope), "json")


async def refuse(send: Any, error: AtalaiaError, request_id: str) -> None:
    """As an HTTP answer, before there is a socket."""
    pairs = [("content-type", PROBLEM_JSON), ("connection", "close"), *headers(error)]
    pairs.append(("x-request-id", request_id))
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    status = status_of(error)[0]
    await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
    body = encode(problem(error, request_id))
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
