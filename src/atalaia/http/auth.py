"""Who is asking: an API key in X-API-Key or Authorization: Bearer.

Answers of the store are kept for a short while, misses too, so that neither a fast sensor nor a
guesser costs a query per request. A revoked key stops within KEEP_S.
"""

import attrs
import structlog
import trio

from atalaia.model.errors import Forbidden, Unauthenticated
from atalaia.model.principal import Principal
from atalaia.model.views import KeyRecord
from atalaia.ports import Queries
from atalaia.security.api_keys import parse_key

KEEP_S = 5.0
KEEP_KEYS = 20_000


@attrs.define(eq=False)
class Authenticator:
    """Looks keys up through the port, with a bounded cache."""

    _queries: Queries
    _cache: dict[str, tuple[float, KeyRecord | None]] = attrs.field(factory=dict)

    async def principal(self, x_api_key: str | None, authorization: str | None) -> Principal:
        """Raises Unauthenticated; says the same for a malformed, unknown or revoked key."""
        text = x_api_key
        if text is None and authorization is not None:
            scheme, _, value = authorization.partition(" ")
            text = value.strip() if scheme.lower() == "bearer" else None
        if text is None:
            raise Unauthenticated
        presented = parse_key(text)
        if presented is None:
            raise Unauthenticated
        record = await self._find(presented.key_id)
        if record is None or not presented.matches(record.hash):
            raise Unauthenticated
        structlog.contextvars.bind_contextvars(tenant_no=record.tenant_no)
        return Principal(record.tenant_no, record.tenant_id, presented.key_id, record.scopes)

    async def _find(self, key_id: str) -> KeyRecord | None:
        now = trio.current_time()
        kept = self._cache.get(key_id)
        if kept is not None and kept[0] > now:
            return kept[1]
        record = await self._queries.find_key(key_id)
        if len(self._cache) >= KEEP_KEYS:
            self._cache.clear()  # rarer and cheaper than keeping order
        self._cache[key_id] = (now + KEEP_S, record)
        return record


def require(principal: Principal, scope: str) -> None:
    """Raises Forbidden when the key lacks the scope."""
    if scope not in principal.scopes:
        raise Forbidden(f"This key lacks the scope {scope}.")
