"""Bodies that take long to read, beside the event loop: one at a time, of each tenant in turn.

Every row of a body is looked at where a single one is not as it should be: up to half a second of
Python. In a thread that is nobody's wait but the sender's; two threads would only take the
interpreter from each other.
"""

from collections.abc import Callable

import attrs
import trio

from atalaia.engine.threads import LONG_NS, Threads
from atalaia.model.batch import Batch
from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Parsers:
    """Shared by all tenants; each has one body in the line."""

    _threads: Threads = attrs.field(factory=lambda: Threads(trio.CapacityLimiter(1)))
    _lines: dict[TenantNo, trio.Lock] = attrs.field(factory=dict)

    async def run(self, tenant_no: TenantNo, parse: Callable[[], Batch]) -> Batch:
        """Raises what parse raises. Cancelled: its end is still waited for."""
        line = self._lines.setdefault(tenant_no, trio.Lock())
        try:
            async with line:
                return await self._threads.run(LONG_NS, parse)
        finally:
            if not line.locked():
                self._lines.pop(tenant_no, None)
