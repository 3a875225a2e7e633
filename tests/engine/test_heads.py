"""Where audits end is told to the log."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

import attrs
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from atalaia.engine.heads import AGAIN_S, EVERY_S, telling_heads
from atalaia.model.audit import ChainHead
from atalaia.people import Audit
from atalaia.ports import StoreUnavailable

ONE, TWO = UUID(int=1), UUID(int=2)


@attrs.define(eq=False)
class Chains:
    ends: dict[UUID, int]
    away: bool = False

    async def heads(self) -> Sequence[ChainHead]:
        if self.away:
            raise StoreUnavailable("away")
        return [ChainHead(tenant, seq, bytes([seq])) for tenant, seq in self.ends.items()]


async def test_each_day_tells_of_those_that_went_on(autojump_clock: MockClock) -> None:
    """At the start of all; an outage is waited for, and hides nothing."""
    chains = Chains({ONE: 3, TWO: 1}, away=True)
    with capture_logs() as logs:
        async with telling_heads(cast("Audit", chains)):
            await trio.sleep(1)
            assert [line["event"] for line in logs] == ["audit_heads_unknown"]
            chains.away = False
            await trio.sleep(AGAIN_S)
            told = [(line["tenant_id"], line["seq"], line["hash"]) for line in logs[1:]]
            assert told == [(str(ONE), 3, "03"), (str(TWO), 1, "01")]
            chains.ends[ONE] = 4
            await trio.sleep(EVERY_S)
            assert [(line["tenant_id"], line["seq"]) for line in logs[3:]] == [(str(ONE), 4)]
