"""The trial of promise 3: killed with -9 while readings stream in, the alerts are the same.

Two data directories, one stream with resends: one process lives on, the other is killed at
arbitrary points. The account must be exact and the alert rows must not differ in a bit.
"""

import math
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.server import Server, data_directory, start
from tests.stack import START_MS

pytestmark = pytest.mark.process

RULES = (
    "rule warm on sensors when avg(t, 30s) > 2.5 for 5s clear when avg(t, 30s) < 1",
    "rule rough on sensors when stddev(t, 20s) > 3.5 severity info",
    'rule jump on sensors "p-*" when abs(delta(t, 10s)) > 6 or rate(u, 15s) > 0.4',
)
BATCHES = 150


def stream() -> list[list[dict[str, Any]]]:
    """Two sensors, two metrics, one reading per second, some late."""
    batches = []
    for n in range(BATCHES):
        rows = []
        for k in range(10):
            second = 10 * n + k
            for sensor in ("p-1", "q-1"):
                wave = 5 * math.sin(second / (9 if sensor == "p-1" else 23)) + second % 7 * 0.37
                ts = START_MS + 1000 * second
                rows.append({"sensor": sensor, "metric": "t", "ts": ts, "value": wave})
                rows.append({"sensor": sensor, "metric": "u", "ts": ts, "value": wave * wave / 9})
        if n % 10 == 9:
            rows.append({**rows[0], "ts": START_MS + 1000 * (10 * n - 25) + 1})
        batches.append(rows)
    return batches


def send_until_answered(server_of: Any, rows: list[dict[str, Any]]) -> dict[str, int]:
    """As a gateway does: the same batch again until it is answered."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        server: Server = server_of()
        try:
            with server.client as client:
                answer = client.post("/v1/readings", json=rows)
            if answer.status_code == 200:
                return answer.json()  # type: ignore[no-any-return]
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("no answer within a minute")


def run(data_dir: Path, kills: tuple[int, ...]) -> tuple[list[dict[str, Any]], int, dict[str, int]]:
    """Returns (alerts with their history, rows stored, the account)."""
    lives = [start(data_dir)]
    with lives[0].client as client:
        for text in RULES:
            assert client.post("/v1/rules", json={"text": text}).status_code == 201
    account = {"sent": 0, "accepted": 0, "duplicates": 0, "late": 0}
    for n, rows in enumerate(stream()):
        killer = None
        if n in kills:
            # Within the flight of a batch: the answer, the commit or the start may be cut.
            def kill(delay_s: float = 0.0007 * (n % 9)) -> None:
                time.sleep(delay_s)
                lives[-1].kill()
                lives.append(start(data_dir))

            killer = threading.Thread(target=kill)
            killer.start()
        answer = send_until_answered(lambda: lives[-1], rows)
        account["sent"] += len(rows)
        for key in ("accepted", "duplicates", "late"):
            account[key] += answer[key]
        if killer is not None:
            killer.join()
    with lives[-1].client as client:
        listed = client.get("/v1/alerts?limit=1000").json()["data"]
        alerts = [client.get(f"/v1/alerts/{alert['id']}").json() for alert in listed]
        count = 0
        for sensor in ("p-1", "q-1"):
            for metric in ("t", "u"):
                path = f"/v1/sensors/{sensor}/readings?metric={metric}&limit=10000"
                count += len(client.get(path).json()["data"])
    lives[-1].stop()
    return alerts, count, account


def bare(alerts: list[dict[str, Any]]) -> list[Any]:
    """Everything of an alert but ids that are random per installation, and arrival times."""
    return [
        (
            a["rule"]["name"], a["rule"]["version"], a["sensor"], a["severity"], a["state"],
            a["opened_at"], a["opened_value"], a["cleared_at"], a["cleared_value"],
            str(a["evidence"]), str(a["opening"]),
            [(s["kind"], s["at"], s["value"]) for s in a["history"]],
        )
        for a in sorted(alerts, key=lambda a: (a["rule"]["name"], a["sensor"], a["opened_at"]))
    ]  # fmt: skip


def test_killed_and_resumed_gives_the_alerts_of_one_life() -> None:
    """Nothing acknowledged is lost, nothing is stored twice, no alert differs."""
    with data_directory() as calm, data_directory() as rough:
        alerts, count, account = run(calm, ())
        shaken_alerts, shaken_count, shaken = run(rough, (30, 71, 112))
    assert account["sent"] == account["accepted"] + account["duplicates"]
    assert account["accepted"] == count
    assert shaken["sent"] == shaken["accepted"] + shaken["duplicates"]
    assert shaken_count == count
    assert len(alerts) > 20
    assert bare(shaken_alerts) == bare(alerts)
