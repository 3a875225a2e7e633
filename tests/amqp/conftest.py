"""The road through a real broker, with its queues declared."""

import pytest

from tests.amqp.stack import Road
from tests.broker import Node
from tests.stack import Stack


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
