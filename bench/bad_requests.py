"""Nothing that a client sends makes a 5xx, unbounded memory, or a server deaf to the others.

    .venv/bin/python bench/bad_requests.py [--quick] [--json FILE]

The real command, and the requests of tests/http/corpus. First one of each kind on a fresh socket,
for the table. Then 10,000 of them in a mix from 8 threads over raw sockets, and the same 10,000
once more: what memory they cost at first is warm-up, what the second time adds would be a leak.
Meanwhile 100 sockets stand open with a body that does not go on, and another client sends a good
reading now and then. Kinds with large bodies are rare in the mix, so that it does not measure the
loopback.

JSON keys: `headline` {kinds, requests, server_errors, unanswered, rss_before_mib, rss_after_mib,
rss_after_twice_mib, rss_growth_mib (of the second time), rss_peak_mib, good, good_failed,
good_p99_ms, stalled, stalled_answers (status: count)}; `kinds` the table's rows {kind, status,
code, detail}; `statuses` of the mix (none: the client left first).
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.http.corpus import CASES
from tests.http.corpus.tenants import SUSPENDED

import loader
from server import Server, open_server, say

THREADS = 8
STALLED = 100
TIMEOUT_S = 60.0  # beyond the server's 30 s for a body
GOOD_EVERY_S = 0.1
COMMON, RARE = 100, 1  # weights in the mix
PROTOCOLS_OWN = (501, 505)  # for an unknown transfer coding, and another version

Address = tuple[str, int]


@dataclass(frozen=True)
class Kind:
    """One way to be wrong."""

    name: str
    sent: bytes
    weight: int = COMMON
    leaves: bool = False  # the client closes instead of waiting for the answer


@dataclass(frozen=True)
class Seen:
    """What came back: status 0 when nothing did."""

    status: int
    code: str = ""
    detail: str = ""


@dataclass
class Client:
    """One keep-alive connection, opened again whenever it was closed."""

    address: Address
    sock: socket.socket | None = None

    def send(self, kind: Kind) -> Seen:
        fresh = self.sock is None
        self.sock = self.sock or socket.create_connection(self.address, timeout=TIMEOUT_S)
        try:
            self.sock.sendall(kind.sent)
            if not kind.leaves:
                status, head, body = receive(self.sock)
                if b"connection: close" in head:
                    self.close()
                return described(status, body)
        except ConnectionError:
            self.close()
            if not fresh:  # an idle connection may be closed at any time: not an answer
                return self.send(kind)
            return Seen(0, detail="the server closed the connection")
        self.close()
        return Seen(0, detail="the client left first")

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def receive(sock: socket.socket) -> tuple[int, bytes, bytes]:
    """One response: its status, its head in lower case, its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += more(sock)
    head, _, body = received.partition(b"\r\n\r\n")
    head = head.lower()
    if b"transfer-encoding: chunked" in head:  # the refusal of a handshake, in one chunk
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += more(sock)
        return int(head[9:12]), head, body.partition(b"\r\n")[2].removesuffix(b"\r\n0\r\n\r\n")
    length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
    while len(body) < int(length or 0):
        body += more(sock)
    return int(head[9:12]), head, body


def more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("closed")
    return data


def described(status: int, body: bytes) -> Seen:
    """A problem document's code and detail; of a batch those of its first rejected row."""
    if not body.startswith(b"{"):
        return Seen(status, detail=body.decode("latin-1"))
    problem = json.loads(body)
    code, detail = problem.get("code", ""), problem.get("detail", "")
    for row in problem.get("rejected", [])[:1]:
        code, detail = f"{code} {row['code']}".strip(), row["detail"]
    return Seen(status, code, detail)


def kinds(server: Server) -> list[Kind]:
    """Each case of the corpus, with somebody and something to ask about."""
    known, host = belongings(server), server.url.removeprefix("http://")
    return [
        Kind(case.name, case.request(host, known), RARE if case.is_large else COMMON, case.leaves)
        for case in CASES
    ]


def belongings(server: Server) -> dict[str, str]:
    """What the cases name: something of each sort that has an id, and who asks."""
    found = server.credentials
    rule = server.call("/v1/rules", {"text": "rule watched on sensors when t > 100"})
    now_ms = time.time_ns() // 1_000_000
    server.call("/v1/readings", {"sensor": "there", "metric": "t", "ts": now_ms, "value": 1})
    key = server.call("/v1/api-keys", {"name": "k"})
    user = server.call("/v1/users", {"email": "user@example.org"})
    login = {"email": found["admin_email"], "password": found["admin_password"]}
    person = server.call("/v1/auth/login", login)["access_token"]
    headers, path = {"Authorization": f"Bearer {person}"}, "/v1/admin/tenants"
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as above:
        above.put("/v1/profiles/there", json={}).raise_for_status()
        tenants = [
            above.post(path, json={"name": name, "admin_email": f"{name}@example.org"}).json()["id"]
            for name in ("Oficina", SUSPENDED)
        ]
        above.post(f"{path}/{tenants[1]}/suspend").raise_for_status()
    return {
        "rule": rule["id"], "sensor": "there", "key_id": key["id"], "user": user["id"],
        "key": found["api_key"], "person": person, "tenant": tenants[0], "suspended": tenants[1],
    }  # fmt: skip


