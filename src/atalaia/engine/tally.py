"""What was committed, in one line a second: a person reads along, however high the rate is."""

import attrs
import structlog
import trio

from atalaia.model.ids import TenantNo

log = structlog.get_logger()

INTERVAL_S = 1.0


@attrs.define(eq=False)
class Tally:
    """The sum over the commits since the last line."""

    _groups: int = 0
    _rows: int = 0
    _tenants: set[TenantNo] = attrs.field(factory=set)
    _slowest_s: float = 0.0

    def add(self, rows: int, tenants: set[TenantNo], took_s: float) -> None:
        self._groups += 1
        self._rows += rows
        self._tenants |= tenants
        self._slowest_s = max(self._slowest_s, took_s)

    def report(self) -> None:
        """Say what there is to say, and begin anew."""
        if self._groups:
            log.info(
                "readings_committed",
                rows=self._rows,
                groups=self._groups,
                tenants=len(self._tenants),
                slowest_ms=round(1e3 * self._slowest_s, 1),
            )
            self._groups, self._rows, self._slowest_s = 0, 0, 0.0
            self._tenants.clear()

    async def run(self) -> None:
        """Report until cancelled, and then what is left."""
        try:
            while True:
                await trio.sleep(INTERVAL_S)
                self.report()
        finally:
            self.report()
