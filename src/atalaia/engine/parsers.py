"""Bodies that take long to read or to write anew, beside the event loop: one at a time, of each
tenant in turn.

Every row of a body is looked at where a single one is not as it should be: up to half a second of
Python. In a thread that is nobody's wait but the sender's; two threads would only take the
interpreter from each other.
"""

from collections.abc import Callable
from typing import TypeVar

import attrs
import trio

from atalaia.engine.threads import LONG_NS, Threads
from atalaia.model.ids import TenantNo

T = TypeVar("T")

WRITTEN_ANEW_NS = 3_000  # a row


@attrs.define(eq=False)
class Parsers:
    """Shared by all tenants; each has one body in the line."""

    _threads: Threads = attrs.field(factory=lambda: Threads(trio.CapacityLimiter(1)))
    _lines: dict[TenantNo, trio.Lock] = attrs.field(factory=dict)

    async def run(self, tenant_no: TenantNo, work: Callable[[], T], ns: float = LONG_NS) -> T:
        """work(), which takes about ns: what is short stays here. Raises what it raises.
        Cancelled: its end is still waited for.
        """
        if ns < LONG_NS:
            return work()
        line = self._lines.setdefault(tenant_no, trio.Lock())
        try:
            async with line:
                return await self._threads.run(ns, work)
        finally:
            if not line.locked():
                self._lines.pop(tenant_no, None)
