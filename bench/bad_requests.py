"""Nothing that a client sends makes a 5xx, unbounded memory, or a server deaf to the others.

    .venv/bin/python bench/bad_requests.py [--quick] [--json FILE]

The real command. First one request of each kind on a fresh socket, for the table. Then 10,000 of
them in a mix from 8 threads over raw sockets, and the same 10,000 once more: what memory they
cost at first is warm-up, what the second time adds would be a leak. Meanwhile 100 sockets stand
open with a body that does not go on, and another client sends a good reading now and then. Kinds
with bodies of megabytes are rare in the mix, so that it does not measure the loopback.

JSON keys: `headline` {kinds, requests, server_errors, unanswered, rss_before_mib, rss_after_mib,
rss_after_twice_mib, rss_peak_mib, good, good_failed, good_p99_ms, stalled, stalled_answers
(status: count)}; `kinds` the table's rows {kind, status, code, detail}; `statuses` of the mix
(none: the client left first).
"""

import argparse
import json
import random
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import loader
from server import Server, open_server, say

THREADS = 8
STALLED = 100
TIMEOUT_S = 60.0  # beyond the server's 30 s for a body
GOOD_EVERY_S = 0.1
MAX_BODY = 8 * 1024 * 1024
COMMON, RARE = 100, 1  # weights in the mix

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


