"""The demo's tenant and where its key is kept."""

import stat
from pathlib import Path

import pytest

from atalaia.demo import DemoTenant, open_demo
from atalaia.engine.clock import SystemClock
from atalaia.storage.cluster import Cluster
from tests.stack import new_database, open_stack

pytestmark = pytest.mark.postgres


async def opened(url: str, data_dir: Path) -> DemoTenant:
    async with open_stack(url) as stack:
        return await open_demo(
            stack.bridge, url, stack.queries, stack.gate, data_dir, SystemClock()
        )


def modes(data_dir: Path) -> list[int]:
    return [stat.S_IMODE(file.stat().st_mode) for file in data_dir.glob("demo-key*")]


async def test_each_database_has_a_demo_and_its_key_is_found_again(
    cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    """To and fro between two databases: two tenants, two keys, none of them lost."""
    with new_database(cluster) as other_url:
        one, other = await opened(database_url, tmp_path), await opened(other_url, tmp_path)
        assert one.api_key != other.api_key
        for url, demo in ((database_url, one), (other_url, other), (database_url, one)):
            assert await opened(url, tmp_path) == demo
            assert (tmp_path / "demo-key").read_text() == demo.api_key
            assert modes(tmp_path) == [0o600, 0o600]
        async with open_stack(database_url) as stack:
            names = await stack.sql("SELECT name FROM tenants WHERE name = 'demo'")
        assert len(names) == 1
