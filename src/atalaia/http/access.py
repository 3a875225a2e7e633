"""Who may call what: one row for each route, and nothing for a route without one.

People need a role, keys a scope. The table is the only place that says so, but for routes where it
depends on what is asked; those ask `require` for more. `python -m tests.house.access` writes
docs/reference/access.md from it.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

from atalaia.http.auth import require
from atalaia.model.errors import Forbidden, Unauthenticated
from atalaia.model.principal import LEAST_ROLE, Principal, Role, Scope


@attrs.frozen
class Access:
    """role: the least that people need; "platform": those who look after all tenants; None: no
    credential is asked for. scope: what keys need; None: no key may.
    """

    role: Role | Literal["platform"] | None
    scope: Scope | Literal["any"] | None = None


def _of(scope: Scope) -> Access:
    return Access(LEAST_ROLE[scope], scope)


OPEN = Access(None)
ANYBODY = Access("viewer", "any")
PEOPLE = Access("viewer")
PLATFORM = Access("platform")

_TABLE: Mapping[Access, str] = {
    OPEN: """
        GET /
        GET /docs
        GET /docs/
        GET /docs/<file>
        GET /health
        GET /health/live
        GET /health/ready
        GET /ping
        GET /metrics
        GET /openapi.json
        POST /v1/auth/login
        POST /v1/auth/logout
        POST /v1/auth/password/forgot
        POST /v1/auth/password/reset
        POST /v1/auth/refresh
    """,
    ANYBODY: """
        GET /v1/me
        POST /v1/tickets
    """,
    PEOPLE: """
        POST /v1/auth/password
    """,
    _of("read"): """
        GET /v1/alerts
        GET /v1/alerts/<alert>
        GET /v1/alerts/<alert>/sparkline.svg
        GET /v1/export
        GET /v1/groups
        GET /v1/metrics
        GET /v1/profiles
        GET /v1/profiles/<name>
        GET /v1/rules
        GET /v1/rules/<rule>
        GET /v1/rules/<rule>/explain
        GET /v1/rules:export
        GET /v1/sensors
        GET /v1/sensors/<sensor>
        GET /v1/sensors/<sensor>/latest
        GET /v1/sensors/<sensor>/readings
        GET /v1/sensors:export
        GET /v1/settings
        GET /v1/settings/retention
        GET /v1/status
        GET /v1/stream
        POST /v1/query
        POST /v1/rules/backtest
        POST /v1/rules/check
        POST /v1/rules:import
    """,
    _of("ingest"): """
        POST /api/v1/<token>/telemetry
        POST /api/v2/write
        POST /v1/readings
        POST /write
    """,
    _of("rules"): """
        DELETE /v1/metrics/<path:metric>
        DELETE /v1/profiles/<name>
        DELETE /v1/rules/<rule>
        POST /v1/rules
        POST /v1/rules/<rule>/disable
        POST /v1/rules/<rule>/enable
        PUT /v1/metrics/<path:metric>
        PUT /v1/profiles/<name>
        PUT /v1/rules/<rule>
    """,
    _of("sensors"): """
        DELETE /v1/sensors/<sensor>
        PATCH /v1/sensors/<sensor>
        PATCH /v1/settings
        POST /v1/sensors
        POST /v1/sensors:import
        PUT /v1/sensors/<sensor>/tags
    """,
    _of("admin"): """
        DELETE /v1/api-keys/<key>
        DELETE /v1/users/<user>
        GET /v1/api-keys
        GET /v1/api-keys/<key>
        GET /v1/audit
        GET /v1/tenant/export
        GET /v1/users
        GET /v1/users/<user>
        PUT /v1/settings/retention
        PATCH /v1/users/<user>
        POST /v1/api-keys
        POST /v1/api-keys/<key>/rotate
        POST /v1/users
        POST /v1/users/<user>/link
    """,
    PLATFORM: """
        GET /v1/admin/tenants
        GET /v1/admin/tenants/<tenant>
        GET /v1/admin/tenants/<tenant>/erasure
        GET /v1/admin/tenants/<tenant>/export
        POST /v1/admin/tenants
        POST /v1/admin/tenants/<tenant>/erase
        POST /v1/admin/tenants/<tenant>/resume
        POST /v1/admin/tenants/<tenant>/suspend
    """,
}

ROUTES: Mapping[str, Access] = {
    line.strip(): access for access, lines in _TABLE.items() for line in lines.strip().splitlines()
}
"""By method and rule, as the router writes it."""

OPEN_PATHS = frozenset(
    route.partition(" ")[2] for route, access in ROUTES.items() if access == OPEN
)
"""Where no credential is asked for; none of them that takes a body has a variable part."""


def check_access(principal: Principal | None, method: str, rule: str) -> None:
    """Raises Unauthenticated or Forbidden, also for a route that the table does not know."""
    access = ROUTES.get(f"{'GET' if method == 'HEAD' else method} {rule}")
    if access is None:
        raise Forbidden("Nobody may do this: it is not said who may.")
    if access.role is None:
        return
    if principal is None:
        raise Unauthenticated
    person = principal.person
    if person is None:
        if access.scope is None:
            raise Forbidden("Only people may do this: sign in (POST /v1/auth/login).")
        if access.scope != "any":
            require(principal, access.scope)
    elif access.role == "platform":
        if not person.platform:
            raise Forbidden("Only those who look after all tenants may do this.")
    elif not person.is_at_least(access.role):
        raise Forbidden(f"This needs the role {access.role}.")
