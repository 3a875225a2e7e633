"""Who is asking: an API key in X-API-Key or Authorization (Bearer, or Telegraf's Token), or a
person's access token in Authorization: Bearer. A key begins with `atl_`, and no token does. Where
a ticket is understood and shown, it alone counts, and stands for whoever asked for it.

Answers of the store are kept for a short while, misses too, so that neither a fast sensor nor a
guesser costs a query per request. A revoked key stops, and a quota changes, within KEEP_S. While
the database is away a key that was good is believed on: readings go to RabbitMQ then, and to revoke
a key takes the database as well.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import attrs
import structlog
import trio

from atalaia.http.sessions import Sessions
from atalaia.http.tickets import ticket_of
from atalaia.model.audit import AuditEntry
from atalaia.model.errors import Conflict, Forbidden, NotFound, Suspended, Unauthenticated
from atalaia.model.principal import LEAST_ROLE, Principal, Scope
from atalaia.model.tickets import TicketHolder
from atalaia.model.views import KeyRecord
from atalaia.ports import Queries, StoreSlow, StoreUnavailable
from atalaia.security.api_keys import PREFIX, PresentedKey, hash_secret, parse_key
from atalaia.security.tokens import is_ticket
from atalaia.telemetry.secrets import redact

KEEP_S = 5.0
CHECK_S = 4.0  # whoever goes on is asked again: with KEEP_S a revocation takes less than ten
BELIEVE_S = 3_600.0  # an outage's sensors; who sends less often is not known when one begins
KEEP_KEYS = 20_000  # and as many misses


@attrs.define(eq=False)
class Authenticator:
    """Looks keys up through the port, with a bounded cache.

    Misses are kept apart, so that guesses never crowd out the keys in use.
    """

    _queries: Queries
    sessions: Sessions | None = None
    """Of people; without it only keys open anything."""
    may_look: Callable[[dict[str, Any]], None] | None = None
    """Asked before a key that is not kept is looked up. Raises TooManyRequests."""
    used: dict[str, float] = attrs.field(factory=dict)
    """Keys by when they were used last, in trio's time, since that was written down last."""
    _known: dict[str, tuple[float, KeyRecord | None]] = attrs.field(factory=dict)
    _unknown: dict[str, tuple[float, KeyRecord | None]] = attrs.field(factory=dict)

    async def principal(self, scope: dict[str, Any]) -> Principal:
        """Raises Unauthenticated, the same for a malformed, unknown or revoked credential;
        Suspended; Forbidden, NotFound or Conflict for another tenant than one's own.
        """
        return await self._principal(scope, begun=False)

    async def still(self, scope: dict[str, Any]) -> Principal:
        """The same of a request that was let in and goes on: its token may have run out since, but
        not its session, and its visit is written down already.
        """
        return await self._principal(scope, begun=True)

    async def _principal(self, scope: dict[str, Any], *, begun: bool) -> Principal:
        fields, asking = header_fields(scope), None if begun else scope
        ticket = ticket_of(scope)
        if ticket is not None:
            holder = scope["state"]["ticket"] if begun else await self._use(ticket, scope)
            principal, wanted = await self._of_ticket(holder), str(holder.tenant_id)
        else:
            principal = await self._of_headers(fields, asking)
            wanted = fields.get(b"x-tenant-id", str(principal.tenant_id))
        if wanted != str(principal.tenant_id):
            principal = await self._visit(principal, wanted, asking)
        structlog.contextvars.bind_contextvars(tenant_no=principal.tenant_no)
        return principal

    async def _of_headers(
        self, fields: dict[bytes, str], asking: dict[str, Any] | None
    ) -> Principal:
        presented = _presented(fields)
        if isinstance(presented, str) and self.sessions is not None:
            return await self.sessions.principal(presented, begun=asking is None)
        if not isinstance(presented, PresentedKey):
            raise Unauthenticated
        record = await self._find(presented.key_id, asking)
        if record is None or not presented.matches(record.hash):
            raise Unauthenticated
        return self._of_key(presented.key_id, record)

    async def _use(self, ticket: str, scope: dict[str, Any]) -> TicketHolder:
        """The scope's state has whose it was, for what goes on; nobody else is let in with it."""
        if self.sessions is None or not is_ticket(ticket):
            raise Unauthenticated
        if self.may_look is not None:
            self.may_look(scope)
        holder = await self.sessions.people.use_ticket(hash_secret(ticket))
        if holder is None:
            raise Unauthenticated("The ticket does not hold (any more): ask for another one.")
        scope["state"]["ticket"] = holder
        return holder

    async def _of_ticket(self, holder: TicketHolder) -> Principal:
        """As whoever asked for it is now."""
        if holder.session_id is not None and self.sessions is not None:
            return await self.sessions.holder(holder.session_id)
        record = None if holder.key_id is None else await self._find(holder.key_id, None)
        if record is None or holder.key_id is None:
            raise Unauthenticated
        return self._of_key(holder.key_id, record)

    def _of_key(self, key_id: str, record: KeyRecord) -> Principal:
        if record.suspended:
            raise Suspended
        self.used[key_id] = trio.current_time()
        return Principal(
            record.tenant_no,
            record.tenant_id,
            key_id,
            record.scopes,
            record.quota,
            key_name=record.name,
        )

    async def _visit(
        self, principal: Principal, wanted: str, noted: dict[str, Any] | None
    ) -> Principal:
        """Another tenant, for those who look after all. noted: the scope that it finds in its
        audit.
        """
        person = principal.person
        if person is None or not person.platform or self.sessions is None:
            raise Forbidden("X-Tenant-Id is for those who look after all tenants.")
        tenant_id = _uuid(wanted)
        tenant_no = None if tenant_id is None else await self._queries.find_tenant(tenant_id)
        if tenant_id is None or tenant_no is None:
            raise NotFound("There is no tenant with this id.")
        if await self.sessions.people.erasure(tenant_id) is not None:
            raise Conflict("This tenant is being erased.", code="erasing")
        quota = await self._queries.tenant_quota(tenant_no)
        if noted is not None:
            asked = {"method": noted.get("method", noted["type"]), "path": redact(noted["path"])}
            entry = AuditEntry(principal.actor, "tenant.visited", str(tenant_id), asked)
            await self.sessions.people.record(tenant_no, entry)
        return attrs.evolve(principal, tenant_no=tenant_no, tenant_id=tenant_id, quota=quota)

    async def _find(self, key_id: str, asking: dict[str, Any] | None) -> KeyRecord | None:
        now = trio.current_time()
        for cache in (self._known, self._unknown):
            kept = cache.get(key_id)
            if kept is not None and kept[0] > now:
                return kept[1]
        if asking is not None and self.may_look is not None:
            self.may_look(asking)
        try:
            record = await self._queries.find_key(key_id)
        except StoreSlow:  # the database is there
            raise
        except StoreUnavailable:
            believed = self._believed(key_id, now)
            if believed is None:
                raise
            return believed
        self._known.pop(key_id, None)
        cache = self._unknown if record is None else self._known
        if len(cache) >= KEEP_KEYS:
            cache.clear()  # rarer and cheaper than keeping order
        cache[key_id] = (now + KEEP_S, record)
        return record

    def _believed(self, key_id: str, now: float) -> KeyRecord | None:
        """What a key stood for when it was looked up last, if that may still be so."""
        until, record = self._known.get(key_id, (0.0, None))
        if record is None or until + BELIEVE_S <= now:
            return None
        ended = record.left_s is not None and until - KEEP_S + record.left_s <= now
        return None if ended else record

    def drop_stale(self) -> None:
        """Nothing is kept of a key that nobody uses, nor of a tenant that is gone."""
        now = trio.current_time()
        for cache, more_s in ((self._known, BELIEVE_S), (self._unknown, 0.0)):
            for key_id in [one for one, (until, _) in cache.items() if until + more_s <= now]:
                del cache[key_id]


def header_fields(scope: dict[str, Any]) -> dict[bytes, str]:
    """The headers of an ASGI scope as text."""
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _presented(fields: dict[bytes, str]) -> PresentedKey | str | None:
    """A key, or the text of what may be an access token."""
    if (text := fields.get(b"x-api-key")) is not None:
        return parse_key(text)
    scheme, _, value = fields.get(b"authorization", "").partition(" ")
    if scheme.lower() not in ("bearer", "token"):
        return None
    value = value.strip()
    if value.startswith(PREFIX) or scheme.lower() == "token":
        return parse_key(value)
    return value


def require(principal: Principal | None, scope: Scope) -> None:
    """Raises Unauthenticated when nobody asks, Forbidden when they may not."""
    if principal is None:
        raise Unauthenticated
    if principal.may(scope):
        return
    if principal.person is None:
        raise Forbidden(f"This key lacks the scope {scope}.")
    raise Forbidden(f"This needs the role {LEAST_ROLE[scope]}.")
