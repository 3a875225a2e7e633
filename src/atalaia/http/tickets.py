"""Tickets: what a browser shows where it can send no header, in `?ticket=`.

An `EventSource` and a `WebSocket` send none of the page's headers, and a token in an address would
hold for as long as logs remember it. A ticket is used once, within seconds, at two places alone.
"""

from typing import Any

from quart import Blueprint, g

from atalaia.http.params import parameters
from atalaia.model.principal import Principal
from atalaia.model.tickets import TicketHolder
from atalaia.people import Tickets
from atalaia.security.api_keys import hash_secret
from atalaia.security.tokens import TICKET_LIVES_S, new_ticket

STREAM_PATH, SOCKET_PATH = "/v1/stream", "/v1/ingest"
_UNDERSTOOD = {("http", "GET", STREAM_PATH), ("websocket", None, SOCKET_PATH)}


def ticket_of(scope: dict[str, Any]) -> str | None:
    """What is shown as a ticket, where one is understood."""
    if (scope.get("type"), scope.get("method"), scope.get("path")) not in _UNDERSTOOD:
        return None
    return parameters(scope).get("ticket")


def holder_of(principal: Principal) -> TicketHolder:
    """Whoever asks for one. Those who visit another tenant get one for that."""
    if principal.person is None:
        return TicketHolder(principal.tenant_id, key_id=principal.key_id)
    return TicketHolder(principal.tenant_id, session_id=principal.person.session_id)


def blueprint(tickets: Tickets) -> Blueprint:
    """`/v1/tickets`."""
    routes = Blueprint("tickets", __name__)

    @routes.post("/v1/tickets")
    async def issue() -> tuple[dict[str, Any], int]:
        text, principal = new_ticket(), g.principal
        await tickets.issue_ticket(
            principal.tenant_no, hash_secret(text), holder_of(principal), lives_s=TICKET_LIVES_S
        )
        return {"ticket": text, "expires_in": TICKET_LIVES_S}, 201

    return routes
