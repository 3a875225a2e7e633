"""A rolling restart: the next engine starts before the last one stops, and readings keep coming."""

import threading
from pathlib import Path
from typing import Any

import pytest

from atalaia.storage.cluster import Cluster
from tests.process.server import Server, data_directory, start
from tests.process.test_kill_trial import send_until_answered
from tests.stack import START_MS, new_database

pytestmark = pytest.mark.process

GATEWAYS, ROWS, ROLLS = 4, 10, 4


class Gateway(threading.Thread):
    """One sensor's batches in order, each until it is answered by whoever serves then."""

    def __init__(self, number: int, lives: list[Server], ends: threading.Event) -> None:
        super().__init__()
        self.number, self.lives, self.ends = number, lives, ends
        self.sent = self.accepted = self.known = 0

    def run(self) -> None:
        while not self.ends.is_set():
            rows = [self._row(self.sent + n) for n in range(ROWS)]
            answer = send_until_answered(lambda: self.lives[-1], rows)
            self.sent += ROWS
            self.accepted += answer["accepted"]
            self.known += answer["duplicates"]

    def _row(self, n: int) -> dict[str, Any]:
        ts = START_MS + 100 * n
        return {"sensor": f"g{self.number}", "metric": "t", "ts": ts, "value": n % 100}


def roll(data_dir: Path, url: str, lives: list[Server]) -> None:
    """As a platform does it: the new one answers, the traffic turns to it, the old one stops."""
    old = lives[-1]
    lives.append(start(data_dir, DATABASE_URL=url))
    old.process.terminate()
    said, _ = old.process.communicate(timeout=60)
    assert "Traceback" not in said


def test_a_rolling_restart_loses_and_doubles_nothing(cluster: Cluster) -> None:
    """Every batch is answered; what was answered is stored, once, and judged as by one engine."""
    with data_directory() as data_dir, new_database(cluster) as url:
        lives, ends = [start(data_dir, DATABASE_URL=url)], threading.Event()
        with lives[0].client as client:
            rule = {"text": "rule high on sensors when avg(t, 1s) > 90 clear when avg(t, 1s) < 10"}
            assert client.post("/v1/rules", json=rule).status_code == 201
        gateways = [Gateway(n, lives, ends) for n in range(GATEWAYS)]
        for gateway in gateways:
            gateway.start()
        for _ in range(ROLLS):
            roll(data_dir, url, lives)
        ends.set()
        for gateway in gateways:
            gateway.join()
        with lives[-1].client as client:
            for gateway in gateways:
                assert gateway.sent == gateway.accepted + gateway.known
                stored = read_all(client, f"g{gateway.number}")
                assert stored == [n % 100 for n in range(gateway.sent)]
                alerts = client.get(f"/v1/alerts?sensor=g{gateway.number}&limit=1000").json()
                assert len(alerts["data"]) == (gateway.sent + 4) // 100
        lives[-1].stop()


def read_all(client: Any, sensor: str) -> list[float]:
    values: list[float] = []
    query: dict[str, Any] = {"metric": "t", "from": START_MS, "limit": 10_000}
    while True:
        page = client.get(f"/v1/sensors/{sensor}/readings", params=query).json()
        values += [point["value"] for point in page["data"]]
        if page["next_cursor"] is None:
            return values
        query["cursor"] = page["next_cursor"]
