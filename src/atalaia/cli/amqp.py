"""What the commands of RabbitMQ share: the URL, one crossing of the bridge, errors as words."""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar, TypeVarTuple

import attrs
from cyclopts import Parameter

from atalaia.model.errors import AtalaiaError, Invalid

T = TypeVar("T")
Args = TypeVarTuple("Args")


@Parameter(name="*")
@attrs.frozen
class Broker:
    """The options of every command that talks to RabbitMQ."""

    url: Annotated[str | None, Parameter(help="The broker; default from RABBITMQ_URL.")] = (
        attrs.field(default=None, repr=False)
    )

    def address(self) -> str:
        """Raises Invalid when nobody says where the broker is."""
        found = self.url or os.environ.get("RABBITMQ_URL")
        if not found:
            raise Invalid("Say where RabbitMQ is: --url amqp://user:password@host/vhost.")
        return found


USUAL = Broker()


def crossing(fn: Callable[[*Args], Awaitable[T]], *args: *Args) -> T:
    """Run one asyncio function for a command. Raises BrokerUnavailable."""
    import trio

    from atalaia.amqp.link import BrokerUnavailable
    from atalaia.bridge import open_bridge

    async def run() -> T:
        async with open_bridge() as bridge:
            return await bridge.call(fn, *args)

    try:
        return trio.run(run)
    except OSError as error:
        raise BrokerUnavailable(str(error)) from error


def reported(command: Callable[[], int]) -> int:
    """The command's exit code; what is wrong is one sentence on stderr."""
    from atalaia.amqp.link import BrokerUnavailable

    try:
        return command()
    except AtalaiaError as error:
        print(f"atalaia: {error.detail}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    except BrokerUnavailable as error:
        print(f"atalaia: RabbitMQ does not do it: {error}", file=sys.stderr)
        return 1
