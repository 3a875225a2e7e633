"""What the role `http` counts of a tenant's quota: nobody does it again."""

import gzip
import json
from typing import cast
from uuid import uuid4

import pytest

from atalaia.amqp.intake import QueueIntake
from atalaia.amqp.publisher import Publisher
from atalaia.engine.clock import SystemClock
from atalaia.engine.edits import Edits, NoEngine
from atalaia.engine.ingest import Body, parse_beside
from atalaia.engine.limits import EngineLimits
from atalaia.engine.quota import Quotas
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Principal
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.wire.options import WireOptions
from tests.stack import START_MS, row

ROWS = json.dumps([row(START_MS + n, n) for n in range(2_000)]).encode()
MAX_BYTES = 8 << 20


class Nowhere:
    """A publisher that takes everything."""

    async def publish(self, *messages: object) -> None:
        assert messages


class Counting(NoEngine):
    """Of the role `http`, and what it was paid, in bytes."""

    paid = 0

    def pay(
        self, tenant_no: TenantNo, quota: Quota = NO_QUOTA, *, readings: int = 0, size: int = 0
    ) -> None:
        type(self).paid += size


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_bytes_are_paid_as_they_are_inflated(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in every role."""
    monkeypatch.setattr(Counting, "paid", 0)
    gate: Edits = Counting(None, Quotas(NO_QUOTA))
    body = Body(gzip.compress(ROWS) if encoding == "gzip" else ROWS, encoding, WireOptions())
    await parse_beside(gate, TenantNo(1), body, MAX_BYTES, NO_QUOTA)
    assert Counting.paid == len(ROWS)
    intake = QueueIntake(
        cast("Publisher", Nowhere()), gate, SystemClock(), EngineLimits(), MAX_BYTES
    )
    principal = Principal(TenantNo(1), uuid4(), "k", frozenset({"ingest"}), NO_QUOTA)
    answer = await intake(principal, body)
    assert (answer.accepted, Counting.paid) == (2_000, 2 * len(ROWS))
