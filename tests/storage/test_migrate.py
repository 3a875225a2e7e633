"""Migrations wait for one another, and say so."""

from functools import partial
from typing import Any

import asyncpg
import pytest
import structlog
import trio

from atalaia.bridge import open_bridge
from atalaia.storage import migrate
from atalaia.storage.database import prepare_aio

pytestmark = pytest.mark.postgres


async def test_a_start_waits_for_another_migration_and_says_so(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on when it is over."""
    monkeypatch.setattr(migrate, "LOCK_PAUSE_S", 0.02)
    ended = False
    async with open_bridge() as bridge, trio.open_nursery() as nursery:
        other: Any = await bridge.call(partial(asyncpg.connect, database_url))
        await bridge.call(other.execute, "SELECT pg_advisory_lock($1)", migrate.MIGRATION_LOCK)

        async def begin() -> None:
            nonlocal ended
            await bridge.call(prepare_aio, database_url)
            ended = True

        with structlog.testing.capture_logs() as said:
            nursery.start_soon(begin)
            with trio.fail_after(20):
                while not any(line["event"] == "waiting_for_another_migration" for line in said):
                    await trio.sleep(0.02)
        assert not ended
        await bridge.call(other.close)
    assert ended
