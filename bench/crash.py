"""Killed with -9 again and again under load: nothing acknowledged is lost, no alert differs.

    .venv/bin/python bench/crash.py [--broker] [--kills 200] [--seed 1] [--quick] [--json FILE]

Clients send small batches as gateways do: the same one again until it is answered, a tenth of
the answered ones once more. Meanwhile the process is killed, alone, or with every process of its
Postgres, or one a few milliseconds after the other; a quarter of the kills fall within 4 ms of an
answer. A copy of the data directory then takes the same batches undisturbed. Readings (name, time,
value, late or not) and alert rows (ids, event times, values, history; arrival left out) of both
are compared; whatever an answer promised must be there.

With --broker the readings go through the role http, RabbitMQ and the role engine, and at random one
of the three is killed, or all of them and Postgres at once; a quarter of the kills within 4 ms of
an answer (202), a quarter within 4 ms of an acknowledgement, as it goes over the wire to RabbitMQ.
The copy takes its batches without a broker: both roads must end with the same rows.

kill -9 leaves the page cache alone: it says nothing of fsync, which the server refuses to run
without.

JSON keys: `headline` {kills, near_ack, acked (readings), batches, resent, lost, doubled, wrong,
readings_diff, alerts, alert_diff, recovery_p50_s, recovery_max_s (from the kill to the next
answered batch; with --broker until one is acknowledged, too)} and with --broker {near_answer,
dead_letters}; `scopes` {name: [kills, recovery p50 s, max s]}.
"""

import argparse
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from gateways import Account, Gateway, finish
from road import Road, kill_all, open_road, postgres_pids
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