def mix(address: Address, chosen: Sequence[Kind]) -> Counter[int]:
    """Send them all from THREADS threads; answers by status, 0 for none."""
    statuses: Counter[int] = Counter()
    counting = threading.Lock()

    def work(mine: Sequence[Kind]) -> None:
        client = Client(address)
        seen = Counter(client.send(kind).status for kind in mine)
        client.close()
        with counting:
            statuses.update(seen)

    threads = [threading.Thread(target=work, args=(chosen[n::THREADS],)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if statuses.total() != len(chosen):
        raise RuntimeError(f"{statuses.total()} of {len(chosen)} requests came to an end")
    return statuses


@dataclass
class Good:
    """What another client saw meanwhile."""

    failed: int = 0
    latencies_s: list[float] = field(default_factory=list)


@contextmanager
def good_client(server: Server) -> Iterator[Good]:
    """While inside, a well-behaved client sends a reading ten times a second."""
    found, done = Good(), threading.Event()

    def work() -> None:
        client = Client(server.address)
        while not done.wait(GOOD_EVERY_S):
            began = time.perf_counter()
            if client.send(good_request(server)).status != 200:
                found.failed += 1
            found.latencies_s.append(time.perf_counter() - began)
        client.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def good_request(server: Server) -> Kind:
    now_ms = time.time_ns() // 1_000_000
    body = f'{{"sensor":"good","metric":"t","ts":{now_ms},"value":1}}'.encode()
    key = server.credentials["api_key"]
    return Kind("good", loader.request(server.address[0], "/v1/readings", key, body))


def stall(server: Server) -> list[socket.socket]:
    """Open bodies that promise a megabyte and stop after a few bytes."""
    key = server.credentials["api_key"]
    start = (
        f"POST /v1/readings HTTP/1.1\r\nhost: {server.address[0]}\r\nx-api-key: {key}\r\n"
        "content-length: 1000000\r\n\r\n[{"
    )
    stalled = []
    for _ in range(STALLED):
        sock = socket.create_connection(server.address, timeout=TIMEOUT_S)
        sock.sendall(start.encode())
        stalled.append(sock)
    return stalled


def answers(stalled: Sequence[socket.socket]) -> Counter[int]:
    found: Counter[int] = Counter()
    for sock in stalled:
        try:
            found[receive(sock)[0]] += 1
        except (ConnectionError, TimeoutError):
            found[0] += 1
        sock.close()
    return found


def show(kind: Kind, seen: Seen) -> None:
    words = seen.detail if len(seen.detail) < 60 else seen.detail[:57] + "..."
    print(f"{kind.name:>26} | {seen.status or '-':>6} | {seen.code:<28} | {words}", flush=True)


def show_each(server: Server, every: Sequence[Kind]) -> list[Seen]:
    """One of each kind on a connection of its own; prints the table."""
    table = []
    print(f"{'kind':>26} | status | {'code':<28} | detail")
    for kind in every:
        client = Client(server.address)
        table.append(client.send(kind))
        client.close()
        show(kind, table[-1])
    return table


def measure(server: Server, requests: int) -> dict[str, Any]:
    client = Client(server.address)
    for _ in range(50):
        client.send(good_request(server))
    client.close()
    before_mib = server.rss_mib()
    stalled = stall(server)
    every = kinds(server)
    table = show_each(server, every)
    chosen = random.Random(7).choices(every, [kind.weight for kind in every], k=requests)
    statuses: Counter[int] = Counter()
    after_mib = []
    with good_client(server) as good:
        for again in ("", ", once more"):
            began = time.perf_counter()
            statuses += mix(server.address, chosen)
            say(f"{requests:,} bad requests{again}: {time.perf_counter() - began:.1f} s")
            after_mib.append(server.rss_mib())
        say("waiting for the answers to the bodies that do not go on")
        late = answers(stalled)
    first = Counter(seen.status for seen in table)
    headline = {
        "kinds": len(every),
        "requests": statuses.total(),
        "server_errors": sum(
            n for s, n in (statuses + first + late).items() if s >= 500 and s not in PROTOCOLS_OWN
        ),
        "unanswered": statuses[0] - 2 * sum(kind.leaves for kind in chosen),
        "rss_before_mib": before_mib,
        "rss_after_mib": after_mib[0],
        "rss_after_twice_mib": after_mib[1],
        "rss_growth_mib": after_mib[1] - after_mib[0],
        "rss_peak_mib": server.rss_peak_mib(),
        "good": len(good.latencies_s),
        "good_failed": good.failed,
        "good_p99_ms": loader.Outcome(latencies_s=good.latencies_s).percentile_ms(0.99),
        "stalled": STALLED,
        "stalled_answers": dict(late),
    }
    return {
        "headline": headline,
        "kinds": [
            {"kind": kind.name} | asdict(seen) for kind, seen in zip(every, table, strict=True)
        ],
        "statuses": {str(status or "none"): n for status, n in sorted(statuses.items())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with open_server() as server:
        report = measure(server, 2_000 if options.quick else 10_000)
    headline = report["headline"]
    print(f"answers by status: {report['statuses']}")
    for name, figure in headline.items():
        print(f"{name:>26} {f'{figure:,.1f}' if isinstance(figure, float) else figure}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2))
    if headline["server_errors"] or headline["unanswered"] or headline["good_failed"]:
        sys.exit("the server gave in to a bad request")


if __name__ == "__main__":
    main()
