"""The door between trio and asyncio."""

import asyncio

import pytest
import trio

from atalaia.bridge import open_bridge


async def test_an_error_arrives_with_its_type_and_cause() -> None:
    """As if the door were not there."""

    async def fail_aio() -> None:
        raise KeyError("no") from ValueError("because")

    async with open_bridge() as bridge:
        with pytest.raises(KeyError) as caught:
            await bridge.call(fail_aio)
        assert isinstance(caught.value.__cause__, ValueError)


async def test_cancelling_waits_for_the_clean_up() -> None:
    """No work outlives its scope."""
    steps = []

    async def work_aio() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            steps.append("cleaned up")

    async with open_bridge() as bridge:
        with trio.move_on_after(0.05) as scope:
            await bridge.call(work_aio)
        assert scope.cancelled_caught
        assert steps == ["cleaned up"]


async def test_a_cancellation_of_asyncio_s_own_is_an_ordinary_error() -> None:
    """One that our handlers translate, rather than one that ends the process."""

    async def work_aio() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async with open_bridge() as bridge:
        with pytest.raises(ConnectionAbortedError):
            await bridge.call(work_aio)
