"""Bytes to answer in the role `http`: parsed and judged as the engine would, then queued."""

from functools import partial

import attrs

from atalaia.amqp.messages import is_written_anew, to_messages
from atalaia.amqp.publisher import Publisher
from atalaia.engine.clock import WallClock
from atalaia.engine.edits import Edits
from atalaia.engine.ingest import Body, count, parse_beside
from atalaia.engine.judge import check_times
from atalaia.engine.limits import EngineLimits
from atalaia.engine.parsers import WRITTEN_ANEW_NS
from atalaia.engine.receipt import Answer
from atalaia.model.principal import Principal


@attrs.frozen(eq=False)
class QueueIntake:
    """Rows that cannot be taken are answered at once and not sent; the others are published."""

    publisher: Publisher
    gate: Edits
    clock: WallClock
    limits: EngineLimits
    max_bytes: int

    async def __call__(self, principal: Principal, body: Body) -> Answer:
        """Accepted means that a quorum queue holds them. Raises as `ingest` does."""
        now = self.clock.now_us()
        parsed = await parse_beside(
            self.gate, principal.tenant_no, body, self.max_bytes, principal.quota
        )
        self.gate.pay(principal.tenant_no, principal.quota, readings=parsed.sent)
        batch = check_times(
            parsed,
            oldest=self.limits.oldest(now),
            newest=now + self.limits.future_skew_us,
        )
        if len(batch):
            write = partial(to_messages, principal.tenant_id, body, batch, now)
            ns = WRITTEN_ANEW_NS * len(batch) if is_written_anew(body, batch) else 0
            messages = await self.gate.parsers.run(principal.tenant_no, write, ns)
            await self.publisher.publish(*messages)
        rejects = tuple(sorted(batch.rejects, key=lambda reject: reject.index))
        answer = Answer(len(batch), 0, 0, rejects, queued=True)
        count(answer)
        return answer
