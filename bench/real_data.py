"""Real data through the real command: the account, the alerts, and kill -9 three times.

    .venv/bin/python bench/real_data.py DATA [--kills 3] [--json FILE]

DATA holds `skab/*.csv` and `nab/*.csv` with `nab/*windows.json` (the Skoltech and Numenta anomaly
benchmarks). One data directory is made with the rules of real_data.rules and the sensors
registered, then copied; the files are replayed into one copy undisturbed and into the other while
the server is killed with -9. The alert rows (ids, event times, values; arrival columns left out)
must not differ, and accepted must equal the rows in Postgres.

JSON keys: `headline` {sent, accepted, duplicates, rejected, rows, alerts, alert_diff, kills}.
"""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from server import Server
from twins import ALERTS, copy_directory

HERE = Path(__file__).parent


def replay(server: Server, files: list[Path], *more: str) -> dict[str, int]:
    """Run the real command; returns its summary. Again when the server was away at its start."""
    command = [sys.executable, "-m", "atalaia", "replay", *files, "--data-dir", server.directory]
    for _ in range(50):
        done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        if "does not answer" not in done.stderr or done.stdout:
            raise RuntimeError(done.stdout + done.stderr)
        time.sleep(0.2)
    lines = re.findall(
        r"^ *(sent|accepted|duplicates|rejected|batches sent again) +([\d,]+)", done.stdout, re.M
    )
    return {name: int(number.replace(",", "")) for name, number in lines}


def replay_all(server: Server, data: Path) -> dict[str, int]:
    skab = sorted((data / "skab").glob("*.csv"))
    labels = ["--exclude", "anomaly", "--exclude", "changepoint"]
    total = replay(server, sorted((data / "nab").glob("*.csv")), "--sensor", "machine")
    for name, number in replay(server, skab, *labels).items():
        total[name] += number
    return total


def register(server: Server, data: Path, scratch: Path) -> None:
    """Rules, and every sensor by its first line: both copies then know the same ids."""
    for text in re.split(r"(?m)^(?=rule )", (HERE / "real_data.rules").read_text())[1:]:
        server.call("/v1/rules", {"text": re.sub(r"(?m)^#.*\n?", "", text)})
    heads = scratch / "heads"
    for kind in ("nab", "skab"):
        (heads / kind).mkdir(parents=True)
        for file in (data / kind).glob("*.csv"):
            with file.open() as source:
                (heads / kind / file.name).write_text(source.readline() + source.readline())
    replay_all(server, heads)


def disturb(server: Server, kills: int, first: int, rows: int, done: threading.Event) -> int:
    """Kill and restart, spread over the rows of the run, until it ends or kills are used up."""
    used = 0
    while used < kills and not done.is_set():
        stored = int(server.sql("SELECT count(*) FROM readings")) - first
        if stored > rows * (used + 1) // (kills + 1):
            server.kill()
            server.start()
            used += 1
    return used


def windows(data: Path) -> list[tuple[datetime, datetime]]:
    (file,) = (data / "nab").glob("*windows.json")
    (pairs,) = json.loads(file.read_text()).values()
    return [tuple(datetime.fromisoformat(t).replace(tzinfo=UTC) for t in pair) for pair in pairs]


def report_labels(server: Server, data: Path) -> None:
    """Alerts beside the labels; nothing was tuned by them, so this is a look and not a score."""
    rows = server.sql(
        "SELECT s.name, extract(epoch FROM opened_at),"
        " coalesce(extract(epoch FROM cleared_at), 'infinity'), r.name FROM alerts a"
        " JOIN sensors s USING (tenant_id, sensor_id) JOIN rules r USING (tenant_id, rule_no)"
    )
    alerts = [
        (name, float(opened), float(cleared), rule)
        for name, opened, cleared, rule in (line.split("|") for line in rows.splitlines())
    ]
    print("nab: labelled window -> alerts that were open within it")
    for begin, end in windows(data):
        inside = {
            rule for name, opened, cleared, rule in alerts
            if name == "machine" and opened <= end.timestamp() and cleared >= begin.timestamp()
        }  # fmt: skip
        print(
            f"  {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}: {', '.join(sorted(inside)) or '-'}"
        )
    print("skab: labelled anomaly -> delay of flow-low; its alerts outside of the label")
    for file in sorted((data / "skab").glob("valve1-*.csv")):
        with file.open() as source:
            marked = [
                datetime.fromisoformat(line["datetime"]).replace(tzinfo=UTC).timestamp()
                for line in csv.DictReader(source, delimiter=";")
                if float(line["anomaly"])
            ]
        mine = [o for name, o, _, rule in alerts if name == file.stem and rule == "flow-low"]
        inside = [o for o in mine if marked[0] <= o <= marked[-1] + 60]
        delay = f"after {min(inside) - marked[0]:.0f} s" if inside else "missed"
        print(f"  {file.stem}: {delay}, {len(mine) - len(inside)} outside")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="atl-real-"))
    scratch.chmod(0o755)
    try:
        base = scratch / "calm"
        server = Server(base)
        register(server, options.data, scratch)
        before = int(server.sql("SELECT count(*) FROM readings"))
        server.stop()
        copy_directory(base, scratch / "killed")

        calm = Server(base)
        account = replay_all(calm, options.data)
        rows = int(calm.sql("SELECT count(*) FROM readings")) - before
        report_labels(calm, options.data)
        alerts = calm.sql(ALERTS)
        calm.stop()

        killed = Server(scratch / "killed")
        done, used = threading.Event(), [0]
        killer = threading.Thread(
            target=lambda: used.append(disturb(killed, options.kills, before, rows, done))
        )
        killer.start()
        shaken = replay_all(killed, options.data)
        done.set()
        killer.join()
        shaken_rows = int(killed.sql("SELECT count(*) FROM readings")) - before
        shaken_alerts = killed.sql(ALERTS)
        killed.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    differing = set(alerts.splitlines()) ^ set(shaken_alerts.splitlines())
    headline = account | {
        "registered_before": before,
        "rows": rows,
        "alerts": len(alerts.splitlines()),
        "kills": used[-1],
        "rows_killed": shaken_rows,
        "resent_batches_killed": shaken["batches sent again"],
        "alert_diff": len(differing),
    }
    for name, figure in headline.items():
        print(f"{name:>24} {figure:>10,}")
    if options.json:
        options.json.write_text(json.dumps({"headline": headline}, indent=2))
    exact = account["sent"] == account["accepted"] + account["duplicates"] + account["rejected"]
    if differing or not exact or rows != account["accepted"] or shaken_rows != rows:
        sys.exit("the runs differ, or the account is not exact")


if __name__ == "__main__":
    main()
