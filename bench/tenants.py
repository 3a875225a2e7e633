"""Idle tenants cost next to nothing: thousands registered, a thousand active, then at rest.

    .venv/bin/python bench/tenants.py [--quick] [--json FILE]

The real process, but for actors that retire sooner than after 300 s. 10,000 tenants are
registered and each asks once; 1,000 of them get three rules and ten sensors, send rounds of
batches, sit idle in memory, retire, come back, retire again and come back as a crowd. Each has
an alert open while it retires, and which reading must clear it after the return depends on
readings from before: the same id clears at that reading, and nothing else opens. Memory and CPU
are those of the server's process alone; Postgres is not in them.

JSON keys: `headline` {registered, active, rss_start_mib, rss_registered_mib, rss_active_mib,
rss_retired_mib, rss_retired_again_mib, kib_per_registered, kib_per_active, cpu_s_per_min_none,
cpu_s_per_min_idle, batches_per_s, rows_per_s, p50_ms, p99_ms, return_p50_ms, return_p99_ms (one
at a time), return_crowd_p50_ms, return_crowd_p99_ms (all at once, from as many connections),
alerts, alerts_wrong}.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import loader
from server import Server, open_server, say, tenant_keys

CONNECTIONS = 16
SENSORS = 10
ROWS = 60  # per batch: six readings of each sensor
SETTLE_S = 1.0  # after the last actor has left

Figures = dict[str, float]

RULES = (
    "rule hot on sensors when avg(t, 10s) > 30 for 1s clear when avg(t, 10s) < 27",
    "rule low on sensors when min(t, 5m) < 1",
    "rule rough on sensors when stddev(t, 5m) > 90",
)
HOT, COOL = 40.0, 20.0
CLEARS_AT = 7  # cool readings after hot ones, until the mean of ten is below 27


@dataclass(frozen=True)
class Size:
    registered: int
    active: int
    rounds: int
    watch_s: float  # of CPU, twice
    idle_s: float  # longer than a round and a watch together


FULL = Size(registered=10_000, active=1_000, rounds=5, watch_s=60, idle_s=75)
QUICK = Size(registered=2_000, active=200, rounds=3, watch_s=2, idle_s=3.5)


@dataclass
class Fleet:
    """The tenants that do something, and how far their sensors' clocks are."""

    server: Server
    keys: Sequence[str]
    ts_ms: int

    def batches(self, value: float) -> list[bytes]:
        """The next batch of each: ten sensors in turn, a second apart; sensor s0 has the value."""
        host = self.server.address[0]
        rows = ",".join(
            f'{{"sensor":"s{n % SENSORS}","metric":"t","ts":{self.ts_ms + 1000 * (n // SENSORS)},'
            f'"value":{value if n % SENSORS == 0 else COOL + n % 7}}}'
            for n in range(ROWS)
        )
        self.ts_ms += 1000 * ROWS // SENSORS
        body = f"[{rows}]".encode()
        return [loader.request(host, "/v1/readings", key, body) for key in self.keys]

    def send(self, value: float, connections: int = CONNECTIONS) -> loader.Outcome:
        return run(self.server, self.batches(value), connections)


def run(
    server: Server, requests: Sequence[bytes], connections: int, status: int = 200
) -> loader.Outcome:
    """Send them all, spread over the connections. Raises unless each is answered with status."""
    lanes = [iter([(r, ROWS) for r in requests[n::connections]]) for n in range(connections)]
    outcome = loader.run(server.address, lanes, most_s=600)
    others = {code: n for code, n in outcome.errors.items() if code != status}
    if others or outcome.requests != len(requests):
        raise RuntimeError(f"{outcome.requests} of {len(requests)} answered, errors {others}")
    return outcome


def make_rules(server: Server, keys: Sequence[str]) -> None:
    for text in RULES:
        body = json.dumps({"text": text}).encode()
        requests = [loader.request(server.address[0], "/v1/rules", key, body) for key in keys]
        run(server, requests, CONNECTIONS, status=201)


def ask_once(server: Server, keys: Sequence[str]) -> None:
    """One small request of each tenant, so that the process has heard of it."""
    head = f"GET /v1/alerts?limit=1 HTTP/1.1\r\nhost: {server.address[0]}\r\nx-api-key: "
    run(server, [f"{head}{key}\r\n\r\n".encode() for key in keys], CONNECTIONS)


def retire(server: Server, size: Size) -> None:
    """Wait until no actor is left."""
    deadline = time.monotonic() + size.idle_s + 60
    while server.metric("atalaia_actors"):
        if time.monotonic() > deadline:
            raise RuntimeError("actors stay although they are idle")
        time.sleep(0.5)
    time.sleep(SETTLE_S)


def cpu_s_per_min(server: Server, watch_s: float) -> float:
    began, before = time.monotonic(), server.cpu_s()
    time.sleep(watch_s)
    return 60 * (server.cpu_s() - before) / (time.monotonic() - began)


def alerts(server: Server) -> dict[str, str]:
    """Every alert of every tenant: its id, and when it cleared in epoch ms, or nothing."""
    found = server.sql(
        "SELECT tenant_id || '/' || alert_id, (1000 * extract(epoch FROM cleared_at))::int8"
        " FROM alerts"
    )
    return dict(line.split("|") for line in found.splitlines())


