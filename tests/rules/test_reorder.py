"""The waiting room by itself, against sorted lists: many readings, many sensors, any batches."""

from random import Random

import numpy as np
import pytest

from atalaia.rules.chains import NEVER
from atalaia.rules.reorder import Reorder

Row = tuple[int, int, int, float]  # sensor, ts, series, value


def columns(rows: list[Row]) -> tuple[np.ndarray, ...]:
    sensor, ts, slot, value = zip(*rows, strict=True)
    return np.array(sensor), np.array(slot), np.array(ts), np.array(value, np.float64)


def shown(slot: np.ndarray, ts: np.ndarray, value: np.ndarray) -> list[tuple[int, int, float]]:
    return list(zip(ts.tolist(), slot.tolist(), value.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(150))
def test_rows_leave_in_order_once_and_all_of_them(seed: int) -> None:
    """Three series of three sensors each, batches of up to 200 rows, restored now and then."""
    random = Random(seed)
    lateness = [0, random.choice([1, 3, 10, 60]), random.choice([0, 7])]
    series = [n // 3 for n in range(9)]
    reorder = Reorder()
    newest = np.full(9, NEVER)
    clock = dict.fromkeys(range(3), NEVER)
    stored: set[tuple[int, int]] = set()
    waiting: dict[int, list[tuple[int, int, float]]] = {n: [] for n in range(3)}

    def fill(judged: list[int]) -> None:
        for lateness_us in lateness:
            reorder.add_sensor(lateness_us)
        for slot, sensor in enumerate(series):
            known = [None if at == NEVER else at for at in (int(newest[slot]), judged[slot])]
            reorder.add_series(sensor, *known)  # type: ignore[arg-type]

    fill([NEVER] * 9)
    base = 0
    for _ in range(random.randint(1, 25)):
        count = random.choice([1, 1, 3, 20, 200])
        base += random.randint(0, count)
        slots = [random.randrange(9) for _ in range(count)]
        rows = sorted(
            (series[slot], max(0, base + random.randint(-60, 5)), slot, random.random())
            for slot in slots
        )
        sensor, slot_, ts_, value_ = columns(rows)
        before, newest_before = dict(clock), newest.tolist()
        fresh, ready = reorder.take(sensor, sensor, slot_, ts_, value_, newest)
        expected = []
        for who, ts, slot, value in rows:
            behind = ts < newest_before[slot] and ts < before[who] - lateness[who]
            expected.append((slot, ts) not in stored and not behind)
            stored.add((slot, ts))
            if expected[-1]:
                waiting[who].append((ts, slot, value))
                clock[who] = max(clock[who], ts)
        assert fresh.tolist() == expected
        out = []
        for who in sorted({row[0] for row in rows}):
            limit = clock[who] - lateness[who] if lateness[who] else clock[who] + 1
            out += [row for row in sorted(waiting[who]) if row[0] < limit]
            waiting[who] = [row for row in waiting[who] if row[0] >= limit]
        assert shown(ready.slot, ready.ts, ready.value) == out
        if random.random() < 0.1:
            judged = reorder.judged.tolist()
            left = [(who, *row) for who, mine in waiting.items() for row in mine]
            reorder = Reorder()
            fill(judged)
            if left:
                sensor, slot_, ts_, value_ = columns(random.sample(left, len(left)))
                reorder.restore(sensor, slot_, ts_, value_)
    rest = reorder.drain(None)
    assert shown(rest.slot, rest.ts, rest.value) == [
        row for mine in waiting.values() for row in sorted(mine)
    ]
    assert reorder.judged.tolist() == newest.tolist()
    assert reorder._memory.used_bytes == 0
