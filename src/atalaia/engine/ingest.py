"""Bytes to answer: the one function that every face shares."""

from functools import partial

import attrs
import trio

from atalaia.engine.edits import Edits
from atalaia.engine.gate import Gate
from atalaia.engine.receipt import Answer
from atalaia.model.batch import Batch
from atalaia.model.ids import TenantNo
from atalaia.model.quota import NO_QUOTA, Quota
from atalaia.telemetry.metrics import READINGS
from atalaia.wire.formats import parse
from atalaia.wire.inflate import inflate
from atalaia.wire.options import WireOptions
from atalaia.wire.rows import TakesLong

COMMIT_IS_SLOW = (
    "The commit takes too long. The batch may still be stored: "
    "send the same one again, what is stored counts as duplicate."
)


@attrs.frozen
class Body:
    """A request's or delivery's body and how its sender describes it.

    parsed: set when it was; whoever hands over in order waits for it with the next one.
    """

    data: bytes
    encoding: str
    options: WireOptions
    parsed: trio.Event | None = None


async def ingest(
    gate: Gate, tenant_no: TenantNo, body: Body, *, max_bytes: int, quota: Quota = NO_QUOTA
) -> Answer:
    """Parse, hand over, wait for the commit.

    Raises Invalid, TooLarge, UnsupportedEncoding for the sender's faults, Overloaded and
    Unavailable for ours. Cancellation drops only the wait.
    """
    gate.admit(tenant_no, quota)  # again: others of its bodies have come meanwhile
    batch = await parse_beside(gate, tenant_no, body, max_bytes, quota)
    if not len(batch):
        gate.pay(tenant_no, quota, readings=batch.sent)
        answer = Answer(0, 0, 0, batch.rejects)
    else:
        answer = await gate.submit(tenant_no, batch, quota).answer(COMMIT_IS_SLOW)
    answer = attrs.evolve(answer, ignored=batch.ignored)
    count(answer)
    return answer


async def parse_beside(
    gate: Edits, tenant_no: TenantNo, body: Body, max_bytes: int, quota: Quota | None = None
) -> Batch:
    """Its readings; where that takes long, read beside the event loop. Keeps nothing it inflated.

    quota: what bytes are paid for with, good or bad; None: they are paid for. Raises Invalid,
    TooLarge, UnsupportedEncoding.
    """
    try:
        if quota is not None:
            gate.pay(tenant_no, quota, size=len(body.data))
        data = inflate(body.data, body.encoding, max_bytes=max_bytes)
        if quota is not None:
            gate.pay(tenant_no, quota, size=max(0, len(data) - len(body.data)))
        try:
            return parse(data, body.options, hurried=True)
        except TakesLong:
            del data  # inflated again there: while it waits it holds what the room knows of
        return await gate.parsers.run(tenant_no, partial(parse_body, body, max_bytes=max_bytes))
    finally:
        if body.parsed is not None:
            body.parsed.set()


def parse_body(body: Body, *, max_bytes: int) -> Batch:
    """All of it here. Raises Invalid, TooLarge, UnsupportedEncoding."""
    return parse(inflate(body.data, body.encoding, max_bytes=max_bytes), body.options)


def count(answer: Answer) -> None:
    """What the flusher does not see of a batch."""
    READINGS.labels("duplicate").inc(answer.duplicates)
    READINGS.labels("rejected").inc(len(answer.rejects))
    READINGS.labels("ignored").inc(answer.ignored)
