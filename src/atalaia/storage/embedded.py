"""The embedded Postgres' life: first start, later starts, after a crash of it or of us, stop.

A lock on the data directory keeps a second process out. A postmaster that outlived a killed
parent is adopted; one that dies while we serve is started again. Durability is never traded:
fsync and synchronous_commit stay on.
"""

import fcntl
import os
import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
import trio

from atalaia.model.errors import StartupRefused
from atalaia.storage.cluster import DATABASE, MAJOR, SUPERUSER, Cluster, locate

log = structlog.get_logger()

START_DEADLINE_S = 20.0  # after a kill -9 of the postmaster its children hold on for a moment
STOP_TIMEOUT_S = 30
RETRY_S = 0.25
WATCH_S = 0.5

SETTINGS = """\
# Written by Atalaia at every start; put your own settings into postgresql.conf.
listen_addresses = ''
unix_socket_permissions = 0700
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
max_connections = 50
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
"""


@asynccontextmanager
async def open_embedded(data_dir: Path) -> AsyncIterator[str]:
    """Start or adopt the cluster in data_dir and keep it alive; yields the superuser's URL.

    Leaving stops it. Raises StartupRefused when the directory is in use or Postgres does not start.
    """
    with hold_lock(data_dir):
        cluster = await trio.to_thread.run_sync(locate, data_dir)
        await trio.to_thread.run_sync(start, cluster)
        # A thread and no task: starting blocks anyway, and the last commits are looked after too.
        leaving = threading.Event()
        watcher = threading.Thread(target=watch, args=(cluster, leaving), name="postgres-watch")
        watcher.start()
        try:
            yield cluster.url()
        finally:
            leaving.set()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(watcher.join)
                await trio.to_thread.run_sync(stop, cluster)


@contextmanager
def hold_lock(data_dir: Path) -> Iterator[None]:
    """One process per data directory; the lock ends with the process, however it ends."""
    path = data_dir / "atalaia.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupRefused(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            raise StartupRefused(
                f"The data directory {data_dir} is in use by process {holder or 'unknown'}. "
                "Stop it, or choose another with --data-dir."
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


def start(cluster: Cluster) -> None:
    """Make the cluster if there is none, start or adopt its postmaster, make the database."""
    if not (cluster.data / "PG_VERSION").exists():
        _initialise(cluster)
    _check_major(cluster)
    (cluster.data / "atalaia.conf").write_text(
        SETTINGS + f"unix_socket_directories = '{cluster.sockets}'\n"
    )
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        if _running(cluster):
            log.info("postgres_adopted", data=str(cluster.data))
        else:
            _launch(cluster, deadline)
        try:
            _make_database(cluster)
        except StartupRefused:
            # Adopted while it was still starting, or in the moment of its death.
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)
        else:
            return


def watch(cluster: Cluster, leaving: threading.Event) -> None:
    """Start the postmaster again whenever it has died, until `leaving` is set."""
    said = False
    while not leaving.wait(WATCH_S):
        if _lives(cluster):
            continue
        if not said:
            log.error("postgres_died", data=str(cluster.data))
            said = True
        began = time.monotonic()
        try:
            start(cluster)
        except (StartupRefused, OSError, subprocess.SubprocessError) as error:
            log.error("postgres_not_restarted", error=str(error))
        else:
            log.warning("postgres_restarted", took_ms=round(1000 * (time.monotonic() - began)))
            said = False


def stop(cluster: Cluster) -> None:
    """Stop with a checkpoint; at once when that takes too long."""
    for mode in ("fast", "immediate"):
        done = cluster.account.run(
            [cluster.program("pg_ctl"), "-D", cluster.data, "-m", mode,
             "-w", "-t", str(STOP_TIMEOUT_S), "stop"],
            timeout_s=STOP_TIMEOUT_S + 10,
        )  # fmt: skip
        if done.returncode == 0 or not _running(cluster):
            return
    log.error("postgres_not_stopped", output=done.stderr)


