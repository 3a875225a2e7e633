"""The real server as a process of its own: start, kill, stop, look at it from outside.

Nothing here measures a request. Memory and CPU come from the kernel's books: Linux alone.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from atalaia.config.kernel_cache import choose_cache
from atalaia.security.api_keys import new_key
from atalaia.storage.accounts import ALL_SCOPES

UP = ("-m", "atalaia", "up")
KERNELS = Path(__file__).parent / "results"  # compiled once, not for every data directory

OFTEN = dict.fromkeys(
    ("RATE_LIMIT_MAX_REQUESTS", "ATALAIA_RATE_LIMIT_KEY", "ATALAIA_RATE_LIMIT_ACCOUNT",
     "ATALAIA_RATE_LIMIT_TENANT"),
    "1000000",
)  # fmt: skip
"""A bench asks more often than anybody may; what it would measure else is a 429."""

SAME = {"ATALAIA_JWT_SECRETS": secrets.token_hex(32)}
"""Processes of one database share it."""


class Server:
    """`atalaia up` on a data directory; may be killed and started again on the same port."""

    def __init__(
        self,
        directory: Path,
        command: Sequence[str] = UP,
        database_url: str | None = None,
        rabbitmq_url: str | None = None,
    ) -> None:
        """command: what Python runs; it takes --port and --data-dir as `atalaia up` does.

        database_url: instead of a Postgres of its own; rabbitmq_url: of roles that need it.
        """
        self.directory = directory
        self.command = command
        self.given = {"DATABASE_URL": database_url, "RABBITMQ_URL": rabbitmq_url}
        self.port = 0
        self.start()

    def start(self) -> None:
        environment = OFTEN | SAME | {k: v for k, v in os.environ.items() if k not in self.given}
        environment["NUMBA_CACHE_DIR"] = str(choose_cache(KERNELS))
        environment |= {name: url for name, url in self.given.items() if url is not None}
        self.process = subprocess.Popen(
            [sys.executable, *self.command, "--port", str(self.port),
             "--data-dir", self.directory],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        if not any("Ctrl-C" in line for line in self.process.stdout or ()):
            raise RuntimeError("the server did not start")
        self.credentials = json.loads((self.directory / "credentials.json").read_text())
        self.url: str = self.credentials["base_url"]
        self.database_url: str = self.credentials["database_url"]
        host, port = self.url.removeprefix("http://").split(":")
        self.port = int(port)
        self.address = (host, self.port)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)

    def sql(self, statement: str) -> str:
        """What psql prints, a line per row, with | between the columns."""
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-d", self.database_url, "-c", statement],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def call(self, path: str, body: object | None = None, key: str | None = None) -> dict[str, Any]:
        """GET, or POST of a body, as the first tenant unless a key is given."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": key or self.credentials["api_key"]}
        call = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(call) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def metric(self, name: str) -> float:
        """A metric without labels."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def rss_mib(self) -> float:
        """The server's resident memory; Postgres is another process."""
        return self._memory_mib("VmRSS:")

    def rss_peak_mib(self) -> float:
        """The most it ever was."""
        return self._memory_mib("VmHWM:")

    def _memory_mib(self, name: str) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(name)[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        """Seconds of CPU since it started, all its threads; to the nanosecond, unlike /proc."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # clock_getcpuclockid(3) of Linux


@contextmanager
def open_server(command: Sequence[str] = UP) -> Iterator[Server]:
    """A server on a data directory that lives as long as it."""
    directory = Path(tempfile.mkdtemp(prefix="atl-bench-"))
    directory.chmod(0o755)
    try:
        server = Server(directory, command)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def tenant_keys(database_url: str, count: int) -> list[str]:
    """Register count tenants with a key each, in bulk; returns the keys."""
    keys = [new_key() for _ in range(count)]

    async def make() -> None:
        connection = await asyncpg.connect(database_url)
        tenants = await connection.fetch(
            "INSERT INTO tenants (tenant_uuid, name) SELECT gen_random_uuid(), 'bench ' || n"
            " FROM generate_series(0, $1 - 1) AS n RETURNING tenant_id", count,
        )  # fmt: skip
        await connection.executemany(
            "INSERT INTO api_keys (tenant_id, key_id, hash, name, scopes)"
            " VALUES ($1, $2, $3, 'bench', $4)",
            [(row["tenant_id"], key.key_id, key.hash, list(ALL_SCOPES))
             for row, key in zip(tenants, keys, strict=True)],
        )  # fmt: skip
        await connection.close()

    asyncio.run(make())
    return [key.text for key in keys]


def say(text: str) -> None:
    """Progress, beside the table on stdout."""
    print(text, file=sys.stderr, flush=True)
