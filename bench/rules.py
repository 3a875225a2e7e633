"""The rule engine by itself, and beside what its users would pick instead. One core, no I/O.

    .venv/bin/python bench/rules.py [--quick] [--json FILE]

First ours, in the cases that the engine is built for: 5 rules over 2 windows and 20 rules over 4
windows, for 100 tenants with 100 sensors each, a batch being 1,000 readings of one tenant; 10,000
sensors of one tenant in turn; a batch of one reading. Windows are full (300 readings) before the
clock starts, half of the rules have `for`, all have `clear when`, transitions are made.

Then one rule (mean over 5 minutes) over 1,000 sensors, the same readings for all, in rounds: ours
from arrays and from Python lists, a hand-written deque with a running sum, bytewax
(`stateful_map`), pathway (sliding windows with a hop of a minute: fewer answers, see
peers/rules_pathway.py). Ours, the deque and bytewax must open the same number of alerts.

JSON keys: `headline` {ns_per_reading, ns_per_reading_20_rules, ns_per_reading_round_robin,
us_batch_of_one, bytes_per_sensor (5 rules, 2 windows, 300 readings), ratio_to_deque,
ratio_to_bytewax, ratio_to_pathway (all from Python lists), ratio_to_deque_arrays}; `cases`,
`peers` readings per second; medians over the rounds. `versions`.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import stream

from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.language import parse_rule
from atalaia.rules.tenant_state import ActiveRule, TenantRules

HERE = Path(__file__).parent
PEERS = HERE / ".venv-peers-rules"
SECOND_US = 1_000_000
FULL_S = 300

FIVE = (
    "when avg(t, 5m) > 30 for 10s clear when avg(t, 5m) < 27",
    "when min(t, 5m) < 10 for 10s clear when min(t, 5m) > 12",
    "when stddev(t, 5m) > 9 clear when stddev(t, 5m) < 8",
    "when max(t, 1m) > 39 for 10s clear when max(t, 1m) < 38",
    "when count(t, 1m) > 100 clear when count(t, 1m) < 90",
)
LEVELS = {
    "avg": (23, 22), "min": (9, 11), "max": (31, 30), "count": (1e6, 9e5), "sum": (1e6, 9e5),
    "stddev": (9, 8), "rate": (2, 1), "last": (31, 29),
}  # fmt: skip
TWENTY = tuple(
    f"when {name}(t, {window}) {'<' if name == 'min' else '>'} {LEVELS[name][0]}{hold}"
    f" clear when {name}(t, {window}) {'>' if name == 'min' else '<'} {LEVELS[name][1]}"
    for n, (window, names) in enumerate(
        (
            ("30s", ("avg", "max", "count", "last", "rate")),
            ("1m", ("avg", "min", "max", "stddev", "sum")),
            ("2m", ("avg", "min", "max", "count", "rate")),
            ("5m", ("avg", "min", "max", "stddev", "sum")),
        )
    )
    for name, hold in zip(names, ("", " for 10s") * 3, strict=False)
)


def make(conditions: tuple[str, ...], sensors: int) -> TenantRules:
    """A tenant with these rules and sensors, one series each: slot n is sensor n."""
    rules = [
        ActiveRule(RuleNo(n), UUID(int=n), 1, parse_rule(f"rule r{n} on sensors {condition}"))
        for n, condition in enumerate(conditions, 1)
    ]
    tenant = TenantRules(UUID(int=7), rules)
    for n in range(sensors):
        tenant.add_series(
            tenant.add_sensor(SensorNo(n + 1), UUID(int=n + 1), f"s{n}", {}), "t", None
        )
    return tenant


class Feed:
    """Batches of made-up readings of one tenant, a reading per sensor and second."""

    def __init__(self, sensors: int, seconds: int, seed: int = 1) -> None:
        self.sensors, self.seconds, self.at = sensors, seconds, stream.START_US
        self.random = np.random.default_rng(seed)
        self.slots = np.repeat(np.arange(sensors), seconds)
        self.steps = np.tile(np.arange(seconds) * SECOND_US, sensors)

    def next(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(slots, ts, values), sorted by (sensor, ts)."""
        ts = self.at + self.steps
        self.at += self.seconds * SECOND_US
        return self.slots, ts, self.random.normal(20, 3, len(ts))


def fill(tenant: TenantRules, feed: Feed) -> None:
    """Until every window is full."""
    for _ in range(0, FULL_S + 20, feed.seconds):
        tenant.fold(*feed.next(), Micros(1))
        tenant.take_dirty()


