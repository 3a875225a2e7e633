"""A tenant that sends ten times what it may: what its neighbours notice of it.

    .venv/bin/python bench/noisy.py [--quick] [--json FILE]

The real process. Twenty quiet tenants send a small batch five times a second each, by the clock
(at a random moment of each fifth) and not by the answers: a request is late from the moment at
which it was due. They do so alone, beside a tenant that offers ten times its quota, and beside
one that offers as much and has no quota at all, in rounds that visit the three in turn, so that
what else this machine does hits all alike. The flood has a body for every moment at which one is
due, on a new connection when the others are busy, and never waits for Retry-After. All have three
rules. The first second of a turn is not counted.

The generator is one thread on the same cores as the server and Postgres: bodies are made
beforehand, answers are read as far as their status, and its own CPU time is shown.

JSON keys: `headline` {p99_quiet_alone_ms, p99_quiet_flooded_ms, ratio} (medians over the rounds,
of a flood against a quota); `turns` {name: {p50_ms, p99_ms (medians), p99_all_ms (of all rounds
together), errors, offered_per_s, admitted_per_s, refused_per_s, unanswered_per_s (readings of the
flood), generator_cpu, server_cpu (of one core; Postgres is not in it)}}; `rounds` the same
figures one by one; `quota_per_s`.
"""

import argparse
import heapq
import itertools
import json
import random
import selectors
import socket
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import loader
from server import Server, open_server, say, tenant_keys

QUIET, QUIET_EVERY_S, QUIET_ROWS = 20, 0.2, 20
QUOTA = 5_000  # readings a second, of every tenant but the one without
FLOOD_ROWS, TIMES = 500, 10
MOST_CONNECTIONS = 400
SENSORS = 10
UNCOUNTED_S = 1.0
TURNS = ("alone", "flood, quota", "flood, no quota")
RULES = (
    "rule hot on sensors when avg(t, 1m) > 90 for 10s clear when avg(t, 1m) < 80",
    "rule low on sensors when min(t, 5m) < 1",
    "rule rough on sensors when stddev(t, 5m) > 90",
)

Figures = dict[str, float]


@dataclass
class Sender:
    """One tenant and its sensors' clock."""

    key: str
    rows: int
    every_s: float
    ts_ms: int

    def request(self, host: str) -> bytes:
        """The next batch: SENSORS in turn, newer than all before."""
        rows = ",".join(
            f'{{"sensor":"s{n % SENSORS}","metric":"t","ts":{self.ts_ms + n},"value":{20 + n % 7}}}'
            for n in range(self.rows)
        )
        self.ts_ms += self.rows
        return loader.request(host, "/v1/readings", self.key, f"[{rows}]".encode())


@dataclass(eq=False)
class Lane:
    """A connection with at most one request under way."""

    sock: socket.socket
    flood: bool
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque)
    due: float | None = None
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)


@dataclass
class Turn:
    """What one turn saw. Latencies from the moment a request was due."""

    quiet_s: list[float] = field(default_factory=list)
    errors: int = 0
    offered: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_s: float = 0.0
    server_cpu_s: float = 0.0

    def figures(self) -> Figures:
        outcome = loader.Outcome(latencies_s=self.quiet_s)
        admitted, refused = self.statuses.get(200, 0), self.statuses.get(429, 0)
        each = FLOOD_ROWS / self.seconds
        return {
            "p50_ms": outcome.percentile_ms(0.5),
            "p99_ms": outcome.percentile_ms(0.99),
            "errors": self.errors,
            "offered_per_s": self.offered * each,
            "admitted_per_s": admitted * each,
            "refused_per_s": refused * each,
            "unanswered_per_s": (self.offered - admitted - refused) * each,
            "generator_cpu": self.cpu_s / self.seconds,
            "server_cpu": self.server_cpu_s / self.seconds,
        }


