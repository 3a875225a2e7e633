"""The lease moves to a second process while the first is paused in the middle of its work."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from atalaia.storage.cluster import Cluster
from tests.process.server import Server, data_directory, start
from tests.process.test_kill_trial import RULES, bare, send_until_answered, stream
from tests.stack import new_database

pytestmark = pytest.mark.process

BATCHES = 90


def send_blind(server: Server, rows: list[dict[str, Any]]) -> None:
    """Whatever comes back; the process may be paused or fenced off meanwhile."""
    try:
        with server.client as client:
            client.post("/v1/readings", json=rows)
    except httpx.HTTPError:
        return


def run(data_dir: Path, url: str, moves: tuple[int, ...]) -> list[dict[str, Any]]:
    """The alerts with their history; at each of the moves another process takes over."""
    lives = [start(data_dir, DATABASE_URL=url)]
    with lives[0].client as client:
        for text in RULES:
            assert client.post("/v1/rules", json={"text": text}).status_code == 201
    for n, rows in enumerate(stream()[:BATCHES]):
        if n in moves:
            old = lives[-1]
            flight = threading.Thread(target=send_blind, args=(old, rows))
            flight.start()
            time.sleep(0.002 * (n % 7))
            os.kill(old.process.pid, signal.SIGSTOP)
            lives.append(start(data_dir, DATABASE_URL=url))
            send_until_answered(lambda: lives[-1], rows)
            # It wakes with the batch in its hands, and may neither store nor judge it again.
            os.kill(old.process.pid, signal.SIGCONT)
            send_blind(old, rows)
            flight.join()
            said, _ = old.process.communicate(timeout=30)
            assert old.process.returncode != 0
            assert "lease_lost" in said
        send_until_answered(lambda: lives[-1], rows)
    with lives[-1].client as client:
        listed = client.get("/v1/alerts?limit=1000").json()["data"]
        alerts = [client.get(f"/v1/alerts/{alert['id']}").json() for alert in listed]
    lives[-1].stop()
    return alerts


def test_a_lease_that_moves_gives_the_alerts_of_one_life(cluster: Cluster) -> None:
    """The second process goes on where the first stood, which stores nothing more and ends."""
    with (
        data_directory() as calm,
        data_directory() as moved,
        new_database(cluster) as calm_url,
        new_database(cluster) as moved_url,
    ):
        alerts = run(calm, calm_url, ())
        assert len(alerts) > 10
        assert bare(run(moved, moved_url, (24, 57))) == bare(alerts)