class Alone:
    """One process with its Postgres."""

    scopes = ("process", "group", "postgres first", "process first")

    def __init__(self, server: Server, account: Account) -> None:
        self.face = self.engine = server
        self.account = account
        self.near: Counter[str] = Counter()

    def aim(self, n: int, dice: random.Random) -> str:
        """Wait for the moment of the nth kill; returns what is to be killed."""
        if n % 4 == 0:
            beside(self.account.answered, dice)
            self.near["near_ack"] += 1
        return self.scopes[n // 4 % len(self.scopes)]

    def strike(self, scope: str, gap_s: float) -> None:
        """Kill what the scope names and start again, as a platform would."""
        postgres = list(postgres_pids(self.engine)) if scope != "process" else []
        if scope == "postgres first":
            kill_all(postgres)
            time.sleep(gap_s)
        self.engine.process.kill()
        if scope == "process first":
            time.sleep(gap_s)
        if scope != "postgres first":
            kill_all(postgres)
        self.engine.process.wait()
        self.engine.start()

    def recovered(self, since: float) -> float:
        return self.account.answer_after(since)


class Through:
    """The road through the broker."""

    scopes = ("http", "engine", "broker", "all")

    def __init__(self, road: Road, account: Account) -> None:
        self.road, self.account = road, account
        self.near: Counter[str] = Counter()

    def aim(self, n: int, dice: random.Random) -> str:
        """As Alone's."""
        if n % 4 == 0:
            beside(self.account.answered, dice)
            self.near["near_answer"] += 1
        elif n % 4 == 2:
            beside(self.road.acks.came, dice)
            self.near["near_ack"] += 1
        return dice.choice(self.scopes)

    def strike(self, scope: str, gap_s: float) -> None:
        """Kill what the scope names; it is started again a moment later."""
        road = self.road
        postgres = list(postgres_pids(road.engine)) if scope == "all" else []
        if scope in ("broker", "all"):
            road.broker.kill()
        if scope in ("engine", "all"):
            road.engine.kill()
        kill_all(postgres)
        if scope in ("http", "all"):
            road.face.kill()
        time.sleep(gap_s)
        if scope in ("broker", "all"):
            road.broker.start()
        if scope in ("engine", "all"):
            road.engine.start()
        if scope in ("http", "all"):
            road.face.start()

    def recovered(self, since: float) -> float:
        return max(self.account.answer_after(since), self.road.acks.after(since))


def beside(came: threading.Condition, dice: random.Random) -> None:
    """Return within 4 ms of the next one."""
    with came:
        came.wait(30)
    time.sleep(dice.uniform(0, 0.004))


def disturb(scene: Alone | Through, kills: int, dice: random.Random) -> dict[str, list[float]]:
    """Returns the seconds from each kill until it goes on again, by what was killed."""
    recoveries: dict[str, list[float]] = {}
    for n in range(kills):
        time.sleep(dice.uniform(0.15, 0.9))
        scope = scene.aim(n, dice)
        struck = time.monotonic()
        scene.strike(scope, dice.uniform(0, 0.02))
        took = scene.recovered(time.monotonic()) - struck
        recoveries.setdefault(scope, []).append(took)
        if n % 10 == 9:
            say(
                f"{n + 1} kills, {scene.account.batches:,} batches, {scope} back after {took:.1f} s"
            )
    return recoveries


def gateways(
    server: Server, account: Account, seed: int, upto: list[int] | None = None
) -> list[Gateway]:
    """Started. upto: how many batches each is to send, without sending any of them twice."""
    made = []
    for n in range(CLIENTS):
        resend = random.Random(f"{seed}/{n}") if upto is None else None
        most = None if upto is None else upto[n]
        made.append(Gateway(n, server, account, batch, again_s=0.02, resend=resend, upto=most))
        made[-1].start()
    return made


@dataclass(frozen=True)
class Outcome:
    """What a disturbed run ended with."""

    account: Account
    sent: list[int]
    recoveries: dict[str, list[float]]
    near: Counter[str]
    readings: str
    alerts: str
    letters: int = 0


def run_alone(directory: Path, kills: int, seed: int) -> Outcome:
    server, account = Server(directory), Account()
    scene = Alone(server, account)
    running = gateways(server, account, seed)
    recoveries = disturb(scene, kills, random.Random(seed))
    sent = finish(running)
    readings, alerts = server.sql(READINGS), server.sql(ALERTS)
    server.stop()
    return Outcome(account, sent, recoveries, scene.near, readings, alerts)


def run_through(directory: Path, scratch: Path, kills: int, seed: int) -> Outcome:
    account = Account()
    with open_road(directory, scratch) as road:
        scene = Through(road, account)
        running = gateways(road.face, account, seed)
        recoveries = disturb(scene, kills, random.Random(seed))
        sent = finish(running)
        road.drained(len(promised(sent)))
        time.sleep(1)  # for what would be stored twice
        readings, alerts = road.engine.sql(READINGS), road.engine.sql(ALERTS)
        letters = road.letters()
    return Outcome(account, sent, recoveries, scene.near, readings, alerts, letters)


def promised(sent: list[int]) -> dict[tuple[str, int], float]:
    """Every reading that was answered, by name and time in ms."""
    return {
        (str(row["sensor"]), int(str(row["ts"]))): float(str(row["value"]))
        for client, batches in enumerate(sent)
        for n in range(batches)
        for row in batch(client, n)
    }


def differing(one: str, other: str) -> int:
    return len(set(one.splitlines()) ^ set(other.splitlines()))


def stored(dump: str) -> list[tuple[str, int, float]]:
    found = []
    for line in dump.splitlines():
        name, ts, value, _ = line.split("|")
        found.append((name, round(float(ts)), float(value)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", action="store_true")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kills = options.kills or (8 if options.quick else 100 if options.broker else 200)
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

        if options.broker:
            found = run_through(scratch / "killed", scratch, kills, options.seed)
        else:
            found = run_alone(scratch / "killed", kills, options.seed)

        say(f"the same {sum(found.sent):,} batches undisturbed")
        server = Server(scratch / "calm")
        finish(gateways(server, Account(), options.seed, found.sent), at_once=False)
        calm_readings, calm_alerts = server.sql(READINGS), server.sql(ALERTS)
        server.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

    account, wanted, rows = found.account, promised(found.sent), stored(found.readings)
    values = {(name, ts): value for name, ts, value in rows}
    recoveries = sorted(chain.from_iterable(found.recoveries.values()))
    headline = {
        "kills": kills,
        **found.near,
        "acked": account.acked,
        "batches": account.batches,
        "resent": account.resent,
        "lost": account.lost + len(wanted.keys() - values.keys()),
        "doubled": len(rows) - len(values) + len(values.keys() - wanted.keys()),
        "wrong": sum(values[key] != value for key, value in wanted.items() if key in values),
        "readings_diff": differing(found.readings, calm_readings),
        "alerts": len(found.alerts.splitlines()),
        "alert_diff": differing(found.alerts, calm_alerts),
        "recovery_p50_s": round(recoveries[len(recoveries) // 2], 2),
        "recovery_max_s": round(recoveries[-1], 2),
    }
    if options.broker:
        headline["dead_letters"] = found.letters
    scopes = {
        scope: (len(took), round(statistics.median(took), 2), round(max(took), 2))
        for scope, took in found.recoveries.items()
    }
    for name, figure in headline.items():
        print(f"{name:>16} {figure:>12,}")
    for scope, (count, middle, most) in scopes.items():
        print(f"{scope:>16} {count:>4} kills, back after {middle} s (p50), {most} s (max)")
    if options.json:
        options.json.write_text(json.dumps({"headline": headline, "scopes": scopes}, indent=2))
    wrong = ("lost", "doubled", "wrong", "readings_diff", "alert_diff", "dead_letters")
    if any(headline.get(k) for k in wrong):
        sys.exit("the runs differ, or an answer's promise was not kept")


if __name__ == "__main__":
    main()