def batches_ns(conditions: tuple[str, ...], rounds: int) -> float:
    """100 tenants with 100 sensors, batches of 1,000: ns per reading."""
    tenants = [make(conditions, 100) for _ in range(100)]
    feed = Feed(100, 10)
    for _ in range(0, FULL_S + 20, feed.seconds):
        batch = feed.next()
        for tenant in tenants:
            tenant.fold(*batch, Micros(1))
            tenant.take_dirty()
    took = []
    for _ in range(rounds):
        batch = feed.next()
        began = time.perf_counter()
        for tenant in tenants:
            tenant.fold(*batch, Micros(1))
        took.append(time.perf_counter() - began)
        for tenant in tenants:
            tenant.take_dirty()
    return statistics.median(took) / (100 * 1_000) * 1e9


def round_robin_ns(rounds: int) -> float:
    """10,000 sensors of one tenant in turn, batches of 1,000: ns per reading."""
    tenant, feed = make(FIVE, 10_000), Feed(10_000, 1)
    fill(tenant, feed)
    took = []
    for _ in range(rounds):
        slots, ts, values = feed.next()
        for start in range(0, 10_000, 1_000):
            part = slice(start, start + 1_000)
            began = time.perf_counter()
            tenant.fold(slots[part], ts[part], values[part], Micros(1))
            took.append(time.perf_counter() - began)
        tenant.take_dirty()
    return statistics.median(took) / 1_000 * 1e9


def one_us(rounds: int) -> float:
    """A batch of one reading: µs."""
    tenant, feed = make(FIVE, 100), Feed(100, 1)
    fill(tenant, feed)
    took = []
    for _ in range(rounds):
        slots, ts, values = feed.next()
        for n in range(100):
            began = time.perf_counter()
            tenant.fold(slots[n : n + 1], ts[n : n + 1], values[n : n + 1], Micros(1))
            took.append(time.perf_counter() - began)
        tenant.take_dirty()
    return statistics.median(took) * 1e6


def bytes_per_sensor() -> float:
    tenant, feed = make(FIVE, 1_000), Feed(1_000, 10)
    before = tenant.used_bytes
    fill(tenant, feed)
    assert before < tenant.used_bytes
    return tenant.used_bytes / 1_000


Readings = list[tuple[int, int, float]]
CONDITION = f"when avg(t, 5m) > {stream.OPEN} for 10s clear when avg(t, 5m) < {stream.CLEAR}"


def ours(sensors: int, readings: Readings, *, lists: bool) -> tuple[float, int]:
    """(readings per second, alerts opened); from columns as lists in order of arrival, or arrays
    that are sorted as the kernel wants them."""
    tenant = make((CONDITION,), sensors)
    columns = []
    for start in range(0, len(readings), 1_000):
        slots, ts, values = map(list, zip(*readings[start : start + 1_000], strict=True))
        columns.append((slots, ts, values) if lists else _arrays(slots, ts, values))
    opened = 0
    began = time.perf_counter()
    for slots, ts, values in columns:
        batch = _arrays(slots, ts, values) if lists else (slots, ts, values)
        opened += sum(step.kind == "opened" for step in tenant.fold(*batch, Micros(1)))
    return len(readings) / (time.perf_counter() - began), opened


def _arrays(slots: list[int], ts: list[int], values: list[float]) -> tuple[np.ndarray, ...]:
    slot, at = np.array(slots, np.int64), np.array(ts, np.int64)
    order = np.lexsort((at, slot))
    return slot[order], at[order], np.array(values, np.float64)[order]


def by_deque(sensors: int, readings: Readings) -> tuple[float, int]:
    """What one writes by hand: a deque and a running sum per sensor (which drifts)."""
    windows = [deque() for _ in range(sensors)]
    totals, since, is_open = [0.0] * sensors, [None] * sensors, [False] * sensors
    opened = 0
    began = time.perf_counter()
    for sensor, ts, value in readings:
        window = windows[sensor]
        window.append((ts, value))
        total = totals[sensor] + value
        oldest = ts - stream.WIDTH_US
        while window[0][0] <= oldest:
            total -= window.popleft()[1]
        totals[sensor] = total
        mean = total / len(window)
        if not is_open[sensor]:
            if mean > stream.OPEN:
                if since[sensor] is None:
                    since[sensor] = ts
                if ts - since[sensor] >= stream.FOR_US:
                    is_open[sensor] = True
                    opened += 1
            else:
                since[sensor] = None
        elif mean < stream.CLEAR:
            is_open[sensor], since[sensor] = False, None
    return len(readings) / (time.perf_counter() - began), opened


