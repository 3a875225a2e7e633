"""Killed with -9 again and again under load: nothing acknowledged is lost, no alert differs.

    .venv/bin/python bench/crash.py [--kills 200] [--seed 1] [--quick] [--json FILE]

Clients send small batches as gateways do: the same one again until it is answered, a tenth of
the answered ones once more. Meanwhile the process is killed, alone, or with every process of its
Postgres, or one a few milliseconds after the other; a quarter of the kills fall within 4 ms of an
answer. A copy of the data directory then takes the same batches undisturbed. Readings (name, time,
value, late or not) and alert rows (ids, event times, values, history; arrival left out) of both
are compared; whatever an answer promised must be there.

kill -9 leaves the page cache alone: it says nothing of fsync, which the server refuses to run
without.

JSON keys: `headline` {kills, near_ack, acked (readings), batches, resent, lost, doubled, wrong,
alerts, alert_diff, recovery_p50_s, recovery_max_s (from the kill to the next answered batch)}.
"""

import argparse
import http.client
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from server import Server, say
from twins import ALERTS, copy_directory

CLIENTS = 8
SENSORS = 3  # of each client
SECONDS = 4  # of each sensor in a batch
START_MS = 1_000 * (int(time.time()) // 86_400 * 86_400 - 2 * 86_400)
RULES = (
    "rule warm on sensors when avg(t, 30s) > 2.5 for 5s clear when avg(t, 30s) < 1"
    " severity warning, critical when avg(t, 30s) > 3",
    "rule rough on sensors when stddev(t, 20s) > 3.5 severity info",
    "rule jump on sensors when abs(delta(t, 10s)) > 6 or rate(t, 15s) > 0.6",
    "rule odd on sensors when anomaly(t, 40s)",
)
READINGS = (
    "SELECT s.name, extract(epoch FROM ts) * 1000, value, late FROM readings"
    " JOIN series USING (tenant_id, series_id) JOIN sensors s USING (tenant_id, sensor_id)"
    " WHERE ts < 'infinity' ORDER BY 1, 2"
)


def value_of(client: int, sensor: int, second: int) -> float:
    wave = 5 * math.sin(second / (7 + client + 3 * sensor)) + second % 7 * 0.37
    return wave + (9.0 if second % 211 == 17 * sensor else 0.0)


def batch(client: int, n: int) -> list[dict[str, object]]:
    """Batch number n of a client: some seconds of its sensors, and at times a late one."""
    rows: list[dict[str, object]] = []
    for sensor in range(SENSORS):
        name = f"c{client}-{sensor}"
        for second in range(SECONDS * n, SECONDS * (n + 1)):
            ts = START_MS + 1_000 * second
            value = value_of(client, sensor, second)
            rows.append({"sensor": name, "metric": "t", "ts": ts, "value": value})
    if n % 10 == 9:
        ts = START_MS + 1_000 * SECONDS * (n - 5) + 500
        rows.append({"sensor": f"c{client}-0", "metric": "t", "ts": ts, "value": -1.0})
    return rows


@dataclass
class Account:
    """What the answers said, of all clients. One lock: they are threads."""

    acked: int = 0
    batches: int = 0
    resent: int = 0
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: threading.Condition = field(default_factory=threading.Condition)
    last_answer: float = 0.0

    def answer_after(self, moment: float) -> float:
        """Wait for the first answer after this moment; returns when it came."""
        with self.answered:
            if not self.answered.wait_for(lambda: self.last_answer > moment, 60):
                raise AssertionError("nothing was answered for a minute after a restart")
            return self.last_answer


class Client(threading.Thread):
    """One gateway: a connection, a batch at a time, until `ends` and the last one is answered."""

    def __init__(self, number: int, server: Server, account: Account, seed: int) -> None:
        super().__init__(name=f"client-{number}")
        self.number, self.server, self.account = number, server, account
        self.random = random.Random(f"{seed}/{number}")
        self.ends = threading.Event()
        self.upto: int | None = None
        self.sent = 0
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        while not self.ends.is_set() and (self.upto is None or self.sent < self.upto):
            rows = batch(self.number, self.sent)
            answer = self._send(rows)
            if answer["accepted"] + answer["duplicates"] != len(rows):
                raise AssertionError(f"the account of a batch is not exact: {answer}")
            self.sent += 1
            with self.account.lock:
                self.account.acked += len(rows)
                self.account.batches += 1
            if self.upto is None and self.random.random() < 0.1:
                again = self._send(rows)
                with self.account.lock:
                    self.account.resent += 1
                    self.account.lost += again["accepted"]  # it had been answered before

    def _send(self, rows: list[dict[str, object]]) -> dict[str, int]:
        """As a gateway does: the same batch again until it is answered."""
        body = json.dumps(rows)
        headers = {
            "X-API-Key": self.server.credentials["api_key"],
            "Content-Type": "application/json",
        }
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(*self.server.address, timeout=15)
                self._connection.request("POST", "/v1/readings", body, headers)
                response = self._connection.getresponse()
                text = response.read()
                if response.status == 200:
                    with self.account.answered:
                        self.account.last_answer = time.monotonic()
                        self.account.answered.notify_all()
                    found: dict[str, int] = json.loads(text)
                    return found
                if response.status not in (429, 503):
                    raise AssertionError(f"{response.status}: {text[:300]!r}")
            except (OSError, http.client.HTTPException):
                self._connection = None
            time.sleep(0.02)
        raise AssertionError("no answer within two minutes")


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


def strike(server: Server, scope: str, gap_s: float) -> None:
    """Kill what the scope names and start again, as a platform would."""
    postgres = list(postgres_pids(server)) if scope != "process" else []
    if scope == "postgres first":
        kill_all(postgres)
        time.sleep(gap_s)
    server.process.kill()
    if scope == "process first":
        time.sleep(gap_s)
    if scope != "postgres first":
        kill_all(postgres)
    server.process.wait()
    server.start()


SCOPES = ("process", "group", "postgres first", "process first")


def disturb(
    server: Server, account: Account, kills: int, dice: random.Random
) -> tuple[list[float], int]:
    """Returns the seconds from each kill to the next answer, and how many fell beside one."""
    recoveries, near = [], 0
    for n in range(kills):
        time.sleep(dice.uniform(0.15, 0.9))
        if n % 4 == 0:
            near += 1
            with account.answered:
                account.answered.wait(30)
            time.sleep(dice.uniform(0, 0.004))
        struck = time.monotonic()
        strike(server, SCOPES[n // 4 % len(SCOPES)], dice.uniform(0, 0.02))
        recovered = account.answer_after(time.monotonic())
        recoveries.append(recovered - struck)
        if n % 10 == 9:
            say(
                f"{n + 1} kills, {account.batches:,} batches, last back after"
                f" {recoveries[-1]:.1f} s"
            )
    return recoveries, near


def run_clients(server: Server, seed: int, upto: list[int] | None) -> tuple[Account, list[Client]]:
    account = Account()
    clients = [Client(n, server, account, seed) for n in range(CLIENTS)]
    for client in clients:
        if upto is not None:
            client.upto = upto[client.number]
        client.start()
    return account, clients


def promised(sent: list[int]) -> dict[tuple[str, int], float]:
    """Every reading that was answered, by name and time in ms."""
    return {
        (str(row["sensor"]), int(str(row["ts"]))): float(str(row["value"]))
        for client, batches in enumerate(sent)
        for n in range(batches)
        for row in batch(client, n)
    }


def stored(dump: str) -> list[tuple[str, int, float]]:
    found = []
    for line in dump.splitlines():
        name, ts, value, _ = line.split("|")
        found.append((name, round(float(ts)), float(value)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kills = 8 if options.quick else options.kills
    scratch = Path(tempfile.mkdtemp(prefix="atl-crash-"))
    scratch.chmod(0o755)
    try:
        server = Server(scratch / "calm")
        for text in RULES:
            server.call("/v1/rules", {"text": text})
        for client in range(CLIENTS):  # both copies then know the same ids
            server.call("/v1/readings", batch(client, 0))
        server.stop()
        copy_directory(scratch / "calm", scratch / "killed")

        server = Server(scratch / "killed")
        account, clients = run_clients(server, options.seed, None)
        recoveries, near = disturb(server, account, kills, random.Random(options.seed))
        for client in clients:
            client.ends.set()
        for client in clients:
            client.join()
        sent = [client.sent for client in clients]
        readings, alerts = server.sql(READINGS), server.sql(ALERTS)
        server.stop()

        say(f"the same {sum(sent):,} batches undisturbed")
        server = Server(scratch / "calm")
        _, calm_clients = run_clients(server, options.seed, sent)
        for client in calm_clients:
            client.join()
        calm_readings, calm_alerts = server.sql(READINGS), server.sql(ALERTS)
        server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

    wanted, found = promised(sent), stored(readings)
    values = {(name, ts): value for name, ts, value in found}
    recoveries.sort()
    headline = {
        "kills": kills,
        "near_ack": near,
        "acked": account.acked,
        "batches": account.batches,
        "resent": account.resent,
        "lost": account.lost + len(wanted.keys() - values.keys()),
        "doubled": len(found) - len(values) + len(values.keys() - wanted.keys()),
        "wrong": sum(values[key] != value for key, value in wanted.items() if key in values),
        "readings_diff": len(set(readings.splitlines()) ^ set(calm_readings.splitlines())),
        "alerts": len(alerts.splitlines()),
        "alert_diff": len(set(alerts.splitlines()) ^ set(calm_alerts.splitlines())),
        "recovery_p50_s": round(recoveries[len(recoveries) // 2], 2),
        "recovery_max_s": round(recoveries[-1], 2),
    }
    for name, figure in headline.items():
        print(f"{name:>16} {figure:>12,}")
    if options.json:
        options.json.write_text(json.dumps({"headline": headline}, indent=2))
    if any(headline[k] for k in ("lost", "doubled", "wrong", "readings_diff", "alert_diff")):
        sys.exit("the runs differ, or an answer's promise was not kept")


if __name__ == "__main__":
    main()
