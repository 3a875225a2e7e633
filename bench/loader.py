"""A light load generator: prebuilt HTTP/1.1 requests over raw sockets, one thread for all.

Keeps one request under way per connection and measures each from its first byte sent to its
last byte received. Python's selectors are enough: a request carries many readings.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What one run of the loader saw."""

    requests: int = 0
    rows: int = 0
    errors: dict[int, int] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.took_s if self.took_s else 0.0

    def percentile_ms(self, share: float) -> float:
        if not self.latencies_s:
            return 0.0
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass
class _Lane:
    sock: socket.socket
    source: Iterator[tuple[bytes, int]]
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    rows: int = 0
    began: float = 0.0


def request(host: str, path: str, key: str, body: bytes) -> bytes:
    """One POST, ready to be sent."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def run(
    address: tuple[str, int], sources: list[Iterator[tuple[bytes, int]]], *, most_s: float
) -> Outcome:
    """One connection per source; each source yields (request, rows). Ends when all are empty, or
    after most_s (requests under way are still finished)."""
    outcome = Outcome()
    selector = selectors.DefaultSelector()
    lanes = []
    for source in sources:
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        lanes.append(_Lane(sock, source))
    start = time.perf_counter()
    deadline = start + most_s
    busy = sum(_next(lane, selector, deadline) for lane in lanes)
    while busy:
        for key, events in selector.select(5):
            lane: _Lane = key.data
            if events & selectors.EVENT_WRITE and len(lane.unsent):
                lane.unsent = lane.unsent[lane.sock.send(lane.unsent) :]
                if not len(lane.unsent):
                    selector.modify(lane.sock, selectors.EVENT_READ, lane)
            if events & selectors.EVENT_READ:
                data = lane.sock.recv(65536)
                if not data:
                    raise ConnectionError("the server closed a connection")
                lane.received += data
                status = _complete(lane.received)
                if status is None:
                    continue
                outcome.latencies_s.append(time.perf_counter() - lane.began)
                outcome.requests += 1
                if status == 200:
                    outcome.rows += lane.rows
                else:
                    outcome.errors[status] = outcome.errors.get(status, 0) + 1
                if not _next(lane, selector, deadline):
                    busy -= 1
    outcome.took_s = time.perf_counter() - start
    for lane in lanes:
        lane.sock.close()
    return outcome


def _next(lane: _Lane, selector: selectors.BaseSelector, deadline: float) -> int:
    item = next(lane.source, None) if time.perf_counter() < deadline else None
    if lane.sock in selector.get_map():
        selector.unregister(lane.sock)
    if item is None:
        return 0
    body, lane.rows = item
    lane.unsent, lane.received = memoryview(body), bytearray()
    lane.began = time.perf_counter()
    selector.register(lane.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, lane)
    return 1


def _complete(received: bytearray) -> int | None:
    """The status, once the whole response is there."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    return int(head[9:12]) if len(received) >= end + 4 + length else None
