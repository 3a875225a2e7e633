"""The embedded Postgres: its first start, its crashes, its refusals."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from atalaia.model.errors import StartupRefused
from atalaia.storage import cluster as places
from atalaia.storage.cluster import Account, Cluster, locate
from atalaia.storage.embedded import hold_lock, open_embedded, query, start, stop
from tests.process.server import data_directory

pytestmark = pytest.mark.postgres


@pytest.fixture
def directory() -> Iterator[Path]:
    with data_directory() as path:
        yield path


def postmaster(found: Cluster) -> int:
    return int((found.data / "postmaster.pid").read_text().split()[0])


async def test_it_starts_stops_and_keeps_what_was_written(directory: Path) -> None:
    """Twice in a row on one directory, over a unix socket alone."""
    for wanted in ("", "1"):
        async with open_embedded(directory) as url:
            found = locate(directory)
            assert url == found.url()
            assert query(found, "SHOW listen_addresses") == ""
            assert query(found, "SHOW fsync") == "on"
            there = "SELECT 1 FROM pg_class WHERE relname = 'kept'"
            assert query(found, there, database="atalaia") == wanted
            query(found, "CREATE TABLE IF NOT EXISTS kept ()", database="atalaia")
    assert not (found.data / "postmaster.pid").exists()


def test_a_killed_postmaster_is_started_anew_and_a_living_one_adopted(directory: Path) -> None:
    """Also while its children have not left yet."""
    found = locate(directory)
    start(found)
    first = postmaster(found)
    start(found)
    assert postmaster(found) == first
    os.kill(first, signal.SIGKILL)
    start(found)
    assert postmaster(found) != first
    assert query(found, "SELECT 1") == "1"
    stop(found)


def test_an_interrupted_first_start_is_begun_again(directory: Path) -> None:
    """Half-made files lie beside the real ones and harm nobody."""
    found = locate(directory)
    (found.data.parent / "data.new-1").mkdir()
    start(found)
    stop(found)


def test_another_major_version_is_refused(directory: Path) -> None:
    """Saying which, and what to do."""
    found = locate(directory)
    start(found)
    stop(found)
    (found.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(StartupRefused, match="made by Postgres 16"):
        start(found)


def test_a_server_that_does_not_start_says_its_last_words(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log's last line is in the message."""
    monkeypatch.setattr("atalaia.storage.embedded.START_DEADLINE_S", 0.0)
    found = locate(directory)
    start(found)
    stop(found)
    with (found.data / "postgresql.conf").open("a") as conf:
        conf.write("nonsense = 1\n")
    with pytest.raises(StartupRefused, match="contains errors"):
        start(found)


def test_errors_of_statements_are_said(cluster: Cluster) -> None:
    """Not swallowed."""
    with pytest.raises(StartupRefused, match="syntax error"):
        query(cluster, "SELEC")


def test_one_process_per_directory(directory: Path) -> None:
    """The lock names its holder and ends with it."""
    with hold_lock(directory), pytest.raises(StartupRefused, match=str(os.getpid())):  # noqa: SIM117
        with hold_lock(directory):
            pass
    with hold_lock(directory):
        pass
    with pytest.raises(StartupRefused, match="cannot be opened"), hold_lock(directory / "none"):
        pass


def test_a_long_path_gets_a_short_private_socket_directory(directory: Path) -> None:
    """And a directory that belongs to somebody else is not used."""
    long = directory / ("x" * 90)
    long.mkdir()
    found = locate(long)
    assert len(str(found.sockets)) < 90
    assert found.sockets.stat().st_mode & 0o777 == 0o700
    found.sockets.rmdir()
    found.sockets.symlink_to(directory)
    with pytest.raises(StartupRefused, match="belongs to somebody else"):
        locate(long)
    found.sockets.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account")
def test_root_puts_what_the_account_cannot_reach_where_it_can(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binaries and data below a private home; skipped only where nobody is root."""
    home = directory / "system"
    home.mkdir()
    home.chmod(0o755)
    monkeypatch.setattr(places, "SYSTEM_HOME", home)
    private = directory / "private"
    private.mkdir(mode=0o700)
    found = locate(private)
    assert home in found.data.parents
    assert found.account.uid is not None

    real = Account.reaches
    monkeypatch.setattr(
        Account, "reaches", lambda self, path: path.name != "postgres" and real(self, path)
    )
    moved = locate(directory)
    assert home in moved.binaries.parents
    assert (moved.binaries / "initdb").exists()
    assert attrs.evolve(moved, data=found.data).program("psql").exists()
    assert locate(directory).binaries == moved.binaries
    monkeypatch.setattr(Account, "reaches", lambda self, path: False)
    with pytest.raises(StartupRefused, match="can reach neither"):
        locate(private)


def test_a_missing_wheel_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out."""
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    with pytest.raises(StartupRefused, match="set DATABASE_URL"):
        locate(directory)


def test_a_zombie_is_not_a_postmaster(directory: Path) -> None:
    """Dead, unburied, and named in the pid file: a new one starts."""
    found = locate(directory)
    start(found)
    stop(found)
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    time.sleep(0.2)
    lines = [str(zombie), str(found.data), str(int(time.time())), "5432", str(found.sockets), ""]
    (found.data / "postmaster.pid").write_text("\n".join(lines))
    start(found)
    assert postmaster(found) != zombie
    stop(found)
    os.waitpid(zombie, 0)
