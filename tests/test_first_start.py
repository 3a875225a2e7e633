"""The first tenant and its credentials: no start loses a key or makes a second first tenant."""

import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from atalaia import first_start
from atalaia.bridge import Bridge, open_bridge
from atalaia.config.settings import Credentials, load_all_credentials, load_credentials
from atalaia.engine.clock import SystemClock
from atalaia.first_start import open_credentials
from atalaia.model.errors import StartupRefused
from atalaia.security.api_keys import parse_key
from atalaia.storage.accounts import key_is_known
from atalaia.storage.cluster import Cluster
from atalaia.storage.embedded import query

pytestmark = pytest.mark.postgres


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with open_bridge() as opened:
        yield opened


@pytest.fixture
def other_url(cluster: Cluster) -> Iterator[str]:
    query(cluster, "CREATE DATABASE other TEMPLATE template_atalaia")
    yield cluster.url("other")
    query(cluster, "DROP DATABASE other WITH (FORCE)")


async def begin(bridge: Bridge, url: str, data_dir: Path) -> Credentials:
    """A start as far as the credentials; their key must open the door."""
    found = await open_credentials(bridge, url, "http://here", data_dir, SystemClock())
    key = parse_key(found.api_key)
    assert key is not None
    assert await key_is_known(bridge, url, key.key_id)
    assert load_credentials(data_dir) == found
    assert stat.S_IMODE((data_dir / "credentials.json").stat().st_mode) == 0o600
    return found


async def test_another_database_and_back_keeps_both_tenants_keys(
    bridge: Bridge, database_url: str, other_url: str, tmp_path: Path
) -> None:
    """What does not fit is set aside and found again, as often as one likes."""
    first = await begin(bridge, database_url, tmp_path)
    second = await begin(bridge, other_url, tmp_path)
    assert second.tenant_id != first.tenant_id
    for _ in range(2):
        assert await begin(bridge, database_url, tmp_path) == first
        assert await begin(bridge, other_url, tmp_path) == second


async def test_a_new_data_directory_gets_a_key_of_its_own_for_the_first_tenant(
    bridge: Bridge, database_url: str, tmp_path: Path
) -> None:
    """A second machine, or a lost file: the first key and the password stay as they were."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    first = await begin(bridge, database_url, one)
    second = await begin(bridge, database_url, two)
    assert second.tenant_id == first.tenant_id
    assert second.api_key != first.api_key
    assert second.admin_password == ""
    assert await begin(bridge, database_url, one) == first
    assert await begin(bridge, database_url, two) == second


async def test_a_revoked_key_is_replaced_and_the_password_kept(
    bridge: Bridge, cluster: Cluster, database_url: str, tmp_path: Path
) -> None:
    """The same tenant: nothing is set aside."""
    first = await begin(bridge, database_url, tmp_path)
    name = database_url.split("@/")[1].split("?", maxsplit=1)[0]
    query(cluster, "UPDATE api_keys SET revoked_at = now()", database=name)
    second = await begin(bridge, database_url, tmp_path)
    assert (second.tenant_id, second.admin_password) == (first.tenant_id, first.admin_password)
    assert second.api_key != first.api_key
    assert load_all_credentials(tmp_path) == [second]


async def test_the_address_of_the_engine_is_not_overwritten(
    bridge: Bridge, database_url: str, tmp_path: Path
) -> None:
    """By a process beside it that only takes readings."""
    engine = await begin(bridge, database_url, tmp_path)
    face = await open_credentials(
        bridge, database_url, "http://there", tmp_path, SystemClock(), leave=True
    )
    assert (face.api_key, face.base_url) == (engine.api_key, "http://there")
    assert load_credentials(tmp_path) == engine


@pytest.mark.parametrize("cut", ["create_tenant", "add_key"])
async def test_a_start_that_is_cut_off_is_made_good_by_the_next(
    bridge: Bridge, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Between the file and the database, with and without a first tenant."""
    other = tmp_path / "other"
    other.mkdir()
    if cut == "add_key":
        await begin(bridge, database_url, other)

    async def killed(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(first_start, cut, killed)
        with pytest.raises(InterruptedError):
            await begin(bridge, database_url, tmp_path)
    found = await begin(bridge, database_url, tmp_path)
    assert await begin(bridge, database_url, tmp_path) == found


async def test_two_first_starts_at_once_make_one_first_tenant(
    bridge: Bridge, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one says so in a sentence."""

    async def none_yet(*_: object) -> None:
        return None

    await begin(bridge, database_url, tmp_path)
    monkeypatch.setattr(first_start, "find_tenant", none_yet)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(StartupRefused, match="Start again"):
        await begin(bridge, database_url, elsewhere)


async def test_a_database_that_leaves_is_said_in_a_sentence(bridge: Bridge, tmp_path: Path) -> None:
    """No traceback of the driver."""
    with pytest.raises(StartupRefused, match="does not give its accounts"):
        await begin(bridge, "postgresql://x@127.0.0.1:1/none", tmp_path)
