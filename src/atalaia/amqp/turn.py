"""Waiting for the one message that says which engine consumes, and saying so when it is missed."""

from typing import TYPE_CHECKING

import structlog
import trio

from atalaia.amqp.topology import TURN

if TYPE_CHECKING:
    from atalaia.amqp.session import Session

log = structlog.get_logger()

TROUBLE = f"no_turn: end the other engine, or run atalaia broker setup ({TURN})"


async def wait_for_turn(session: "Session") -> None:
    """However long it takes. Raises BrokerUnavailable."""
    with trio.move_on_after(session.limits.turn_s):
        await session.bridge.call(session.feed.turn_aio)
        return
    log.error(
        "consumer_waits_for_its_turn",
        advice=f"another engine has the message of {TURN}, or it is gone: end that engine, or run"
        " atalaia broker setup",
    )
    session.complain(TURN, TROUBLE)
    await session.bridge.call(session.feed.turn_aio)
    session.complain(TURN, None)
