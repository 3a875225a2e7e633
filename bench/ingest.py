"""Readings over HTTP to committed rows, beside bare `psql \\copy` and a hand-written service.

    .venv/bin/python bench/ingest.py [--quick] [--json FILE]

Every case runs the same rows, in rounds: the copy, ours, the FastAPI service, again. Rows are
JSON, one reading per sensor and second, sensors in turn; the first ones, which
register the series, are sent before the clock starts. "copy" is psql \\copy of the same rows
as text into the same day partition with the same key (a copy of it without readings); the
service writes with executemany into one table, once with the key its author would choose
(series_id, ts) and that is ours too, so the ratio at equal keys is the ratio.

JSON keys: `headline` {rows_per_s, ratio_to_copy, ratio_to_fastapi, p50_ms, p99_ms, rounds} of the
standard case (batches of 1,000, 5 rules per series, 30 tenants), medians over the rounds;
`cases` the table's rows; `versions`.
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).parent))
import loader
from server import Server, open_server, say, tenant_keys

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / ".venv-peers"
CONNECTIONS = 16
SENSORS = 50  # per tenant

RULES = (
    "rule mean on sensors when avg(t, 5m) > 30 for 10s clear when avg(t, 5m) < 27",
    "rule low on sensors when min(t, 5m) < 1",
    "rule rough on sensors when stddev(t, 5m) > 9",
    "rule high on sensors when max(t, 1m) > 39.9 severity critical",
    "rule few on sensors when count(t, 1m) > 100000 severity info",
)


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    batch: int
    rules: int
    tenants: int
    rows: int


STANDARD = Case(batch=1_000, rules=5, tenants=30, rows=630_000)


Request = tuple[bytes, int]
"""A prebuilt request and its rows."""


def rule_texts(count: int) -> list[str]:
    """count rules: the five, then the same with other names and thresholds."""
    texts = []
    for n in range(count):
        text = RULES[n % len(RULES)]
        name = text.split()[1]
        texts.append(text.replace(f"rule {name} ", f"rule {name}{n} "))
    return texts


def value(n: int) -> float:
    return 20 + (n * 7919 % 1000) / 100


def requests(
    case: Case, tenant: int, host: str, key: str, start_ms: int
) -> list[tuple[bytes, int]]:
    """The prebuilt requests of one tenant: its sensors in turn, a second apart."""
    count = case.rows // case.tenants
    found = []
    for first in range(0, count, case.batch):
        size = min(case.batch, count - first)
        body = ",".join(
            f'{{"sensor":"s{n % SENSORS}","metric":"t",'
            f'"ts":{start_ms + 1000 * (n // SENSORS)},"value":{value(n + tenant)}}}'
            for n in range(first, first + size)
        )
        found.append((loader.request(host, "/v1/readings", key, f"[{body}]".encode()), size))
    return found


def lanes(per_tenant: list[list[tuple[bytes, int]]]) -> list[Iterator[tuple[bytes, int]]]:
    """A tenant stays on one connection; tenants of a connection take turns."""
    lanes: list[list[list[tuple[bytes, int]]]] = [
        [] for _ in range(min(CONNECTIONS, len(per_tenant)))
    ]
    for n, items in enumerate(per_tenant):
        lanes[n % len(lanes)].append(items)

    def turns(mine: list[list[tuple[bytes, int]]]) -> Iterator[tuple[bytes, int]]:
        longest = max(len(items) for items in mine)
        for step in range(longest):
            for items in mine:
                if step < len(items):
                    yield items[step]

    return [turns(mine) for mine in lanes]


def add_rules(server: Server, key: str, count: int) -> None:
    for text in rule_texts(count):
        server.call("/v1/rules", {"text": text}, key)


class Peer:
    """The hand-written service on the same Postgres."""

    def __init__(self, database_url: str) -> None:
        ensure_peers()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        self.process = subprocess.Popen(
            [PEERS / "bin" / "uvicorn", "fastapi_asyncpg:app", "--port", str(self.address[1]),
             "--loop", "uvloop", "--http", "httptools", "--no-access-log",
             "--log-level", "warning"],
            cwd=ROOT / "bench" / "peers", env=os.environ | {"PEER_DATABASE_URL": database_url},
        )  # fmt: skip
        for _ in range(100):
            try:
                socket.create_connection(self.address).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the peer did not start")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def ensure_peers() -> None:
    if (PEERS / "bin" / "uvicorn").exists():
        return
    say("installing the peer's packages (once)")
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, PEERS], check=True)
    wanted = ROOT / "bench" / "requirements-peers.txt"
    subprocess.run([uv, "pip", "install", "-q", "-p", PEERS, "-r", wanted], check=True)


def sql(database_url: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(work())


def count(database_url: str, table: str) -> int:
    async def work() -> int:
        connection = await asyncpg.connect(database_url)
        found = await connection.fetchval(f"SELECT count(*) FROM {table}")
        await connection.close()
        return int(found)

    return asyncio.run(work())


def copy_rows_per_s(database_url: str, case: Case, start_ms: int, scratch: Path) -> float:
    """psql \\copy of the same rows, in the order a server would see them, in one transaction."""
    per_tenant = case.rows // case.tenants
    series = case.tenants * SENSORS
    with scratch.open("w") as file:
        for n in range(per_tenant):
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(start_ms // 1000 + n // SENSORS))
            for tenant in range(case.tenants):
                number = 1_000_000 + tenant * SENSORS + n % SENSORS
                file.write(f"{tenant}\t{number}\t{at}+00\t{value(n + tenant)}\t{at}+00\tf\n")
    assert series
    sql(
        database_url,
        "DROP TABLE IF EXISTS bench_copy",
        "CREATE TABLE bench_copy (LIKE readings INCLUDING ALL)",
        "CHECKPOINT",
    )
    began = time.perf_counter()
    subprocess.run(
        ["psql", "-q", "-X", database_url, "-c", f"\\copy bench_copy FROM '{scratch}'"], check=True
    )
    took = time.perf_counter() - began
    assert count(database_url, "bench_copy") == per_tenant * case.tenants
    return case.rows / took


def warm_up(address: tuple[str, int], per_tenant: list[list[Request]]) -> None:
    """The first requests, untimed, until every series is registered: a sensor is new once."""
    first: list[list[Request]] = []
    for items in per_tenant:
        rows = 0
        first.append([])
        while items and rows < SENSORS:
            first[-1].append(items.pop(0))
            rows += first[-1][-1][1]
    outcome = loader.run(address, lanes(first), most_s=60)
    if outcome.errors:
        raise RuntimeError(f"warming up: {outcome.errors}")


def ours_once(ours: Server, case: Case, start_ms: int, most_s: float) -> loader.Outcome:
    keys = tenant_keys(ours.database_url, case.tenants)
    for key in keys:
        add_rules(ours, key, case.rules)
    per_tenant = [requests(case, n, ours.address[0], key, start_ms) for n, key in enumerate(keys)]
    warm_up(ours.address, per_tenant)
    before = count(ours.database_url, "readings")
    sql(ours.database_url, "CHECKPOINT")
    outcome = loader.run(ours.address, lanes(per_tenant), most_s=most_s)
    stored = count(ours.database_url, "readings") - before
    if stored != outcome.rows or outcome.errors:
        raise RuntimeError(f"answered {outcome.rows}, stored {stored}, errors {outcome.errors}")
    return outcome


def peer_once(
    peer: Peer, database_url: str, case: Case, start_ms: int, most_s: float
) -> loader.Outcome:
    sql(
        database_url,
        "DROP TABLE IF EXISTS peer_readings, peer_series",
        "CREATE TABLE peer_series (series_id serial PRIMARY KEY, tenant text, sensor text,"
        " metric text, UNIQUE (tenant, sensor, metric))",
        "CREATE TABLE peer_readings (series_id int4, ts timestamptz, value float8,"
        " PRIMARY KEY (series_id, ts))",
        "CHECKPOINT",
    )
    per_tenant = [
        requests(case, n, peer.address[0], f"{time.time_ns()}-{n}", start_ms)
        for n in range(case.tenants)
    ]
    warm_up(peer.address, per_tenant)
    before = count(database_url, "peer_readings")
    outcome = loader.run(peer.address, lanes(per_tenant), most_s=most_s)
    stored = count(database_url, "peer_readings") - before
    if stored != outcome.rows or outcome.errors:
        raise RuntimeError(f"peer answered {outcome.rows}, stored {stored}, {outcome.errors}")
    return outcome


def measure(case: Case, rounds: int, most_s: float) -> dict[str, object]:
    """One case, copy and both services side by side, `rounds` times; fresh servers for each."""
    copies, mine, theirs = [], [], []
    start_ms = (int(time.time()) // 86_400 * 86_400 - 86_400) * 1000  # yesterday: one partition
    with open_server() as ours:
        ensure_peers()
        peer = Peer(ours.database_url)
        try:
            scratch = ours.directory / "rows.tsv"
            for n in range(rounds):
                copies.append(copy_rows_per_s(ours.database_url, case, start_ms, scratch))
                sql(ours.database_url, "DROP TABLE IF EXISTS bench_copy")
                mine.append(ours_once(ours, case, start_ms, most_s))
                theirs.append(peer_once(peer, ours.database_url, case, start_ms, most_s))
                say(
                    f"  {case.batch:>5} rows x {case.tenants:>4} tenants x {case.rules:>2} rules,"
                    f" round {n + 1}/{rounds}: copy {copies[-1]:>9,.0f}/s"
                    f"  ours {mine[-1].rows_per_s:>9,.0f}/s"
                    f"  fastapi {theirs[-1].rows_per_s:>9,.0f}/s"
                )
        finally:
            peer.close()
    to_copy = [o.rows_per_s / c for o, c in zip(mine, copies, strict=True)]
    to_peer = [o.rows_per_s / p.rows_per_s for o, p in zip(mine, theirs, strict=True)]
    return asdict(case) | {
        "copy_rows_per_s": statistics.median(copies),
        "rows_per_s": statistics.median(o.rows_per_s for o in mine),
        "fastapi_rows_per_s": statistics.median(p.rows_per_s for p in theirs),
        "ratio_to_copy": statistics.median(to_copy),
        "ratio_to_fastapi": statistics.median(to_peer),
        "p50_ms": statistics.median(o.percentile_ms(0.5) for o in mine),
        "p99_ms": statistics.median(o.percentile_ms(0.99) for o in mine),
        "rounds": rounds,
    }


def grid(quick: bool) -> list[Case]:
    if quick:
        return [Case(1_000, 5, 30, 330_000)]
    return [
        STANDARD,
        *(Case(batch, 5, 30, rows) for batch, rows in ((1, 3_000), (10, 30_000), (100, 150_000))),
        *(Case(1_000, rules, 30, 300_000) for rules in (0, 1, 20)),
        Case(1_000, 5, 1, 200_000),
        Case(100, 5, 1_000, 300_000),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="the standard case alone, smaller")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    cases = []
    for case in grid(options.quick):
        rounds = 2 if options.quick else 5 if case == STANDARD else 2
        cases.append(measure(case, rounds, 8.0 if options.quick else 20.0))
    columns = ("batch", "tenants", "rules", "copy_rows_per_s", "rows_per_s", "fastapi_rows_per_s",
               "ratio_to_copy", "ratio_to_fastapi", "p50_ms", "p99_ms")  # fmt: skip
    print(" | ".join(f"{name:>18}" for name in columns))
    for found in cases:
        cells = (found[name] for name in columns)
        print(" | ".join(f"{c:>18,.2f}" if isinstance(c, float) else f"{c:>18,}" for c in cells))
    if options.json:
        headline = {
            name: cases[0][name]
            for name in (
                "rows_per_s",
                "ratio_to_copy",
                "ratio_to_fastapi",
                "p50_ms",
                "p99_ms",
                "rounds",
            )
        }
        versions = {"python": platform.python_version(), "asyncpg": asyncpg.__version__}
        report = {"headline": headline, "cases": cases, "versions": versions}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
