"""Bytes to answer: the one function that every face shares."""

import attrs

from atalaia.engine.engine import Gate
from atalaia.engine.receipt import Answer
from atalaia.model.batch import Batch
from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.telemetry.metrics import READINGS
from atalaia.wire.formats import parse
from atalaia.wire.inflate import inflate
from atalaia.wire.options import WireOptions

COMMIT_IS_SLOW = (
    "The commit takes too long. The batch may still be stored: "
    "send the same one again, what is stored counts as duplicate."
)


@attrs.frozen
class Body:
    """A request's or delivery's body and how its sender describes it."""

    data: bytes
    encoding: str
    options: WireOptions


async def ingest(
    gate: Gate, tenant_no: TenantNo, body: Body, *, max_bytes: int, quota: Quota = NO_QUOTA
) -> Answer:
    """Parse, hand over, wait for the commit.

    Raises Invalid, TooLarge, UnsupportedEncoding for the sender's faults, Overloaded and
    Unavailable for ours. Cancellation drops only the wait.
    """
    gate.admit(tenant_no, quota)  # again: others of its bodies have come meanwhile
    batch = parse_paid(gate, tenant_no, body, max_bytes, quota)
    if not len(batch):
        gate.pay(tenant_no, quota, readings=batch.sent)
        answer = Answer(0, 0, 0, batch.rejects)
    else:
        answer = await gate.submit(tenant_no, batch, quota).answer(COMMIT_IS_SLOW)
    answer = attrs.evolve(answer, ignored=batch.ignored)
    count(answer)
    return answer


def parse_body(body: Body, *, max_bytes: int) -> Batch:
    """Its readings. Raises Invalid, TooLarge, UnsupportedEncoding. Keeps nothing it inflated."""
    return parse(inflate(body.data, body.encoding, max_bytes=max_bytes), body.options)


def count(answer: Answer) -> None:
    """What the flusher does not see of a batch."""
    READINGS.labels("duplicate").inc(answer.duplicates)
    READINGS.labels("rejected").inc(len(answer.rejects))
    READINGS.labels("ignored").inc(answer.ignored)


def parse_paid(gate: Gate, tenant_no: TenantNo, body: Body, max_bytes: int, quota: Quota) -> Batch:
    """What was inflated is paid for, good or bad, and not kept while the commit is waited for."""
    gate.pay(tenant_no, quota, size=len(body.data))
    data = inflate(body.data, body.encoding, max_bytes=max_bytes)
    gate.pay(tenant_no, quota, size=max(0, len(data) - len(body.data)))
    return parse(data, body.options)