class Generator:
    """Sends by the clock."""

    def __init__(self, address: tuple[str, int], quiet: Sequence[Sender]) -> None:
        self.address, self.quiet = address, quiet
        self.selector = selectors.DefaultSelector()
        self.chance = random.Random(1)
        self.lanes = [self._connect(flood=False) for _ in quiet]
        self.free: list[Lane] = []
        self.flood: list[Lane] = []

    def _connect(self, *, flood: bool) -> Lane:
        sock = socket.create_connection(self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        lane = Lane(sock, flood)
        self.selector.register(sock, selectors.EVENT_READ, lane)
        return lane

    def turn(self, flood: Sender | None, seconds: float) -> Turn:
        """Everybody sends for so long; what is under way then is waited for, uncounted."""
        plan = self._plan(flood, seconds)
        turn = Turn(seconds=seconds - UNCOUNTED_S)
        cpu = time.process_time()
        start = time.monotonic() + 0.01
        while plan:
            now = time.monotonic() - start
            while plan and plan[0][0] <= now:
                due, _, place, body = heapq.heappop(plan)
                self._offer(turn, start, due, place, body)
            wait_s = max(0.0, plan[0][0] - (time.monotonic() - start)) if plan else 0.0
            self._serve(turn, start, wait_s)
        turn.cpu_s = (time.process_time() - cpu) * turn.seconds / seconds
        deadline = time.monotonic() + 20
        while any(lane.due is not None or lane.waiting for lane in [*self.lanes, *self.flood]):
            if time.monotonic() > deadline:
                raise RuntimeError("requests are not answered")
            self._serve(turn, start, 0.1)
        self._hang_up()
        return turn

    def _plan(self, flood: Sender | None, seconds: float) -> list[tuple[float, int, int, bytes]]:
        host, number, plan = self.address[0], itertools.count(), []
        for place, sender in enumerate([*self.quiet, *([flood] if flood else [])]):
            for n in range(int(seconds / sender.every_s)):
                due = (n + self.chance.random()) * sender.every_s  # in step they would collide
                plan.append((due, next(number), place, sender.request(host)))
        heapq.heapify(plan)
        return plan

    def _offer(self, turn: Turn, start: float, due: float, place: int, body: bytes) -> None:
        if place < len(self.lanes):
            lane = self.lanes[place]
        else:
            turn.offered += due >= UNCOUNTED_S
            lane = self._flood_lane()
        lane.waiting.append((due, body))
        self._next(lane, start)

    def _flood_lane(self) -> Lane:
        if self.free:
            return self.free.pop()
        if len(self.flood) == MOST_CONNECTIONS:
            raise RuntimeError(f"the flood needs more than {MOST_CONNECTIONS} connections")
        self.flood.append(self._connect(flood=True))
        return self.flood[-1]

    def _next(self, lane: Lane, start: float) -> None:
        if lane.due is None and lane.waiting:
            lane.due, body = lane.waiting.popleft()
            lane.unsent = memoryview(body)
            self._write(lane)

    def _write(self, lane: Lane) -> None:
        with suppress(BlockingIOError):
            lane.unsent = lane.unsent[lane.sock.send(lane.unsent) :]
        more = selectors.EVENT_WRITE if len(lane.unsent) else 0
        self.selector.modify(lane.sock, selectors.EVENT_READ | more, lane)

    def _serve(self, turn: Turn, start: float, wait_s: float) -> None:
        for key, events in self.selector.select(wait_s):
            lane: Lane = key.data
            if events & selectors.EVENT_WRITE:
                self._write(lane)
            if events & selectors.EVENT_READ:
                self._read(turn, start, lane)

    def _read(self, turn: Turn, start: float, lane: Lane) -> None:
        data = lane.sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        lane.received += data
        status = loader._complete(lane.received)
        if status is None or lane.due is None:
            return
        due, lane.due = lane.due, None
        lane.received.clear()
        if len(lane.unsent):
            raise ConnectionError("answered before the request was sent whole")
        if due >= UNCOUNTED_S:
            if lane.flood:
                turn.statuses[status] = turn.statuses.get(status, 0) + 1
            else:
                turn.quiet_s.append(time.monotonic() - start - due)
                turn.errors += status != 200
        if lane.flood:
            self.free.append(lane)
        self._next(lane, start)

    def _hang_up(self) -> None:
        for lane in self.flood:
            self.selector.unregister(lane.sock)
            lane.sock.close()
        self.flood.clear()
        self.free.clear()


def prepare(server: Server) -> tuple[list[Sender], Sender, Sender]:
    """The quiet ones, the flood with a quota, and the one without; all with rules and sensors."""
    keys = tenant_keys(server.database_url, QUIET + 2)
    unbounded = keys[-1].split("_")[1]
    server.sql(
        f"UPDATE tenants SET readings_per_s = {QUOTA} WHERE tenant_id NOT IN"
        f" (SELECT tenant_id FROM api_keys WHERE key_id = '{unbounded}')"
    )
    for key in keys:
        for text in RULES:
            server.call("/v1/rules", {"text": text}, key)
    ts_ms = 1_000 * (int(time.time()) - 20 * 3600)
    quiet = [Sender(key, QUIET_ROWS, QUIET_EVERY_S, ts_ms) for key in keys[:QUIET]]
    every_s = FLOOD_ROWS / (TIMES * QUOTA)
    bounded, free = (Sender(key, FLOOD_ROWS, every_s, ts_ms) for key in keys[QUIET:])
    return quiet, bounded, free


def measure(server: Server, rounds: int, seconds: float) -> dict[str, list[Turn]]:
    say(f"{QUIET} quiet tenants, a flood with a quota and one without: rules, first readings")
    quiet, bounded, free = prepare(server)
    generator = Generator(server.address, quiet)
    generator.turn(bounded, 2.0)
    generator.turn(free, 2.0)
    floods = dict(zip(TURNS, (None, bounded, free), strict=True))
    found: dict[str, list[Turn]] = {name: [] for name in TURNS}
    for number in range(rounds):
        order = TURNS[number % 3 :] + TURNS[: number % 3]
        for name in order:
            cpu_s = server.cpu_s()
            turn = generator.turn(floods[name], seconds)
            turn.server_cpu_s = (server.cpu_s() - cpu_s) * turn.seconds / seconds
            found[name].append(turn)
            figures = turn.figures()
            say(
                f"round {number + 1}/{rounds} {name:16} p50 {figures['p50_ms']:7.1f} "
                f"p99 {figures['p99_ms']:7.1f} ms"
            )
            time.sleep(0.5)
    return found


def summary(turns: Sequence[Turn]) -> Figures:
    each = [turn.figures() for turn in turns]
    found = {name: statistics.median(figures[name] for figures in each) for name in each[0]}
    found["errors"] = sum(turn.errors for turn in turns)
    together = loader.Outcome(latencies_s=[s for turn in turns for s in turn.quiet_s])
    return found | {"p99_all_ms": together.percentile_ms(0.99)}


def table(found: dict[str, Figures]) -> Iterator[str]:
    yield (
        f"{'quiet tenants':18}{'p50 ms':>8}{'p99 ms':>8}{'errors':>8} | flood, readings/s: "
        f"{'offered':>8}{'admitted':>9}{'refused':>9}{'open':>7} | CPU of generator, server"
    )
    for name, f in found.items():
        yield (
            f"{name:18}{f['p50_ms']:8.1f}{f['p99_ms']:8.1f}{f['errors']:8.0f} | {'':19}"
            f"{f['offered_per_s']:8,.0f}{f['admitted_per_s']:9,.0f}{f['refused_per_s']:9,.0f}"
            f"{f['unanswered_per_s']:7,.0f} | {100 * f['generator_cpu']:5.1f} %"
            f"{100 * f['server_cpu']:5.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rounds, seconds = (3, 3.0) if options.quick else (9, 6.0)
    with open_server() as server:
        turns = measure(server, rounds, seconds)
    found = {name: summary(each) for name, each in turns.items()}
    for line in table(found):
        print(line)
    alone, flooded = (found[name]["p99_ms"] for name in TURNS[:2])
    headline = {
        "p99_quiet_alone_ms": alone,
        "p99_quiet_flooded_ms": flooded,
        "ratio": flooded / alone,
    }
    print(f"ratio of the p99: {headline['ratio']:.2f}")
    if options.json:
        rounds_of = {name: [turn.figures() for turn in each] for name, each in turns.items()}
        body = {"headline": headline, "turns": found, "rounds": rounds_of, "quota_per_s": QUOTA}
        options.json.write_text(json.dumps(body, indent=2))


if __name__ == "__main__":
    main()
