"""Rollups of a process that is killed again and again."""

import random
import time

import pytest

from tests.buckets.oracle import close
from tests.process.server import data_directory, start
from tests.process.test_kill_trial import send_until_answered
from tests.stack import NOW_MS, row

pytestmark = pytest.mark.process
DAY_MS = 86_400_000
START_MS = NOW_MS // DAY_MS * DAY_MS - 3 * DAY_MS


def test_rollups_are_right_after_every_kill() -> None:
    """Late data, kill -9 while its hours are made, and at the end sums as of the readings."""
    chance = random.Random(7)
    stored: dict[int, float] = {}
    with data_directory() as data_dir:
        for life in range(4):
            server = start(data_dir)
            for _ in range(6):
                sent = {START_MS + chance.randrange(3 * DAY_MS): chance.gauss(20, 5)
                        for _ in range(200)}  # fmt: skip
                send_until_answered(lambda now=server: now, [row(*one) for one in sent.items()])
                stored |= {ts: value for ts, value in sent.items() if ts not in stored}
                time.sleep(chance.random() / 3)
            if life < 3:
                server.kill()
        with server.client as client:
            query = f"/v1/sensors/s/readings?metric=t&bucket=1h&agg=sum,count&from={START_MS}"
            for _ in range(2):
                (series,) = client.get(query).json()["data"]
                hours: dict[int, list[float]] = {}
                for ts in sorted(stored):
                    hours.setdefault(ts // 3_600_000, []).append(stored[ts])
                assert series["count"] == [len(hours[hour]) for hour in sorted(hours)]
                sums = [sum(hours[hour]) for hour in sorted(hours)]
                assert all(map(close, series["sum"], sums))
                time.sleep(22)  # the task looks every twenty seconds
        server.stop()