def by_peer(name: str, sensors: int, count: int) -> tuple[float, int]:
    done = subprocess.run(
        [PEERS / "bin" / "python", f"rules_{name}.py", str(sensors), str(count)],
        cwd=HERE / "peers", check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return found["readings"] / found["seconds"], found.get("opened", -1)


def ensure_peers() -> None:
    if (PEERS / "ready").exists():
        return
    say("installing the peers' packages (once; about 2 GB)")
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, PEERS], check=True)
    wanted = HERE / "requirements-peers-rules.txt"
    subprocess.run([uv, "pip", "install", "-q", "-p", PEERS, "-r", wanted], check=True)
    (PEERS / "ready").touch()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compare(sensors: int, seconds: int, rounds: int) -> dict[str, dict[str, float]]:
    """Readings per second of every engine, in rounds."""
    readings = list(stream.readings(sensors, sensors * seconds))
    ours(sensors, readings[: 10 * sensors], lists=True)
    engines: dict[str, Callable[[], tuple[float, int]]] = {
        "ours, arrays": lambda: ours(sensors, readings, lists=False),
        "ours, lists": lambda: ours(sensors, readings, lists=True),
        "deque": lambda: by_deque(sensors, readings),
        "bytewax": lambda: by_peer("bytewax", sensors, len(readings)),
        "pathway": lambda: by_peer("pathway", sensors, len(readings) // 5),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for n in range(rounds):
        opened = {}
        for name, run in engines.items():
            rate, opened[name] = run()
            rates[name].append(rate)
        say(
            f"  round {n + 1}/{rounds}: " + ", ".join(f"{k} {v[-1]:,.0f}" for k, v in rates.items())
        )
        del opened["pathway"]
        if len(set(opened.values())) > 1:
            raise RuntimeError(f"the engines do not agree: {opened}")
    return {
        name: {
            "readings_per_s": statistics.median(found),
            "ours_to_it": statistics.median(
                mine / theirs for mine, theirs in zip(rates["ours, lists"], found, strict=True)
            ),
        }
        for name, found in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and readings")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rounds = 20 if options.quick else 100
    ensure_peers()
    cases = {}
    for name, unit, most, measure in (
        ("5 rules, 2 windows, batches of 1,000", "ns", 300, lambda: batches_ns(FIVE, rounds)),
        ("20 rules, 4 windows, batches of 1,000", "ns", 600, lambda: batches_ns(TWENTY, rounds)),
        ("5 rules, 10,000 sensors in turn", "ns", 1_000, lambda: round_robin_ns(rounds)),
        ("5 rules, a batch of one", "µs", 10, lambda: one_us(rounds)),
        ("state of a sensor with 5 rules, 2 windows, 300 readings", "B",
         24 * 300 + 100 * 2 + 8 * 5, bytes_per_sensor),
    ):  # fmt: skip
        cases[name] = measure()
        say(f"  {name:<56} {cases[name]:>9,.1f} {unit} (wanted: at most {most:,})")
    peers = compare(1_000, 100 if options.quick else 1_000, 2 if options.quick else 5)
    print(f"{'one rule, 1,000 sensors':<26} {'readings/s':>14} {'ours from lists to it':>24}")
    for name, found in peers.items():
        print(f"{name:<26} {found['readings_per_s']:>14,.0f} {found['ours_to_it']:>24.2f}")
    if options.json:
        five, twenty, robin, one, size = cases.values()
        arrays = peers["ours, arrays"]["readings_per_s"] / peers["deque"]["readings_per_s"]
        headline = {
            "ns_per_reading": five,
            "ns_per_reading_20_rules": twenty,
            "ns_per_reading_round_robin": robin,
            "us_batch_of_one": one,
            "bytes_per_sensor": size,
            "ratio_to_deque": peers["deque"]["ours_to_it"],
            "ratio_to_bytewax": peers["bytewax"]["ours_to_it"],
            "ratio_to_pathway": peers["pathway"]["ours_to_it"],
            "ratio_to_deque_arrays": arrays,
        }
        versions = {"python": platform.python_version(), "numba": numba.__version__}
        report = {"headline": headline, "cases": cases, "peers": peers, "versions": versions}
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
