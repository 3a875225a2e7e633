"""Who is asking: an API key in X-API-Key or Authorization: Bearer.

Answers of the store are kept for a short while, misses too, so that neither a fast sensor nor a
guesser costs a query per request. A revoked key stops, and a quota changes, within KEEP_S.
"""

from typing import Any

import attrs
import structlog
import trio

from atalaia.model.errors import Forbidden, Unauthenticated
from atalaia.model.principal import Principal
from atalaia.model.views import KeyRecord
from atalaia.ports import Queries
from atalaia.security.api_keys import PresentedKey, parse_key

KEEP_S = 5.0
KEEP_KEYS = 20_000  # and as many misses


@attrs.define(eq=False)
class Authenticator:
    """Looks keys up through the port, with a bounded cache.

    Misses are kept apart, so that guesses never crowd out the keys in use.
    """

    _queries: Queries
    _known: dict[str, tuple[float, KeyRecord | None]] = attrs.field(factory=dict)
    _unknown: dict[str, tuple[float, KeyRecord | None]] = attrs.field(factory=dict)

    async def principal(self, scope: dict[str, Any]) -> Principal:
        """Raises Unauthenticated; says the same for a malformed, unknown or revoked key."""
        presented = _presented(header_fields(scope))
        if presented is None:
            raise Unauthenticated
        record = await self._find(presented.key_id)
        if record is None or not presented.matches(record.hash):
            raise Unauthenticated
        structlog.contextvars.bind_contextvars(tenant_no=record.tenant_no)
        return Principal(
            record.tenant_no, record.tenant_id, presented.key_id, record.scopes, record.quota
        )

    async def _find(self, key_id: str) -> KeyRecord | None:
        now = trio.current_time()
        for cache in (self._known, self._unknown):
            kept = cache.get(key_id)
            if kept is not None and kept[0] > now:
                return kept[1]
        record = await self._queries.find_key(key_id)
        cache = self._unknown if record is None else self._known
        if len(cache) >= KEEP_KEYS:
            cache.clear()  # rarer and cheaper than keeping order
        cache[key_id] = (now + KEEP_S, record)
        return record


def header_fields(scope: dict[str, Any]) -> dict[bytes, str]:
    """The headers of an ASGI scope as text."""
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _presented(fields: dict[bytes, str]) -> PresentedKey | None:
    if (text := fields.get(b"x-api-key")) is not None:
        return parse_key(text)
    scheme, _, value = fields.get(b"authorization", "").partition(" ")
    return parse_key(value.strip()) if scheme.lower() == "bearer" else None


def require(principal: Principal | None, scope: str) -> None:
    """Raises Unauthenticated when nobody asks, Forbidden when the key lacks the scope."""
    if principal is None:
        raise Unauthenticated
    if scope not in principal.scopes:
        raise Forbidden(f"This key lacks the scope {scope}.")
