"""Who is at the other end of a connection, with proxies in front or without, and what may come.

With N proxies of ours in front, each of which adds who spoke to it to X-Forwarded-For, the client
is the N-th from the right: what stands further left is whatever the client wrote itself.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from atalaia.config.settings import ProxySettings
from atalaia.http.rates import Rates, check
from atalaia.http.tickets import ticket_of
from atalaia.model.errors import ForeignOrigin, HttpsRequired, Unauthenticated
from atalaia.model.principal import Principal

Scope = dict[str, Any]


@attrs.frozen(eq=False)
class Peers:
    """One per process. origins: whose pages may call, such as `https://app.example`."""

    proxies: ProxySettings
    rates: Rates
    origins: frozenset[str] = frozenset()

    def see(self, scope: Scope) -> str:
        """The client's address, which the scope then has for everybody."""
        address = _of(scope)
        if self.proxies.hops:
            said = _nth(scope, b"x-forwarded-for", self.proxies.hops)
            address = _address(said) or address
            scope["client"] = address, 0
        return address

    def check_secure(self, scope: Scope) -> None:
        """Raises HttpsRequired for what came in clear to the proxy, where TLS is wanted."""
        public = self.proxies.public_url
        if not self.proxies.hops or public is None or not public.startswith("https://"):
            return
        # A proxy may write over what the one before it wrote: then there are fewer.
        said = _nth(scope, b"x-forwarded-proto", self.proxies.hops) or _nth(
            scope, b"x-forwarded-proto", 1
        )
        if said is not None and said.lower() in ("http", "ws"):
            raise HttpsRequired(
                f"This came in clear, and whatever was in it may have been read: use {public}"
            )

    def check_origin(self, scope: Scope) -> None:
        """Raises ForeignOrigin for a page that is not listed, where no CORS holds it back: at a
        WebSocket, and where a ticket is shown. Machines name no origin, or the one that they call.
        """
        if scope["type"] != "websocket" and ticket_of(scope) is None:
            return
        fields = dict(scope["headers"])
        origin = fields.get(b"origin", b"").decode("latin-1")
        if not origin:
            return
        host = fields.get(b"host", b"").decode("latin-1")
        # Behind a proxy that ends TLS nobody knows by which scheme the host was asked.
        own = {(self.proxies.public_url or "").rstrip("/"), f"https://{host}", f"http://{host}"}
        if origin not in self.origins | own:
            raise ForeignOrigin

    async def identify(
        self, find: Callable[[Scope], Awaitable[Principal]], scope: Scope
    ) -> Principal:
        """Whom `find` finds. Raises what it raises; TooManyRequests where a network fails often."""
        try:
            return await find(scope)
        except Unauthenticated:
            self.count_stranger(scope, failed=True)
            raise

    def check_lookup(self, scope: Scope) -> None:
        """Before a credential is looked up. Raises TooManyRequests for a network that guesses."""
        standings = self.rates.lookup(_of(scope), trio.current_time())
        if standings:
            scope["state"]["standings"] = standings
            check(standings)

    def count_stranger(self, scope: Scope, *, failed: bool = False) -> None:
        """Raises TooManyRequests. The scope's state has where its sender stands."""
        standings = self.rates.stranger(_of(scope), trio.current_time(), failed=failed)
        scope["state"]["standings"] = standings
        check(standings)

    def count(self, scope: Scope, principal: Principal) -> None:
        """The same of somebody who is known."""
        standings = self.rates.known(principal, trio.current_time())
        scope["state"]["standings"] = standings
        check(standings)


def _of(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _nth(scope: Scope, field: bytes, hops: int) -> str | None:
    """From the right, over all fields of the name; None where there are not so many."""
    sent = b",".join(value for name, value in scope["headers"] if name == field)
    values = sent.decode("latin-1").split(",")
    return values[-hops].strip() if len(values) >= hops else None


def _address(text: str | None) -> str | None:
    """Without a port and brackets; None for what is none."""
    if text is None:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
