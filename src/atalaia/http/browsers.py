"""What browsers must be told with every answer: what may be done with it, and by whose pages.

Headers of the OWASP Secure Headers Project; CORS as of the Fetch standard. Nothing here goes by
cookies, so that no page of anybody can act in a user's name.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from atalaia.http.asgi import Front
from atalaia.http.auth import header_fields
from atalaia.http.incoming import ClientGone, Incoming, Receive, Scope, Send

ALWAYS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Unless an answer says otherwise itself."""

METHODS = b"GET, POST, PUT, PATCH, DELETE"
SENT = (
    b"authorization, content-encoding, content-type, idempotency-key, if-match, if-none-match, "
    b"last-event-id, x-api-key, x-tenant-id"
)
SHOWN = (
    b"etag, idempotency-replayed, link, location, ratelimit, ratelimit-policy, retry-after, "
    b"x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-request-id"
)
MAX_AGE_S = b"600"


@attrs.frozen(eq=False)
class Browsers:
    """Outside of everything else. origins: whose pages may call, such as `https://app.example`."""

    app: Front
    origins: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fields = header_fields(scope) if self.origins or scope["method"] == "OPTIONS" else {}
        cors = self._cors(fields)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in fields:
            await self._preflight(receive, send, cors)
            return

        async def told(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                event = event | {"headers": _with(event["headers"], cors)}
            await send(event)

        await self.app(scope, receive, told)

    def _cors(self, fields: Mapping[bytes, str]) -> list[tuple[bytes, bytes]]:
        if not self.origins:
            return []
        said = [(b"vary", b"origin")]
        origin = fields.get(b"origin")
        if origin in self.origins and origin is not None:
            said += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", SHOWN),
            ]
        return said

    async def _preflight(
        self, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
    ) -> None:
        """May this page send that? Whose page it is says all: every route may be asked."""
        try:
            await Incoming(receive).discard()
        except ClientGone:
            return
        if len(cors) > 1:
            cors = [
                *cors,
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", SENT),
                (b"access-control-max-age", MAX_AGE_S),
            ]
        headers = _with([], cors)
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _with(
    headers: list[tuple[bytes, bytes]], cors: list[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    own = {bytes(name).lower() for name, _ in headers}
    return [*headers, *(pair for pair in ALWAYS if pair[0] not in own), *cors]
