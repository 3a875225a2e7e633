"""The rule packs on labelled real data: what a user gets who chooses no threshold.

    .venv/bin/python bench/detect.py DATA [--json FILE]

DATA holds `skab/*.csv` and `nab/*.csv` with `nab/*windows.json` (the Skoltech and Numenta anomaly
benchmarks). The rule `unusual` of the generic pack runs over every metric of every file, through
the engine's own fold. Nothing is fitted: the pack's windows follow from the interval between
readings alone (a second, five minutes), its score of 6 and its 3 to clear are those of the pack,
and were settled on skab/anomaly-free.csv and on the first 15 % of the NAB series, where no label
was looked at. NAB is judged a second time by the same rule with `season 1d`, the season that one
would try first; nothing else of it was changed.

SKAB (valve1-*): a second counts as detected while some metric's alert is open; F1, the rate of
false alarms (FAR) and of missed ones (MAR) over all seconds, as that benchmark defines them. NAB:
labelled windows in which an alert opened, and alerts outside of them per week.

JSON keys: `headline` {skab_f1, skab_far_percent, skab_mar_percent, skab_free_open_percent (of the
run without anomalies), nab_windows, nab_windows_hit, nab_false_alarms_per_week, and both with
`_season`}.
"""

import argparse
import csv
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import attrs
import numpy as np

from atalaia.model.alert import Transition
from atalaia.model.ids import Micros, RuleNo, SensorNo
from atalaia.rules.language import parse_rules
from atalaia.rules.packs import pack
from atalaia.rules.tenant_state import ActiveRule, TenantRules

SECOND_US, MINUTE_US, WEEK_US = 1_000_000, 60_000_000, 7 * 86_400_000_000
LABELS = ("anomaly", "changepoint")


@attrs.frozen(eq=False)
class Series:
    """One file: times ascending and unique, a column per metric, and the labels."""

    ts: np.ndarray
    metrics: tuple[str, ...]
    values: np.ndarray
    anomaly: np.ndarray


def micros(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def load(file: Path, separator: str) -> Series:
    with file.open() as source:
        rows = list(csv.DictReader(source, delimiter=separator))
    time, *names = rows[0]
    metrics = [name for name in names if name not in LABELS]
    at = np.array([micros(row[time]) for row in rows])
    _, order = np.unique(at, return_index=True)  # the first of repeated times, as when stored
    return Series(
        at[order],
        tuple(metrics),
        np.array([[float(row[name]) for name in metrics] for row in rows])[order],
        np.array([float(row.get("anomaly") or 0) > 0 for row in rows])[order],
    )


def alerts(series: Series, every_us: int, season: str = "") -> list[tuple[int, int]]:
    """(opened, cleared) of every alert; one that is open at the end ends with the series."""
    rules: list[ActiveRule] = []
    for n, metric in enumerate(series.metrics, 1):
        legal = metric.replace(" ", "_")
        texts = pack("generic", metric=legal, every_us=every_us)
        if season:
            texts = re.sub(r"(anomaly\([^)]*)\)", rf"\1, season {season})", texts)
        unusual = next(rule for rule in parse_rules(texts) if rule.name.endswith("-unusual"))
        rules.append(ActiveRule(RuleNo(n), UUID(int=n), 1, unusual))
    tenant = TenantRules(UUID(int=7), rules)
    sensor = tenant.add_sensor(SensorNo(1), UUID(int=1), "s", {})
    slots = [tenant.add_series(sensor, metric.replace(" ", "_"), None) for metric in series.metrics]
    count = len(series.ts)
    steps = tenant.fold(
        np.tile(slots, count),
        np.repeat(series.ts, len(slots)),
        series.values.ravel(),
        Micros(1),
    )
    return pair(steps, int(series.ts[-1]) + 1)


def pair(steps: Sequence[Transition], end: int) -> list[tuple[int, int]]:
    opened: dict[int, int] = {}
    found = []
    for step in steps:
        if step.kind == "opened":
            opened[step.rule_no] = step.at
        elif step.kind == "cleared":
            found.append((opened.pop(step.rule_no), int(step.at)))
    return sorted(found + [(at, end) for at in opened.values()])


def within(ts: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    inside = np.zeros(len(ts), bool)
    for start, end in spans:
        inside |= (ts >= start) & (ts < end)
    return inside


def skab(folder: Path) -> dict[str, float]:
    found, wanted = [], []
    for file in sorted(folder.glob("valve1-*.csv")):
        series = load(file, ";")
        found.append(within(series.ts, alerts(series, SECOND_US)))
        wanted.append(series.anomaly)
    free = load(folder / "anomaly-free.csv", ";")
    detected, anomaly = np.concatenate(found), np.concatenate(wanted)
    true = int((detected & anomaly).sum())
    false, missed = int((detected & ~anomaly).sum()), int((~detected & anomaly).sum())
    open_free = within(free.ts, alerts(free, SECOND_US))
    return {
        "skab_f1": 2 * true / (2 * true + false + missed),
        "skab_far_percent": 100 * false / int((~anomaly).sum()),
        "skab_mar_percent": 100 * missed / int(anomaly.sum()),
        "skab_free_open_percent": 100 * float(open_free.mean()),
    }


def nab(folder: Path) -> dict[str, float]:
    (file,) = folder.glob("*.csv")
    (labels,) = folder.glob("*windows.json")
    (pairs,) = json.loads(labels.read_text()).values()
    windows = [(micros(begin), micros(end)) for begin, end in pairs]
    series = load(file, ",")
    found = {"nab_windows": float(len(windows))}
    weeks = float(series.ts[-1] - series.ts[0]) / WEEK_US
    for season, name in (("", "nab"), ("1d", "nab_season")):
        opened = [at for at, _ in alerts(series, 5 * MINUTE_US, season)]
        inside = [[begin <= at <= end for begin, end in windows] for at in opened]
        found[f"{name}_windows_hit"] = sum(any(column) for column in zip(*inside, strict=True))
        found[f"{name}_false_alarms_per_week"] = sum(not any(row) for row in inside) / weeks
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    headline = skab(options.data / "skab") | nab(options.data / "nab")
    for name, figure in headline.items():
        print(f"{name:>28} {figure:>10,.2f}")
    if options.json:
        options.json.write_text(json.dumps({"headline": headline}, indent=2))


if __name__ == "__main__":
    main()
