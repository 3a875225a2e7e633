"""The Quart application: routes, problem details, one canonical log line each."""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
import trio
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed

from atalaia.config.settings import ProxySettings, RateSettings
from atalaia.engine.asking import Asking
from atalaia.engine.edits import NoEngine
from atalaia.engine.gate import Gate
from atalaia.http import (
    alerts,
    api_keys,
    archive,
    audit,
    backtest,
    conditions,
    docs,
    explain,
    export,
    login,
    metrics,
    ops,
    profiles,
    render,
    rule_files,
    rules,
    sensor_files,
    sensors,
    series,
    settings,
    status,
    stream,
    tenants,
    tickets,
    users,
)
from atalaia.http.access import check_access
from atalaia.http.asgi import Front
from atalaia.http.aside import Aside
from atalaia.http.asked import check_asked
from atalaia.http.auth import Authenticator
from atalaia.http.browsers import Browsers
from atalaia.http.errors import PROBLEM_JSON, as_error, encode, headers, problem, status_of
from atalaia.http.ingest import ROUTES, IngestRoute, Take, find_face, into
from atalaia.http.once import Once
from atalaia.http.ops import Checks
from atalaia.http.peers import Peers
from atalaia.http.rates import Rates
from atalaia.http.room import AnswerRoom, BodyRoom
from atalaia.http.rule_checks import RuleChecks
from atalaia.http.sessions import Sessions
from atalaia.http.sockets import Sockets
from atalaia.http.turnstile import Turnstile
from atalaia.model.errors import AtalaiaError, NotFound, UnsupportedEncoding
from atalaia.model.principal import Principal
from atalaia.model.standing import Standing
from atalaia.ports import Queries, StoreRefused, StoreUnavailable
from atalaia.security.sealing import Seal
from atalaia.telemetry.metrics import REQUEST_SECONDS

log = structlog.get_logger()

MAX_BODY_BYTES = 8 * 1024 * 1024  # inflated too
NO_PROXIES, NO_MORE_THAN = ProxySettings(), RateSettings()


