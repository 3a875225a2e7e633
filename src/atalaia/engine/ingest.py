"""Bytes to answer: the one function that every face shares."""

import attrs
import trio

from atalaia.engine.engine import Gate
from atalaia.engine.receipt import Answer
from atalaia.model.errors import Unavailable
from atalaia.model.ids import TenantNo
from atalaia.telemetry.metrics import READINGS
from atalaia.wire.inflate import inflate
from atalaia.wire.readings import WireOptions, parse_readings

ANSWER_DEADLINE_S = 10.0  # then 503: the batch may still be stored, and sending it again is safe


@attrs.frozen
class Body:
    """A request's or delivery's body and how its sender describes it."""

    data: bytes
    encoding: str
    options: WireOptions


async def ingest(gate: Gate, tenant_no: TenantNo, body: Body, *, max_bytes: int) -> Answer:
    """Parse, hand over, wait for the commit.

    Raises Invalid, TooLarge, UnsupportedEncoding for the sender's faults, Overloaded and
    Unavailable for ours. Cancellation drops only the wait.
    """
    inflated = inflate(body.data, body.encoding, max_bytes=max_bytes)
    batch = parse_readings(inflated, options=body.options)
    if not len(batch):
        answer = Answer(0, 0, 0, batch.rejects)
    else:
        receipt = gate.submit(tenant_no, batch)
        try:
            with trio.fail_after(ANSWER_DEADLINE_S):
                answer = await receipt.wait()
        except trio.TooSlowError:
            raise Unavailable(
                "The commit takes longer than 10 s. The batch may still be stored: "
                "send the same one again, what is stored counts as duplicate."
            ) from None
    READINGS.labels("duplicate").inc(answer.duplicates)
    READINGS.labels("rejected").inc(len(answer.rejects))
    return answer
