"""Postgres goes away for a minute under load, and RabbitMQ: what clients see, and that nothing is
lost.

    .venv/bin/python bench/outage.py [--seconds 60] [--only NAME...] [--quick] [--json FILE]
        [--plot FILE.png]

The real process on a Postgres of its own behind a wire that can be cut. Sixteen gateways send a
batch at a time, the same one again until it is answered (after a refusal, a second later). One
after the other Postgres is frozen (SIGSTOP), shut down, killed with -9, cut off in silence, and
left with a full disk (root alone: it needs a small file system); each time it comes back after
that many seconds. Every batch that was answered must be there in the end, once and in order.

Then the same with the role http, the role engine and RabbitMQ between them, which is frozen,
killed, cut off from both in silence, and short of memory and of disk by its own alarms: batches are
answered with 202, and what the face can read without a broker it must go on reading.

JSON keys: `headline` {lost, doubled, late, slowest_refusal_s, recovery_max_s, rss_growth_mib};
`outages` {name: {ok_per_s, refused, slowest_first_s (began before it was known), slowest_refusal_s
(begun later), unready_after_s, not_alive, reads_failed (of four a second), recovery_s (back to the
first answer), rss_before_mib, rss_max_mib (of our processes together)}}; `seconds` {name: [[second,
answered, refused, rss_mib]]}.
"""

import argparse
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from tests.broker import INSTALL, reason_to_skip
from tests.wire_to import Wire, open_wire

from atalaia.model.errors import StartupRefused
from atalaia.storage.cluster import SOCKET_NAME, Cluster, locate
from atalaia.storage.embedded import start, stop
from gateways import TAKEN, Account, Gateway, finish
from road import Road, open_road
from server import Server, say