@dataclass(frozen=True)
class Writer:
    """Requests as bytes, right but for what a kind is about."""

    host: str
    key: str

    def head(self, line: str, *fields: str) -> bytes:
        return "\r\n".join((f"{line} HTTP/1.1", f"host: {self.host}", *fields, "", "")).encode()

    def ask(self, line: str, body: bytes = b"", *fields: str) -> bytes:
        own = (f"x-api-key: {self.key}", f"content-length: {len(body)}")
        return self.head(line, *own, *fields) + body

    def post(self, body: bytes | str, *fields: str) -> bytes:
        raw = body.encode() if isinstance(body, str) else body
        return self.ask("POST /v1/readings", raw, *fields)

    def post_as(self, key: bytes) -> bytes:
        return self.post("[]").replace(self.key.encode(), key)

    def one(
        self, *, sensor: str = '"s"', metric: str = '"t"', ts: str = "", value: str = "1"
    ) -> bytes:
        """One row; each field is JSON text."""
        return self.post(f"[{row(sensor, metric, ts, value)}]")

    def promise(self, size: int, body: bytes) -> bytes:
        own = (f"x-api-key: {self.key}", f"content-length: {size}")
        return self.head("POST /v1/readings", *own) + body

    def chunked(self, *parts: bytes) -> bytes:
        """Without the last chunk, which says that there are no more."""
        own = (f"x-api-key: {self.key}", "transfer-encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return self.head("POST /v1/readings", *own) + body


def row(sensor: str = '"s"', metric: str = '"t"', ts: str = "", value: str = "1") -> str:
    ts = ts or str(time.time_ns() // 1_000_000)
    return f'{{"sensor":{sensor},"metric":{metric},"ts":{ts},"value":{value}}}'


def bad_bodies(writer: Writer) -> list[Kind]:
    post, packed = writer.post, gzip(row().encode())
    many = f'{{"sensor":"s","metric":"t","ts":{[*range(50_001)]},"value":{[1] * 50_001}}}'
    chunks = writer.chunked(*[b" " * 1_048_576] * 10) + b"0\r\n\r\n"
    return [
        Kind("broken JSON", post("[{")),
        Kind("every byte there is", post(bytes(range(256)))),
        Kind("200,000 brackets deep", post("[" * 200_000)),
        Kind("empty body", post("")),
        Kind("a number as the body", post("7")),
        Kind("8 MiB and a byte", post(b"[" * (MAX_BODY + 1)), RARE),
        Kind("10 MiB in chunks", chunks, RARE),
        Kind("50,001 rows", post(many.replace(" ", "")), RARE),
        Kind("50,001 bad rows", post("[" + ",".join(["1"] * 50_001) + "]"), RARE),
        Kind("50,000 bad rows", post("[" + ",".join(["1"] * 50_000) + "]"), RARE),
        Kind("gzip bomb, 1 GiB", post(bomb(), "content-encoding: gzip"), RARE),
        Kind("truncated gzip", post(packed[:-9], "content-encoding: gzip")),
        Kind("gzip that is not", post(row(), "content-encoding: gzip")),
        Kind("plain that is gzip", post(packed)),
        Kind("unknown encoding", post(row(), "content-encoding: br")),
    ]


def bad_rows(writer: Writer) -> list[Kind]:
    post, one = writer.post, writer.one
    now_ms = time.time_ns() // 1_000_000
    return [
        Kind("rows that are not rows", post('[1,null,"x",[]]')),
        Kind("fields missing", post('[{"sensor":"s"}]')),
        Kind("one good row, one bad", post(f"[{row()},{row(value='null')}]")),
        Kind("wrong types", one(sensor="7", ts="{}", value="[]")),
        Kind("100 objects deep", one(value='{"a":' * 100 + "1" + "}" * 100)),
        Kind("number as text", one(value='"1"')),
        Kind("NaN", one(value="NaN")),
        Kind("1e400", one(value="1e400")),
        Kind("integer of 5,000 digits", one(value="9" * 5_000)),
        Kind("time in an hour", one(ts=str(now_ms + 3_600_000))),
        Kind("time in 500 years", one(ts=str(16_000_000_000_000))),
        Kind("time before 1970", one(ts="-1")),
        Kind("time beyond int64", one(ts=str(10**30))),
        Kind("time without offset", one(ts='"2026-01-01T00:00:00"')),
        Kind("30th of February", one(ts='"2026-02-30T00:00:00Z"')),
        Kind("NUL in a name", one(sensor=r'"a\u0000b"')),
        Kind("lone surrogate in a name", one(sensor=r'"\ud800"')),
        Kind("SQL in a name", one(sensor='"\'; DROP TABLE tenants; --"')),
        Kind("markup in a name", one(metric='"<script>alert(1)</script>"')),
        Kind("line feed after a name", one(sensor=r'"s\n"')),
        Kind("name of 1 MB", one(sensor='"' + "x" * 1_000_000 + '"'), RARE),
    ]


def bad_questions(writer: Writer) -> list[Kind]:
    ask, rules = writer.ask, "POST /v1/rules"
    deep = b'{"text":"rule x on sensors when ' + b"(" * 50_000 + b'"}'
    return [
        Kind("no key", writer.head("POST /v1/readings", "content-length: 2") + b"[]"),
        Kind("unknown key", writer.post_as(f"atl_{'0' * 16}_{'0' * 64}".encode())),
        Kind("key of 4,000 characters", writer.post_as(b"k" * 4_000)),
        Kind("key of odd bytes", writer.post_as(b"\xff\xfe")),
        Kind("wrong precision", ask("POST /v1/readings?precision=fortnight", b"[]")),
        Kind("unknown path", ask("GET /v1/nothing")),
        Kind("wrong method", ask("DELETE /v1/alerts")),
        Kind("NUL in a path", ask("GET /v1/sensors/%00/latest")),
        Kind("broken UTF-8 in a path", ask("GET /v1/sensors/%ff%fe")),
        Kind("cursor of one's own", ask("GET /v1/alerts?cursor=WzEsIngiXQ")),
        Kind("limit of -1", ask("GET /v1/alerts?limit=-1")),
        Kind("from yesterday", ask("GET /v1/alerts?from=yesterday&to=%F0%9F%92%A5")),
        Kind("rule of nonsense", ask(rules, b'{"text":"when the moon is full"}')),
        Kind("rule 50,000 brackets deep", ask(rules, deep)),
        Kind("rule that is a list", ask(rules, b'{"text":["rule"],"more":1}')),
        Kind("tags that are not", ask("PUT /v1/sensors/s/tags", b'{"tags":{"a":1}}')),
    ]


def bad_http(writer: Writer) -> list[Kind]:
    nonsense = writer.chunked(b"[]").replace(b"\r\n2\r\n", b"\r\nzz\r\n")
    return [
        Kind("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        Kind("header without colon", b"GET / HTTP/1.1\r\nhost h\r\n\r\n"),
        Kind("two lengths", writer.post("[]", "content-length: 3")),
        Kind("negative length", writer.promise(-1, b"")),
        Kind("chunk size of nonsense", nonsense),
        Kind("100 KB of headers", writer.ask("GET /health", b"", f"x-long: {'x' * 100_000}")),
        Kind("left within the body", writer.promise(1_000, b"[{"), leaves=True),
        Kind("left within a chunk", writer.chunked(b"[{" * 500)[:-100], leaves=True),
        Kind("left within the headers", b"POST /v1/readings HT", leaves=True),
        Kind("left before the answer", writer.one(), leaves=True),
    ]


def kinds(host: str, key: str) -> list[Kind]:
    writer = Writer(host, key)
    return [*bad_bodies(writer), *bad_rows(writer), *bad_questions(writer), *bad_http(writer)]


def gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def bomb() -> bytes:
    """1 GiB of spaces as gzip, in 1,024 members of 1 kB."""
    return gzip(b" " * 1_048_576) * 1_024


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
    every = kinds(server.address[0], server.credentials["api_key"])
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
        "server_errors": sum(n for s, n in (statuses + first + late).items() if s >= 500),
        "unanswered": statuses[0] - 2 * sum(kind.leaves for kind in chosen),
        "rss_before_mib": before_mib,
        "rss_after_mib": after_mib[0],
        "rss_after_twice_mib": after_mib[1],
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
