"""What may be under way for one tenant, so that it leaves room for others: how many of a kind, and
how many readings.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from atalaia.model.errors import Busy, Invalid
from atalaia.model.ids import TenantNo


@attrs.define(eq=False)
class Turns:
    """most: of one tenant; the others are refused with this detail and code (else Busy's)."""

    most: int
    _detail: str
    _code: str | None = None
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


@attrs.define(eq=False)
class RowRoom:
    """How many readings questions may have read and not answered yet: those of one tenant, and all
    together.
    """

    tenant_most: int
    total_most: int
    _total: int = 0
    _held: Counter[TenantNo] = attrs.field(factory=Counter)

    @contextmanager
    def budget(self, tenant_no: TenantNo, most: int) -> Iterator["Budget"]:
        """Of one question, which may read so many; leaving gives back what it took."""
        budget = Budget(self, tenant_no, most)
        try:
            yield budget
        finally:
            self._total -= budget.spent
            self._held[tenant_no] -= budget.spent
            if not self._held[tenant_no]:
                del self._held[tenant_no]

    def take(self, tenant_no: TenantNo, rows: int) -> None:
        if self._held[tenant_no] + rows > self.tenant_most or self._total + rows > self.total_most:
            raise Busy(
                "As many readings are looked through as may be at once; try again after the delay, "
                "or ask for less.",
                code="too_many_queries",
            )
        self._held[tenant_no] += rows
        self._total += rows


@attrs.define(eq=False)
class Budget:
    """Made by `RowRoom`. spent: in rows."""

    _room: RowRoom
    _tenant_no: TenantNo
    most: int
    spent: int = 0

    def spend(self, rows: int) -> None:
        """Raises Invalid for more than one question may read, Busy for more than there is now."""
        if self.spent + rows > self.most:
            raise Invalid(
                f"More than {self.most:,} readings would have to be read; ask for a shorter "
                "range, fewer series, or longer buckets without p50 and p95.",
                code="too_many_readings",
            )
        self._room.take(self._tenant_no, rows)
        self.spent += rows