ROOT = Path(__file__).resolve().parents[1]
GATEWAYS = 16
ROWS = 20
CALM_S = 5.0
KNOWN_S = 2.0  # a request that began later must be refused at once
TMPFS = "size=3g"
START_MS = 1_000 * (int(time.time()) // 86_400 * 86_400 - 2 * 86_400)


def batch(gateway: int, number: int) -> list[dict[str, object]]:
    return [
        {"sensor": f"g{gateway}", "metric": "t", "ts": START_MS + 100 * n, "value": n}
        for n in range(number * ROWS, (number + 1) * ROWS)
    ]


@dataclass(frozen=True)
class Look:
    """What the watcher saw at a moment."""

    at: float
    ready: bool
    alive: bool
    reads: bool
    rss_mib: float


@dataclass
class Log:
    """What gateways and the watcher saw."""

    account: Account = field(default_factory=Account)
    looks: list[Look] = field(default_factory=list)


def watch(servers: list[Server], log: Log, ends: threading.Event) -> None:
    """Readiness, liveness and a read of the first, and the memory of all, four times a second."""
    face = servers[0]
    connection = http.client.HTTPConnection(*face.address, timeout=10)

    def passes(path: str) -> bool:
        connection.request("GET", path, headers={"X-API-Key": face.credentials["api_key"]})
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200

    while not ends.wait(0.25):
        now = time.monotonic()
        seen = [passes(path) for path in ("/health/ready", "/health/live", "/v1/sensors?limit=1")]
        log.looks.append(Look(now, *seen, sum(server.rss_mib() for server in servers)))


@dataclass(frozen=True)
class Site:
    """Postgres, and what lies between us and it."""

    cluster: Cluster
    wire: Wire

    def pids(self) -> list[int]:
        postmaster = int((self.cluster.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def signal(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(self) -> None:
        for _ in range(100):
            try:
                start(self.cluster)
            except StartupRefused:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError("Postgres did not start again")

    def fill(self) -> None:
        with (self.cluster.data.parent / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                ballast.write(b"\0" * 65536)
                ballast.flush()

    def empty(self) -> None:
        (self.cluster.data.parent / "ballast").unlink()
        self.start()  # adopts it if it has survived


POSTGRES: dict[str, tuple[Callable[[Site], None], Callable[[Site], None]]] = {
    "frozen": (lambda s: s.signal(signal.SIGSTOP), lambda s: s.signal(signal.SIGCONT)),
    "stopped": (lambda s: stop(s.cluster), Site.start),
    "killed": (lambda s: s.signal(signal.SIGKILL), Site.start),
    "cut": (lambda s: s.wire.cut(), lambda s: s.wire.mend()),
    "full": (Site.fill, Site.empty),
}
BROKER: dict[str, tuple[Callable[[Road], None], Callable[[Road], None]]] = {
    "broker frozen": (Road.freeze, Road.thaw),
    "broker killed": (lambda r: r.broker.kill(), lambda r: r.broker.start()),
    "broker cut": (lambda r: r.wire.cut(), lambda r: r.wire.mend()),
    "broker memory": (
        lambda r: r.control("set_vm_memory_high_watermark", "0.000001"),
        lambda r: r.control("set_vm_memory_high_watermark", "absolute", "1GB"),
    ),
    "broker disk": (
        lambda r: r.control("set_disk_free_limit", "1000000GB"),
        lambda r: r.control("set_disk_free_limit", "1MB"),
    ),
}
SLOW_TO_MAKE = ("full", "broker memory", "broker disk")  # seconds until the disk is full, say
OUTAGES = (*POSTGRES, *BROKER)


@dataclass(frozen=True)
class Stage:
    """Who is asked, who stores, and what is done to what is between or behind them."""

    face: Server
    engine: Server
    leave: Callable[[], None]
    come_back: Callable[[], None]
    drained: Callable[[int], None] = lambda rows: None


@contextmanager
def open_site(directory: Path, *, small: bool) -> Iterator[Site]:
    """A Postgres in the directory; small: on a file system that can be filled."""
    directory.mkdir(mode=0o755)
    if small:
        subprocess.run(["mount", "-t", "tmpfs", "-o", TMPFS, "tmpfs", directory], check=True)
        directory.chmod(0o755)
    try:
        cluster = locate(directory)
        start(cluster)
        try:
            with open_wire(cluster.sockets / SOCKET_NAME) as wire:
                yield Site(cluster, wire)
        finally:
            stop(cluster)
    finally:
        if small:
            subprocess.run(["umount", "-l", directory], check=True)


@contextmanager
def open_stage(name: str, scratch: Path) -> Iterator[Stage]:
    home = scratch / f"{name.replace(' ', '-')}-server"
    home.mkdir(mode=0o755)
    if name in BROKER:
        with open_road(home, home) as road:
            leave, come_back = (partial(act, road) for act in BROKER[name])
            yield Stage(road.face, road.engine, leave, come_back, road.drained)
        return
    with open_site(scratch / name, small=name == "full") as site:
        url = f"postgresql://postgres@127.0.0.1:{site.wire.port}/atalaia"
        server = Server(home, database_url=url)
        leave, come_back = (partial(act, site) for act in POSTGRES[name])
        yield Stage(server, server, leave, come_back)
        server.stop()


def figures(log: Log, away: float, back: float) -> dict[str, float]:
    """What one outage looked like; away, back: when it began and ended."""
    every, looks = log.account.seen, log.looks
    refused = [s for s in every if s.status not in TAKEN and s.ended > away]
    first = [s for s in every if s.began <= away + KNOWN_S and s.ended > away]
    later = [s for s in refused if away + KNOWN_S < s.began < back]
    calm = [s for s in every if s.status in TAKEN and s.ended < away]
    unready = next((look.at for look in looks if not look.ready), float("inf"))
    return {
        "ok_per_s": round(len(calm) / CALM_S),
        "refused": len(refused),
        "unanswered": sum(s.status == 0 for s in every),
        "slowest_first_s": round(max((s.ended - s.began for s in first), default=0.0), 2),
        "slowest_refusal_s": round(max((s.ended - s.began for s in later), default=0.0), 2),
        "unready_after_s": round(max(0.0, unready - away), 2),
        "not_alive": sum(not look.alive for look in looks),
        "reads_failed": sum(not look.reads for look in looks),
        "recovery_s": round(
            min(s.ended for s in every if s.status in TAKEN and s.ended > back) - back, 2
        ),
        "rss_before_mib": round(max(look.rss_mib for look in looks if look.at < away)),
        "rss_max_mib": round(max(look.rss_mib for look in looks)),
    }


def by_second(log: Log, begin: float) -> list[list[float]]:
    table: dict[int, list[float]] = {}
    for seen in log.account.seen:
        row = table.setdefault(int(seen.ended - begin), [0, 0, 0])
        row[0 if seen.status in TAKEN else 1] += 1
    for look in log.looks:
        row = table.setdefault(int(look.at - begin), [0, 0, 0])
        row[2] = max(row[2], look.rss_mib)
    return [[second, *row] for second, row in sorted(table.items())]


@dataclass
class Wrong:
    """Readings that are not as they were answered, over all outages."""

    lost: int = 0
    doubled: int = 0
    late: int = 0


def run(
    name: str, scratch: Path, seconds: float, wrong: Wrong
) -> tuple[dict[str, float], list[list[float]]]:
    """Returns the figures and the seconds."""
    with open_stage(name, scratch) as stage:
        rule = {"text": "rule high on sensors when avg(t, 10s) > 1e9"}
        stage.engine.call("/v1/rules", rule)
        log, ends = Log(), threading.Event()
        gateways = [
            Gateway(n, stage.face, log.account, batch, again_s=1, pause_s=0.02)
            for n in range(GATEWAYS)
        ]
        servers = list(dict.fromkeys((stage.face, stage.engine)))
        watcher = threading.Thread(target=watch, args=(servers, log, ends))
        begin = time.monotonic()
        for thread in (*gateways, watcher):
            thread.start()
        time.sleep(CALM_S)
        say(f"{name}: away for {seconds:.0f} s")
        away = time.monotonic()
        stage.leave()
        if name in SLOW_TO_MAKE:
            away = time.monotonic()
        time.sleep(max(0.0, away + seconds - time.monotonic()))
        stage.come_back()
        back = time.monotonic()
        time.sleep(2 * CALM_S)
        finish(gateways)
        ends.set()
        watcher.join()
        acked = log.account.acked
        stage.drained(acked)
        count = "SELECT count(*) FROM readings WHERE ts < 'infinity'"
        value = f"round((extract(epoch FROM ts) * 1000 - {START_MS}) / 100)"
        stored = int(stage.engine.sql(count))
        wrong.lost += max(0, acked - stored)
        wrong.doubled += max(0, stored - acked)
        wrong.doubled += int(stage.engine.sql(f"{count} AND value <> {value}"))
        wrong.late += int(stage.engine.sql(f"{count} AND late"))
    return figures(log, away, back), by_second(log, begin)


def plot(file: Path, target: Path) -> None:
    """Draw it with matplotlib, in an environment of its own."""
    python = ROOT / "bench" / ".venv-plot" / "bin" / "python"
    if not python.exists():
        venv.create(python.parents[1], with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "matplotlib==3.10.*"], check=True)
    subprocess.run([python, ROOT / "bench" / "plot_outage.py", file, target], check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=OUTAGES, nargs="+")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    names = options.only or (["stopped", "cut"] if options.quick else list(OUTAGES))
    if os.geteuid() != 0 and "full" in names:
        say("full: left out, a small file system can be mounted by root alone")
        names.remove("full")
    if reason_to_skip() and set(names) & set(BROKER):
        say(f"of RabbitMQ: left out, {INSTALL}")
        names = [name for name in names if name not in BROKER]
    scratch = Path(tempfile.mkdtemp(prefix="atl-outage-"))
    scratch.chmod(0o755)
    outages, table, wrong = {}, {}, Wrong()
    try:
        for name in names:
            seconds = 5 if options.quick else options.seconds
            outages[name], table[name] = run(name, scratch, seconds, wrong)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    columns = list(next(iter(outages.values())))
    print(f"{'':>18}" + "".join(f"{name:>15}" for name in outages))
    for column in columns:
        print(f"{column:>18}" + "".join(f"{found[column]:>15}" for found in outages.values()))
    headline = {
        **asdict(wrong),
        "slowest_refusal_s": max(found["slowest_refusal_s"] for found in outages.values()),
        "recovery_max_s": max(found["recovery_s"] for found in outages.values()),
        "rss_growth_mib": max(
            found["rss_max_mib"] - found["rss_before_mib"] for found in outages.values()
        ),
    }
    for key, figure in headline.items():
        print(f"{key:>18}{figure:>10}")
    result = {"headline": headline, "outages": outages, "seconds": table}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as kept:
        json.dump(result, kept)
        kept.flush()
        if options.plot:
            plot(Path(kept.name), options.plot)
        if options.json:
            shutil.copyfile(kept.name, options.json)
    if any(asdict(wrong).values()):
        sys.exit("what was answered and what is stored differ")


if __name__ == "__main__":
    main()
