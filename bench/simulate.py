"""Schedules of faults against the real engine on simulated time: is any promise broken?

    .venv/bin/python bench/simulate.py [--quick] [--schedules N] [--first SEED] [--json FILE]

Each seed is a schedule (tests/simulation): tenants, rules, readings and clients that try again; a
store that fails before, after and during a commit, a process that is killed between any two
steps, stopped or superseded, a wall clock that steps. In the end the readings, the alerts and the
states must be those of one fold over what was committed. Uses every core. A seed that fails is
printed with the command that shows what happened in it.

JSON keys: `headline` {schedules, failures, seeds (those that failed)}; `per_s`; `steps` of the
scheduler, `items` committed, and `answers` by code over all schedules.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.simulation.run import simulate

SCHEDULES, QUICK = 100_000, 1_000
PART = 50  # schedules that a process is given at once
QUICK_S = 45.0


@dataclass
class Result:
    """What some schedules came to."""

    schedules: int = 0
    steps: int = 0
    items: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Result") -> None:
        self.schedules += other.schedules
        self.steps += other.steps
        self.items += other.items
        self.answers += other.answers
        self.failures |= other.failures


def run_part(seeds: range) -> Result:
    result = Result()
    for seed in seeds:
        outcome = simulate(seed)
        result.schedules += 1
        result.steps += outcome.steps
        result.items += len(outcome.world.journal)
        result.answers += outcome.world.answers
        if outcome.failure is not None:
            result.failures[seed] = outcome.failure.strip().splitlines()[-1]
    return result


def run(first: int, count: int, most_s: float) -> Iterator[Result]:
    """One result for each part, as they are done; nothing new is begun after so long."""
    parts = iter([range(at, min(at + PART, first + count))
                  for at in range(first, first + count, PART)])  # fmt: skip
    began = time.monotonic()
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        under_way = {pool.submit(run_part, part) for part in islice(parts, workers)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                part = next(parts, None) if time.monotonic() - began < most_s else None
                if part is not None:
                    under_way.add(pool.submit(run_part, part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="as many as a minute has room for")
    parser.add_argument("--schedules", type=int, default=SCHEDULES)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    count = min(options.schedules, QUICK) if options.quick else options.schedules
    total, began, told = Result(), time.monotonic(), 0.0
    for result in run(options.first, count, QUICK_S - 5 if options.quick else 1e9):
        total.add(result)
        for seed, why in result.failures.items():
            print(f"seed {seed}: {why}\n  python -m tests.simulation.replay {seed}", flush=True)
        took_s = time.monotonic() - began
        if took_s - told > 10 or total.schedules == count:
            told = took_s
            left_s = (count - total.schedules) / total.schedules * took_s
            print(f"  {total.schedules:,} of {count:,} schedules, {len(total.failures)} failed, "
                  f"{total.schedules / took_s:.0f}/s, {left_s / 60:.0f} min left",
                  file=sys.stderr, flush=True)  # fmt: skip
    took_s = time.monotonic() - began
    print(f"schedules {total.schedules:,} | failures {len(total.failures)} | "
          f"{total.schedules / took_s:.0f}/s | steps {total.steps:,} | items {total.items:,} | "
          f"answers {sum(total.answers.values()):,}")  # fmt: skip
    if options.json:
        headline = {"schedules": total.schedules, "failures": len(total.failures),
                    "seeds": sorted(total.failures)}  # fmt: skip
        report = {"headline": headline, "per_s": total.schedules / took_s, "steps": total.steps,
                  "items": total.items, "answers": dict(total.answers)}  # fmt: skip
        options.json.write_text(json.dumps(report, indent=2))
    sys.exit(bool(total.failures))


if __name__ == "__main__":
    main()
