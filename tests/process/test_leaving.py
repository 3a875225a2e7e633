"""SIGTERM: who asks is told, what is under way is answered, and no client holds up the end."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.process.server import Server, data_directory, start
from tests.stack import START_MS, row

pytestmark = pytest.mark.process

METRICS = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    with data_directory() as path:
        server = start(path)
        yield server
        server.kill()


def connect(server: Server) -> socket.socket:
    host, _, port = server.credentials["base_url"].removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def ask(client: socket.socket, sent: bytes) -> str:
    """What comes until the body ends that was announced, or the connection."""
    client.sendall(sent)
    received = b""
    while b"\r\n\r\n" not in received or not received.rstrip().endswith(b"}"):
        part = client.recv(65_536)
        if not part:
            break
        received += part
    return received.decode()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def post(server: Server, body: bytes) -> bytes:
    key, size = server.credentials["api_key"], len(body)
    head = f"POST /v1/readings HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {size}"
    return head.encode() + b"\r\n\r\n" + body


def until_it_leaves(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout is not None
    for line in server.process.stdout:
        if "draining" in line:
            return


def test_whoever_asks_while_it_leaves_is_told(server: Server) -> None:
    """Not ready; new requests are refused, one under way is answered; each ends its connection."""
    body = json.dumps([row(START_MS, 1)]).encode()
    asked = post(server, body)
    with ExitStack() as stack:
        ready, live, gateway, busy = (stack.enter_context(connect(server)) for _ in range(4))
        for client in (ready, live, gateway):
            assert "200" in ask(client, get("/health/live"))
        busy.sendall(asked[:-10])
        time.sleep(0.5)  # it is being read
        until_it_leaves(server)
        said = {
            "ready": ask(ready, get("/health/ready")),
            "new": ask(gateway, asked),
            "busy": ask(busy, asked[-10:]),
            "live": ask(live, get("/health/live")),
        }
    first = {name: text.split()[1] for name, text in said.items()}
    assert first == {"ready": "503", "new": "503", "busy": "200", "live": "200"}
    assert '"serving":"closing"' in said["ready"]
    assert '"code":"closing"' in said["new"]
    assert "retry-after: " in said["new"].lower()
    assert '"accepted":1' in said["busy"]
    assert all("connection: close" in text.lower() for text in said.values())
    output, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, output


def test_nobody_connected_holds_up_the_end(server: Server) -> None:
    """Clients that read nothing, and idle ones, are there when it is asked to stop."""
    with ExitStack() as stack:
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            host, _, port = server.credentials["base_url"].removeprefix("http://").rpartition(":")
            client.connect((host, int(port)))
            client.sendall(METRICS * 100)
            stack.enter_context(connect(server))
        time.sleep(1)  # until the answers fill what there is to hold them
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        said, _ = server.process.communicate(timeout=60)
        assert server.process.returncode == 0, said
        assert time.monotonic() - began < 15