def open_alerts(server: Server, fleet: Fleet) -> None:
    """Make every tenant open one alert, which stays open."""
    fleet.send(HOT)
    fleet.send(HOT)
    found = alerts(server)
    if len(found) != len(fleet.keys) or any(found.values()):
        raise RuntimeError(f"{len(found)} alerts instead of an open one per tenant")


def wrong(before: dict[str, str], after: dict[str, str], cleared_ms: int) -> int:
    """Alerts that are new, lost, or not cleared by the reading that should."""
    strange = sum(cleared != str(cleared_ms) for cleared in after.values())
    return len(before.keys() ^ after.keys()) + strange


def percentile_ms(latencies_s: Sequence[float], share: float) -> float:
    return loader.Outcome(latencies_s=list(latencies_s)).percentile_ms(share)


def warm_up(server: Server, size: Size, start_ms: int) -> None:
    """Other tenants walk the whole road once, so that its first use is not counted as growth."""
    warm = Fleet(server, tenant_keys(server.database_url, CONNECTIONS), start_ms)
    make_rules(server, warm.keys)
    for _ in range(10):
        warm.send(COOL)
    retire(server, size)


def send_rounds(fleet: Fleet, count: int) -> Figures:
    """Rounds of batches of tenants whose actors are in memory."""
    rounds = [fleet.send(COOL) for _ in range(count)]
    latencies_s = [each for outcome in rounds for each in outcome.latencies_s]
    batches_per_s = len(latencies_s) / sum(outcome.took_s for outcome in rounds)
    return {
        "batches_per_s": batches_per_s,
        "rows_per_s": ROWS * batches_per_s,
        "p50_ms": percentile_ms(latencies_s, 0.5),
        "p99_ms": percentile_ms(latencies_s, 0.99),
    }


def sit_idle(server: Server, size: Size) -> Figures:
    """What the actors cost while all of them are in memory and nobody sends."""
    actors = server.metric("atalaia_actors")
    rss_mib = server.rss_mib()
    say(f"watching the CPU for {size.watch_s:.0f} s while {actors:,.0f} actors sit idle")
    cpu = cpu_s_per_min(server, size.watch_s)
    if not actors == server.metric("atalaia_actors") == size.active:
        raise RuntimeError(f"{actors:.0f} actors at first, not {size.active} all the time")
    return {"rss_active_mib": rss_mib, "cpu_s_per_min_idle": cpu}


def come_back(server: Server, size: Size, fleet: Fleet) -> Figures:
    """Retire with an alert open, come back, clear it; retire again, come back as a crowd."""
    opened = alerts(server)
    say(f"waiting for them to retire (idle for {size.idle_s:.0f} s)")
    retire(server, size)
    rss_mib = server.rss_mib()
    say("they come back, one at a time")
    cleared_ms = fleet.ts_ms + 1000 * (CLEARS_AT - 1)
    single = fleet.send(COOL, connections=1)
    fleet.send(COOL)
    figures = {
        "rss_retired_mib": rss_mib,
        "return_p50_ms": single.percentile_ms(0.5),
        "return_p99_ms": single.percentile_ms(0.99),
        "alerts": len(opened),
        "alerts_wrong": wrong(opened, alerts(server), cleared_ms),
    }
    say("they retire again, and come back all at once")
    retire(server, size)
    rss_mib = server.rss_mib()
    crowd = fleet.send(COOL, connections=size.active)
    return figures | {
        "rss_retired_again_mib": rss_mib,
        "return_crowd_p50_ms": crowd.percentile_ms(0.5),
        "return_crowd_p99_ms": crowd.percentile_ms(0.99),
    }


def measure(server: Server, size: Size) -> Figures:
    start_ms = (int(time.time()) - 3600) * 1000
    say("warming up, with other tenants")
    warm_up(server, size, start_ms)
    rss_start_mib = server.rss_mib()
    say(f"watching the CPU for {size.watch_s:.0f} s while no tenant is active")
    cpu_none = cpu_s_per_min(server, size.watch_s)

    say(f"registering {size.registered:,} tenants; each asks once")
    keys = tenant_keys(server.database_url, size.registered)
    ask_once(server, keys)
    rss_registered_mib = server.rss_mib()

    say(f"{size.active:,} tenants get {len(RULES)} rules and {SENSORS} sensors each")
    fleet = Fleet(server, keys[: size.active], start_ms)
    make_rules(server, fleet.keys)
    fleet.send(COOL)
    rates = send_rounds(fleet, size.rounds)
    open_alerts(server, fleet)
    idle = sit_idle(server, size)
    grown_mib = idle["rss_active_mib"] - rss_registered_mib
    return {
        "registered": size.registered,
        "active": size.active,
        "rss_start_mib": rss_start_mib,
        "rss_registered_mib": rss_registered_mib,
        "kib_per_registered": 1024 * (rss_registered_mib - rss_start_mib) / size.registered,
        "kib_per_active": 1024 * grown_mib / size.active,
        "cpu_s_per_min_none": cpu_none,
        **idle,
        **rates,
        **come_back(server, size, fleet),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer tenants, shorter waits")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    entry = Path(__file__).with_name("serve_briefly.py")
    with open_server([str(entry), "--idle-s", str(size.idle_s)]) as server:
        figures = measure(server, size)
    for name, figure in figures.items():
        print(f"{name:>24} {figure:>12,.3f}")
    if options.json:
        options.json.write_text(json.dumps({"headline": figures}, indent=2))
    if figures["alerts_wrong"]:
        sys.exit("alerts did not go on as if nothing had happened")


if __name__ == "__main__":
    main()