def create_app(
    gate: Gate | NoEngine,
    queries: Queries,
    *,
    sessions: Sessions,
    take: Take | None = None,
    checks: Checks | None = None,
    origins: Iterable[str] = (),
    rates: RateSettings = NO_MORE_THAN,
    proxies: ProxySettings = NO_PROXIES,
    mailed: bool = False,
    metrics_token: str | None = None,
) -> Browsers:
    """The whole face as one ASGI callable.

    sessions: of people, and with them all that is asked about users, keys, tenants and the audit.
    take: where readings go, when not to the gate. checks: what readiness asks beside the database.
    origins: whose pages may call from browsers. rates: of requests. proxies: that are in front.
    mailed: whether links for passwords are sent as mails, and so not shown. metrics_token: what
    `/metrics` asks for.
    """
    if take is None:
        if isinstance(gate, NoEngine):
            raise AssertionError("without an engine somebody else must take readings")
        take = into(gate, MAX_BODY_BYTES)
    app = QuartTrio("atalaia", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False  # it would answer with a redirect as HTML

    @app.before_request
    async def identify() -> Response | None:
        g.began = trio.current_time()
        g.request_id = request.scope["state"]["request_id"]
        g.principal = request.scope["state"].get("principal")
        if request.path in rules.QUESTIONS and request.method != "POST":
            allowed = ["OPTIONS", "POST"]  # the router would take it for the id of a rule
            if request.method != "OPTIONS":
                raise MethodNotAllowed(allowed)
            return Response(b"", headers={"allow": ", ".join(allowed)})
        if request.url_rule is not None and request.method != "OPTIONS":
            check_access(g.principal, request.method, request.url_rule.rule)
            check_asked(request.method, request.url_rule.rule)
            packed = request.headers.get("content-encoding", "identity").lower() != "identity"
            if packed and request.method not in ("GET", "HEAD"):
                raise UnsupportedEncoding("Send this body as it is, without a content-encoding.")
        return None

    @app.after_request
    async def finish(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "unknown"
        took_s = trio.current_time() - g.began
        REQUEST_SECONDS.labels(route, str(response.status_code)).observe(took_s)
        log.debug(
            "request_answered",
            method=request.method,
            route=route,
            status=response.status_code,
            took_ms=round(1e3 * took_s, 1),
        )
        response.headers["x-request-id"] = g.request_id
        if (following := render.link()) is not None:
            response.headers["link"] = following
        conditions.finish(response)
        return response

    _handle_errors(app)
    asking = Asking(queries)
    app.register_blueprint(sensors.blueprint(gate, queries, sessions.clock, asking))
    app.register_blueprint(series.blueprint(queries, asking))
    streams = stream.Streams()
    peers = Peers(proxies, Rates(rates), frozenset(origins))
    authenticator = Authenticator(queries, sessions, peers.check_lookup)
    check = authenticator.still
    app.register_blueprint(export.blueprint(queries, sessions.people, check))
    app.register_blueprint(stream.blueprint(gate, queries, streams, check))
    app.register_blueprint(settings.blueprint(gate, queries))
    aside = Aside()
    rule_checks = RuleChecks(queries, gate.retention_us, aside)
    app.register_blueprint(rules.blueprint(gate, queries, rule_checks))
    app.register_blueprint(rule_files.blueprint(gate, queries, aside))
    app.register_blueprint(sensor_files.blueprint(gate, queries, aside, check))
    app.register_blueprint(profiles.blueprint(gate, queries, rule_checks, aside, sessions.clock))
    app.register_blueprint(metrics.blueprint(queries, aside))
    app.register_blueprint(backtest.blueprint(queries))
    app.register_blueprint(explain.blueprint(gate, queries))
    app.register_blueprint(alerts.blueprint(queries))
    app.register_blueprint(status.blueprint(gate))
    app.register_blueprint(login.blueprint(sessions))
    app.register_blueprint(tickets.blueprint(sessions.people))
    app.register_blueprint(users.blueprint(sessions.people, mailed=mailed))
    app.register_blueprint(api_keys.blueprint(sessions.people, sessions.clock))
    app.register_blueprint(audit.blueprint(sessions.people))
    app.register_blueprint(tenants.blueprint(sessions.people, sessions.clock, mailed=mailed))
    app.register_blueprint(archive.blueprint(sessions.people, sessions.clock, check))
    leaving = trio.Event()
    app.register_blueprint(docs.blueprint())
    app.register_blueprint(
        ops.blueprint(gate, queries, checks or {}, leaving=leaving, metrics_token=metrics_token)
    )
    # The front takes POST; this says to other methods what is allowed.
    for route in ROUTES:
        app.add_url_rule(
            route, f"ingest {route}", methods=["POST"], provide_automatic_options=False
        )
    face: Any = app  # quart types its events more narrowly than ASGI does

    def admit(principal: Principal) -> None:
        gate.admit(principal.tenant_no, principal.quota)

    def standings(principal: Principal) -> Sequence[Standing]:
        tenant_no, quota = principal.tenant_no, principal.quota
        return gate.quotas.standings(tenant_no, quota, trio.current_time())

    room = BodyRoom()
    sockets = Sockets(take, admit, authenticator, sessions.clock, room, peers, leaving)

    def close() -> None:
        streams.close()
        leaving.set()

    front = Front(
        face,
        Once(face, sessions.people, Seal(sessions.keys.secrets)),
        IngestRoute(take, sessions.clock),
        find_face,
        authenticator,
        Turnstile(admit),
        peers,
        standings,
        MAX_BODY_BYTES,
        room,
        AnswerRoom(),
        sockets,
        close,
    )
    return Browsers(front, peers.origins)


def _handle_errors(app: QuartTrio) -> None:
    async def known(error: Exception) -> Response:
        ours = as_error(error)
        if status_of(ours)[0] == 500:
            log.error("request_failed", request_id=g.request_id, exc_info=error)
        return _problem(status_of(ours)[0], problem(ours, g.request_id), headers(ours))

    async def unknown(error: InternalServerError) -> Response:
        original = error.original_exception
        return await known(original if isinstance(original, Exception) else error)

    async def by_status(error: HTTPException) -> Response:
        status = error.code or 500
        ours: AtalaiaError = NotFound() if status == 404 else AtalaiaError(error.description)
        ours.code = (error.name or "error").lower().replace(" ", "_")
        body = problem(ours, g.request_id) | {
            "status": status,
            "title": (error.name or "Error").capitalize(),
        }
        methods = getattr(error, "valid_methods", None)
        kept = [("allow", ", ".join(methods))] if methods else []
        return _problem(status, body, kept)

    for kind in (AtalaiaError, StoreUnavailable, StoreRefused):
        app.register_error_handler(kind, known)
    # Not Exception: a handler for all would hide them from error trackers.
    app.register_error_handler(InternalServerError, unknown)
    app.register_error_handler(HTTPException, by_status)


def _problem(status: int, body: dict[str, Any], extra: list[tuple[str, str]]) -> Response:
    response = Response(encode(body), status, content_type=PROBLEM_JSON)
    for name, value in extra:
        response.headers[name] = value
    return response
