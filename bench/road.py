"""The road through RabbitMQ, every part a process of its own: role http, broker, role engine.

Both roles reach the broker over a wire that can be cut, and that tells of acknowledgements: what
the engine acknowledges is committed.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from tests.broker import INSTALL, SERVER, Node, open_node, reason_to_skip
from tests.wire_to import Wire, open_wire

from atalaia.amqp.dead_letters import Selection, count_aio
from atalaia.amqp.topology import Topology, setup_aio
from server import UP, Server

SETTLE_S = 5.0  # RabbitMQ 3.10 finds no more a quorum queue that was declared just before a kill
DRAIN_S = 60.0
ACK = re.compile(rb"\x01..\x00\x00\x00\x0d\x00\x3c\x00\x50.{9}\xce", re.DOTALL)


@dataclass
class Acks:
    """When the engine acknowledged, by the bytes on the wire."""

    last: float = 0.0
    came: threading.Condition = field(default_factory=threading.Condition)

    def heard(self, data: bytes) -> None:
        if ACK.search(data):
            with self.came:
                self.last = time.monotonic()
                self.came.notify_all()

    def after(self, moment: float) -> float:
        """Wait for the first one after this moment; returns when it came."""
        with self.came:
            if not self.came.wait_for(lambda: self.last > moment, 60):
                raise AssertionError("nothing was acknowledged for a minute")
            return self.last


@dataclass
class Road:
    """Made by `open_road`."""

    broker: Node
    wire: Wire
    acks: Acks
    engine: Server
    face: Server

    def signal_broker(self, number: int) -> None:
        assert self.broker.process is not None
        os.killpg(self.broker.process.pid, number)

    def freeze(self) -> None:
        self.signal_broker(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal_broker(signal.SIGCONT)

    def control(self, *arguments: str) -> None:
        """rabbitmqctl."""
        command = [str(SERVER.with_name("rabbitmqctl")), *arguments]
        done = subprocess.run(
            command, env=self.broker.environment, cwd=self.broker.directory, capture_output=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())

    def letters(self) -> int:
        """How many dead letters there are."""
        return asyncio.run(count_aio(self.broker.amqp_url, Selection()))

    def drained(self, rows: int) -> None:
        """Wait until so many readings are stored, or nothing has come for a while."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < DRAIN_S:
            found = int(self.engine.sql("SELECT count(*) FROM readings WHERE ts < 'infinity'"))
            if found >= rows:
                return
            if found != before:
                before, since = found, time.monotonic()
            time.sleep(0.2)


def postgres_pids(server: Server) -> Iterator[int]:
    """The postmaster of the data directory, and then its children."""
    file = server.directory / "postgres" / "data" / "postmaster.pid"
    if not file.exists():
        return
    postmaster = int(file.read_text().split()[0])
    yield postmaster
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
    if children.exists():
        yield from map(int, children.read_text().split())


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def open_road(directory: Path, scratch: Path) -> Iterator[Road]:
    """An engine on a data directory, a face beside it, and a broker of their own."""
    if "ATALAIA_TEST_AMQP_URL" in os.environ:
        sys.exit("ATALAIA_TEST_AMQP_URL names a broker, and this one must be ours to kill")
    if reason_to_skip():
        sys.exit(INSTALL)
    acks = Acks()
    with open_node() as broker:
        port = int(broker.amqp_url.rsplit(":", 1)[1])
        asyncio.run(setup_aio(broker.amqp_url, Topology()))
        time.sleep(SETTLE_S)
        with open_wire(("127.0.0.1", port)) as wire:
            wire.heard = acks.heard
            url = f"amqp://guest:guest@127.0.0.1:{wire.port}"
            engine = Server(directory, (*UP, "--role", "engine"), rabbitmq_url=url)
            try:
                home = scratch / "face"
                home.mkdir(mode=0o755)
                face = Server(home, (*UP, "--role", "http"), engine.database_url, url)
                try:
                    yield Road(broker, wire, acks, engine, face)
                finally:
                    face.stop()
            finally:
                engine.stop()