def query(cluster: Cluster, sql: str, *, database: str = "postgres") -> str:
    """One statement as superuser; its rows as text. Raises StartupRefused with the error."""
    done = cluster.account.run(
        [cluster.program("psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1",
         "-d", cluster.url(database), "-c", sql]
    )  # fmt: skip
    if done.returncode:
        raise StartupRefused(f"The embedded Postgres refuses: {done.stderr.strip()}")
    return done.stdout.strip()


def _initialise(cluster: Cluster) -> None:
    # A half-made cluster of an interrupted first start has no PG_VERSION: begin anew beside it.
    scratch = cluster.data.with_name(f"data.new-{os.getpid()}")
    done = cluster.account.run(
        [cluster.program("initdb"), "-D", scratch, "-U", SUPERUSER, "-E", "UTF8",
         "--locale=C.UTF-8", "--auth=trust", "--data-checksums"]
    )  # fmt: skip
    if done.returncode:
        raise StartupRefused(
            f"Postgres cannot make its files in {cluster.data.parent}: "
            f"{_last_line(done.stderr or done.stdout)} Check free space and permissions."
        )
    (scratch / "atalaia.conf").write_text(SETTINGS)
    with (scratch / "postgresql.conf").open("a") as conf:
        conf.write("\ninclude 'atalaia.conf'\n")
    if cluster.account.uid is not None and cluster.account.gid is not None:
        os.chown(scratch / "atalaia.conf", cluster.account.uid, cluster.account.gid)
    scratch.rename(cluster.data)


def _check_major(cluster: Cluster) -> None:
    found = (cluster.data / "PG_VERSION").read_text().strip()
    if found != MAJOR:
        raise StartupRefused(
            f"{cluster.data} was made by Postgres {found}, this release brings {MAJOR}. "
            "Dump it with the old release and restore it into a new data directory."
        )


def _running(cluster: Cluster) -> bool:
    """Whether this cluster's postmaster lives. A dead one that nobody has buried yet does not."""
    done = cluster.account.run([cluster.program("pg_ctl"), "-D", cluster.data, "status"])
    return done.returncode == 0 and not _is_zombie(_postmaster(cluster))


def _lives(cluster: Cluster) -> bool:
    """As `_running`, without starting a process: cheap enough to be asked all the time."""
    pid = _postmaster(cluster)
    if pid is None or _is_zombie(pid):
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _postmaster(cluster: Cluster) -> int | None:
    try:
        return int((cluster.data / "postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _is_zombie(pid: int | None) -> bool:
    """Killed, and still in the process table because its parent does not look after it.

    Seen where process 1 of a container is no init: Postgres then takes the entry for a living
    postmaster and refuses to start.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _forget_zombie(cluster: Cluster) -> None:
    """Remove the pid file of a zombie, once none of its children works in the data directory."""
    if not _is_zombie(_postmaster(cluster)):
        return
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == cluster.data:
                return
        except OSError:
            continue
    log.warning("postgres_zombie_forgotten", pid=_postmaster(cluster))
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)


def _launch(cluster: Cluster, deadline: float) -> None:
    while True:
        _forget_zombie(cluster)
        done = cluster.account.run(
            [cluster.program("pg_ctl"), "-D", cluster.data, "-l", cluster.log,
             "-w", "-t", "120", "start"]
        )  # fmt: skip
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise StartupRefused(
                f"The embedded Postgres does not start; {cluster.log} ends with: {_tail(cluster)}"
            )
        time.sleep(RETRY_S)


def _make_database(cluster: Cluster) -> None:
    there = query(cluster, f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")  # noqa: S608
    if not there:
        query(cluster, f"CREATE DATABASE {DATABASE}")


def _tail(cluster: Cluster) -> str:
    try:
        return _last_line(cluster.log.read_text(errors="replace"))
    except OSError as error:
        return f"({error.strerror})"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if re.search(r"\S", line)]
    return lines[-1] if lines else "(nothing)"
