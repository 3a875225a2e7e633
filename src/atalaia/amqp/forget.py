"""What RabbitMQ has of a tenant that is being erased: its queue for later is deleted.

What lets its devices publish is taken away by `atalaia broker forget`, which alone knows the
management API; what they send until then is thrown away.
"""

from uuid import UUID

import attrs
import structlog

from atalaia.amqp.later import later_name
from atalaia.amqp.link import BrokerRefused, BrokerUnavailable, connection_aio, told
from atalaia.bridge import Bridge
from atalaia.model.erasure import ErasureView

log = structlog.get_logger()


async def drop_queue_aio(url: str, tenant_id: UUID) -> int:
    """How many messages went with it; none where there is no such queue.

    Raises BrokerUnavailable, BrokerRefused.
    """
    async with connection_aio(url, "forget") as connection:
        channel = await connection.channel()
        deleted = await channel.queue_delete(later_name(tenant_id))
        return deleted.message_count or 0


@attrs.define(eq=False)
class QueueForgotten:
    """For the task that erases. url: None: there is no broker."""

    _bridge: Bridge
    _url: str | None = attrs.field(repr=False)
    _done: set[tuple[UUID, bool]] = attrs.field(factory=set)

    async def forget(self, view: ErasureView) -> None:
        """Once when it goes on, and once when it has ended; what fails is tried the next time."""
        stage = view.tenant_id, view.finished_at is not None
        if self._url is None or stage in self._done:
            return
        try:
            messages = await self._bridge.call(drop_queue_aio, self._url, view.tenant_id)
        except (BrokerUnavailable, BrokerRefused, OSError) as error:
            log.warning("queue_not_forgotten", tenant_no=view.tenant_no, error=told(error))
            return
        self._done.add(stage)
        log.info("queue_forgotten", tenant_no=view.tenant_no, messages=messages)
        if view.finished_at is None:
            log.info(
                "devices_may_still_publish",
                advice=f"run: atalaia broker forget {view.tenant_id}",
            )
