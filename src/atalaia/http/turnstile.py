"""Where requests of a tenant wait while its quota is used up, for a second at most.

`Retry-After` counts whole seconds: without this line whoever obeys it would get a fraction of its
quota, and whoever does not could ask a thousand times a second. Bodies that wait are not read.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from atalaia.model.errors import QuotaUsedUp
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal

HOLD_S = 1.0
SLOW_S = 0.25  # then whoever went in is not waited for any longer
MOST_HELD = 100  # per tenant; the server's own buffers may hold 640 KiB of each body


@attrs.define(eq=False)
class _Line:
    """paid: set when whoever went in last has been counted."""

    lock: trio.Lock = attrs.field(factory=trio.Lock)
    paid: trio.Event = attrs.field(factory=trio.Event)
    held: int = 0

    def __attrs_post_init__(self) -> None:
        self.paid.set()


@attrs.frozen(eq=False)
class Turnstile:
    """ask: raises what a request is to be answered with instead of being taken."""

    ask: Callable[[Principal], None]
    _lines: dict[TenantNo, _Line] = attrs.field(factory=dict)

    @asynccontextmanager
    async def passed(self, principal: Principal) -> AsyncIterator[None]:
        """Inside, the body may be read; leaving it, whoever counts it must do so at once.

        Those who had to wait go in one after the other, so that each finds what the one before it
        has left. Raises what `ask` raises, QuotaUsedUp after the wait alone.
        """
        try:
            self.ask(principal)
        except QuotaUsedUp as refused:
            paid = await self._wait(principal, refused)
        else:
            yield
            return
        try:
            yield
        finally:
            paid.set()

    async def _wait(self, principal: Principal, refused: QuotaUsedUp) -> trio.Event:
        """Returns an event to be set when this one has been counted."""
        line = self._lines.setdefault(principal.tenant_no, _Line())
        if line.held >= MOST_HELD:
            raise refused
        line.held += 1
        try:
            with trio.move_on_after(HOLD_S):
                async with line.lock:
                    with trio.move_on_after(SLOW_S):
                        await line.paid.wait()
                    wait_s = self._wait_s(principal)
                    while wait_s > 0:
                        await trio.sleep(wait_s)
                        wait_s = self._wait_s(principal)
                    line.paid = trio.Event()
                    return line.paid
            self.ask(principal)
            raise refused  # tokens are there, but others were before it
        finally:
            line.held -= 1
            if not line.held:
                del self._lines[principal.tenant_no]

    def _wait_s(self, principal: Principal) -> float:
        try:
            self.ask(principal)
        except QuotaUsedUp as refused:
            return refused.wait_s
        return 0.0
