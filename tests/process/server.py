"""The real command as a process: start it, wait for it, kill it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx

from tests.places import for_databases

ROOT = Path(__file__).resolve().parents[2]


@attrs.define(eq=False)
class Server:
    """`atalaia up` on a data directory. said: until it was up."""

    data_dir: Path
    process: "subprocess.Popen[str]"
    credentials: dict[str, str]
    said: str

    @property
    def client(self) -> httpx.Client:
        headers = {"X-API-Key": self.credentials["api_key"]}
        return httpx.Client(base_url=self.credentials["base_url"], headers=headers, timeout=30)

    def kill(self) -> str:
        """End it at once; returns what it said."""
        self.process.kill()
        return self.process.communicate()[0]

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> str:
        """Ask it to stop; returns what it said. Fails unless it exits with 0."""
        self.process.send_signal(sent)
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, output
        return output

    def postmaster(self) -> int:
        pid = self.data_dir / "postgres" / "data" / "postmaster.pid"
        return int(pid.read_text().split()[0])


def command(
    data_dir: Path, *arguments: str, prefix: Sequence[str] = (), **environment: str
) -> "subprocess.Popen[str]":
    env = (
        {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "PORT")}
        | {"PORT": "0"}
        | environment
    )
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "atalaia", "up", "--data-dir", data_dir, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=ROOT,
    )


def start(
    data_dir: Path, *arguments: str, prefix: Sequence[str] = (), **environment: str
) -> Server:
    """Start and wait until requests are answered. prefix: what runs the command, before it."""
    process = command(data_dir, *arguments, prefix=prefix, **environment)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ctrl-C stops it" in line:
            break
    else:
        raise AssertionError("".join(said))
    credentials: dict[str, Any] = json.loads((data_dir / "credentials.json").read_text())
    return Server(data_dir, process, credentials, "".join(said))


def run_to_end(data_dir: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """For starts that are refused: exit code and output."""
    process = command(data_dir, *arguments, **environment)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


@contextmanager
def data_directory() -> Iterator[Path]:
    """A directory that Postgres' user can reach; whatever still runs there is ended."""
    with tempfile.TemporaryDirectory(prefix="atl-", dir=for_databases()) as name:
        path = Path(name)
        path.chmod(0o755)
        try:
            yield path
        finally:
            pid = path / "postgres" / "data" / "postmaster.pid"
            if pid.exists():
                try:
                    os.kill(int(pid.read_text().split()[0]), signal.SIGQUIT)
                    time.sleep(0.5)
                except ProcessLookupError:
                    pass
