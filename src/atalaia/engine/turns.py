"""How many of a kind may be under way for one tenant, so that it leaves room for others."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from atalaia.model.errors import Busy
from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Turns:
    """most: of one tenant; the others are refused with this detail and code."""

    most: int
    _detail: str
    _code: str
    _running: Counter[TenantNo] = attrs.field(factory=Counter)

    @contextmanager
    def one(self, tenant_no: TenantNo) -> Iterator[None]:
        """Around one of them. Raises Busy."""
        if self._running[tenant_no] >= self.most:
            raise Busy(self._detail, code=self._code)
        self._running[tenant_no] += 1
        try:
            yield
        finally:
            self._running[tenant_no] -= 1
            if not self._running[tenant_no]:
                del self._running[tenant_no]
