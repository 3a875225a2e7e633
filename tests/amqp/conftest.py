"""The road through a real broker, with its queues declared."""

import pytest

from tests.amqp.stack import Road
from tests.stack import Stack


@pytest.fixture
async def road(stack: Stack, amqp_url: str) -> Road:
    made = Road(stack, amqp_url)
    await made.setup()
    return made
