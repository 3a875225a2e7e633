"""Postgres goes away for a minute under load: what clients see, and that nothing is lost.

    .venv/bin/python bench/outage.py [--seconds 60] [--quick] [--json FILE] [--plot FILE.png]

The real process on a Postgres of its own behind a wire that can be cut. Sixteen gateways send a
batch at a time, the same one again until it is answered (after a refusal, a second later). One
after the other Postgres is frozen (SIGSTOP), shut down, killed with -9, cut off in silence, and
left with a full disk (root alone: it needs a small file system); each time it comes back after
that many seconds. Every batch that was answered with 200 must be there in the end, once.

JSON keys: `headline` {lost, doubled, slowest_refusal_s, recovery_max_s, rss_growth_mib}; `outages`
{name: {ok_per_s, refused, slowest_first_s (began before it was known), slowest_refusal_s (begun
later), unready_after_s, recovery_s (back to the first 200), rss_before_mib, rss_max_mib}};
`seconds` {name: [[second, answered, refused, rss_mib]]}.
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
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from tests.wire_to import Wire, open_wire

from atalaia.model.errors import StartupRefused
from atalaia.storage.cluster import SOCKET_NAME, Cluster, locate
from atalaia.storage.embedded import start, stop
from server import Server, say

ROOT = Path(__file__).resolve().parents[1]
GATEWAYS = 16
ROWS = 20
CALM_S = 5.0
KNOWN_S = 2.0  # a request that began later must be refused at once
TMPFS = "size=700m"
START_MS = 1_000 * (int(time.time()) // 86_400 * 86_400 - 2 * 86_400)


@dataclass(frozen=True)
class Seen:
    """One request, by the clock of this process."""

    began: float
    ended: float
    status: int  # 0: no answer at all


@dataclass
class Log:
    """What gateways and the watcher saw."""

    seen: list[Seen] = field(default_factory=list)
    ready: list[tuple[float, bool, bool]] = field(default_factory=list)
    rss: list[tuple[float, float]] = field(default_factory=list)
    acked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Gateway(threading.Thread):
    """A connection, a batch at a time; ends when told to, after its last batch was answered."""

    def __init__(self, number: int, server: Server, log: Log) -> None:
        super().__init__()
        self.number, self.server, self.log = number, server, log
        self.ends = threading.Event()
        self.sent = 0

    def run(self) -> None:
        connection = None
        while not self.ends.is_set():
            first = self.sent * ROWS
            rows = [
                {"sensor": f"g{self.number}", "metric": "t", "ts": START_MS + 100 * n, "value": n}
                for n in range(first, first + ROWS)
            ]
            body = json.dumps(rows)
            while True:
                if connection is None:
                    connection = http.client.HTTPConnection(*self.server.address, timeout=20)
                began, status = time.monotonic(), 0
                try:
                    connection.request(
                        "POST", "/v1/readings", body,
                        {"X-API-Key": self.server.credentials["api_key"]},
                    )  # fmt: skip
                    answer = connection.getresponse()
                    text = answer.read()
                    status = answer.status
                    if status not in (200, 503):
                        raise AssertionError(f"{status}: {text[:200]!r}")
                    if status == 503 and not int(answer.headers["Retry-After"]):
                        raise AssertionError("a refusal without a delay")
                except (OSError, http.client.HTTPException):
                    connection = None
                with self.log.lock:
                    self.log.seen.append(Seen(began, time.monotonic(), status))
                if status == 200:
                    break
                time.sleep(1)
            self.sent += 1
            with self.log.lock:
                self.log.acked += ROWS
            time.sleep(0.02)


def watch(server: Server, log: Log, ends: threading.Event) -> None:
    """Readiness, liveness and memory, four times a second."""
    connection = http.client.HTTPConnection(*server.address, timeout=10)

    def passes(path: str) -> bool:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200

    while not ends.wait(0.25):
        now = time.monotonic()
        log.ready.append((now, passes("/health/ready"), passes("/health/live")))
        log.rss.append((now, server.rss_mib()))


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


OUTAGES: dict[str, tuple[Callable[[Site], None], Callable[[Site], None]]] = {
    "frozen": (lambda s: s.signal(signal.SIGSTOP), lambda s: s.signal(signal.SIGCONT)),
    "stopped": (lambda s: stop(s.cluster), Site.start),
    "killed": (lambda s: s.signal(signal.SIGKILL), Site.start),
    "cut": (lambda s: s.wire.cut(), lambda s: s.wire.mend()),
    "full": (Site.fill, Site.empty),
}


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


def figures(log: Log, away: float, back: float) -> dict[str, float]:
    """What one outage looked like; away, back: when it began and ended."""
    refused = [s for s in log.seen if s.status != 200 and s.ended > away]
    first = [s for s in log.seen if s.began <= away + KNOWN_S and s.ended > away]
    later = [s for s in refused if away + KNOWN_S < s.began < back]
    before = [rss for at, rss in log.rss if at < away]
    calm = [s for s in log.seen if s.status == 200 and s.ended < away]
    return {
        "ok_per_s": round(len(calm) / CALM_S),
        "refused": len(refused),
        "unanswered": sum(s.status == 0 for s in log.seen),
        "slowest_first_s": round(max((s.ended - s.began for s in first), default=0.0), 2),
        "slowest_refusal_s": round(max((s.ended - s.began for s in later), default=0.0), 2),
        "unready_after_s": round(next(at for at, ready, _ in log.ready if not ready) - away, 2),
        "not_alive": sum(not alive for _, _, alive in log.ready),
        "recovery_s": round(
            min(s.ended for s in log.seen if s.status == 200 and s.ended > back) - back, 2
        ),
        "rss_before_mib": round(max(before)),
        "rss_max_mib": round(max(rss for _, rss in log.rss)),
    }


def by_second(log: Log, begin: float) -> list[list[float]]:
    table: dict[int, list[float]] = {}
    for seen in log.seen:
        row = table.setdefault(int(seen.ended - begin), [0, 0, 0])
        row[0 if seen.status == 200 else 1] += 1
    for at, rss in log.rss:
        row = table.setdefault(int(at - begin), [0, 0, 0])
        row[2] = max(row[2], rss)
    return [[second, *row] for second, row in sorted(table.items())]


def run(
    name: str, scratch: Path, seconds: float
) -> tuple[dict[str, float], list[list[float]], int, int]:
    """Returns the figures, the seconds, and how many readings were lost and doubled."""
    leave, come_back = OUTAGES[name]
    with open_site(scratch / name, small=name == "full") as site:
        home = scratch / f"{name}-server"
        home.mkdir(mode=0o755)
        url = f"postgresql://postgres@127.0.0.1:{site.wire.port}/atalaia"
        server = Server(home, database_url=url)
        server.call("/v1/rules", {"text": "rule high on sensors when avg(t, 10s) > 1e9"})
        log, ends = Log(), threading.Event()
        gateways = [Gateway(n, server, log) for n in range(GATEWAYS)]
        watcher = threading.Thread(target=watch, args=(server, log, ends))
        begin = time.monotonic()
        for thread in (*gateways, watcher):
            thread.start()
        time.sleep(CALM_S)
        say(f"{name}: away for {seconds:.0f} s")
        away = time.monotonic()
        leave(site)
        time.sleep(max(0.0, away + seconds - time.monotonic()))
        come_back(site)
        back = time.monotonic()
        time.sleep(2 * CALM_S)
        for gateway in gateways:
            gateway.ends.set()
        for gateway in gateways:
            gateway.join()
        ends.set()
        watcher.join()
        stored = int(server.sql("SELECT count(*) FROM readings WHERE ts < 'infinity'"))
        wrong = int(
            server.sql(
                "SELECT count(*) FROM readings WHERE ts < 'infinity' AND"
                f" value <> round((extract(epoch FROM ts) * 1000 - {START_MS}) / 100)"
            )
        )
        server.stop()
    lost, doubled = max(0, log.acked - stored), max(0, stored - log.acked) + wrong
    return figures(log, away, back), by_second(log, begin), lost, doubled


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
    parser.add_argument("--only", choices=OUTAGES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    names = [options.only] if options.only else list(OUTAGES)
    if options.quick and not options.only:
        names = ["stopped", "cut"]
    if os.geteuid() != 0 and "full" in names:
        say("full: left out, a small file system can be mounted by root alone")
        names.remove("full")
    scratch = Path(tempfile.mkdtemp(prefix="atl-outage-"))
    scratch.chmod(0o755)
    outages, table, lost, doubled = {}, {}, 0, 0
    try:
        for name in names:
            found, table[name], missing, more = run(
                name, scratch, 5 if options.quick else options.seconds
            )
            outages[name] = found
            lost, doubled = lost + missing, doubled + more
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    columns = list(next(iter(outages.values())))
    print(f"{'':>18}" + "".join(f"{name:>10}" for name in outages))
    for column in columns:
        print(f"{column:>18}" + "".join(f"{found[column]:>10}" for found in outages.values()))
    headline = {
        "lost": lost,
        "doubled": doubled,
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
    if lost or doubled:
        sys.exit("what was answered and what is stored differ")


if __name__ == "__main__":
    main()
