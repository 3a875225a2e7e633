"""A task of the service for as long as something else is open."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio


@asynccontextmanager
async def beside(task: Callable[..., Awaitable[object]], *args: Any) -> AsyncIterator[None]:
    """Run it while inside; leaving cancels it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task, *args)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
