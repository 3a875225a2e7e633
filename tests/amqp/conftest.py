"""The road through a real broker, with its queues declared."""

from collections.abc import Iterator

import pytest
import structlog

from tests.amqp.stack import Road
from tests.broker import Node
from tests.stack import Stack


@pytest.fixture(autouse=True)
def tracebacks() -> Iterator[None]:
    """As the service writes them: with the locals of every frame one takes 19 seconds."""
    before = structlog.get_config()
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before["processors"][:-1], console])
    yield
    structlog.configure(**before)


@pytest.fixture
async def road(stack: Stack, amqp_url: str, broker: Node) -> Road:
    made = Road(stack, amqp_url, broker)
    await made.setup()
    return made


@pytest.fixture
def private(broker: Node) -> Node:
    """A broker that may be killed."""
    if broker.directory is None:
        pytest.skip("the broker of ATALAIA_TEST_AMQP_URL is not ours to kill")
    return broker
