"""Looking now and then whether queues give us what waits in them: whoever else consumes one, by
mistake or from another time, keeps it from us in silence."""

from typing import TYPE_CHECKING

import structlog
import trio

if TYPE_CHECKING:
    from atalaia.amqp.session import Session

log = structlog.get_logger()


async def watch_queues(session: "Session") -> None:
    """Until cancelled. Raises BrokerUnavailable."""
    starved = set[str]()
    while True:
        await trio.sleep(session.limits.look_s)
        now = set(await session.bridge.call(session.feed.starved_aio))
        for name in starved - now:
            session.complain(name, None)
        for name in now - starved:
            log.error("queue_gives_nothing", queue=name, advice="end whatever else consumes it")
            session.complain(name, f"not_delivered: something else consumes {name}")
        starved = now
