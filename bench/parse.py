"""Bytes to columns: line protocol and JSON, and PyPI's line-protocol-parser beside them.

    .venv/bin/python bench/parse.py [--quick] [--json FILE]

Bodies of 10,000 readings (1,000 with --quick), as gateways write them: `simple` has a measurement,
two tags, one field and a time a line, `wide` ten fields a line as Telegraf does, `texts` wide lines
with a quoted text among the fields, `escapes` simple lines with an escape in a tag (the careful
road), `digits` simple lines whose numbers have 17 digits, and `json` the same readings as rows for
`/v1/readings`. Each is parsed several times in turns with the others; the median is given. The
other parser makes a dict per line and no columns, so its figure is without what would follow.

JSON keys: `headline` {simple_ns_per_reading, simple_times_faster: than line-protocol-parser on the
same body}; `cases`: by name {ns_per_reading, other_ns_per_reading: line-protocol-parser's, null for
json, bytes_per_reading}; `versions`.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from line_protocol_parser import parse_line

from atalaia.wire.formats import parse
from atalaia.wire.line_kernel import compile_scan
from atalaia.wire.options import WireOptions

START_NS = 1_767_225_600_000_000_000
LINE = WireOptions(format="line", precision="ns")
JSON = WireOptions(precision="ms")


def numbers(count: int) -> list[str]:
    return [f"{value:.2f}" for value in np.random.default_rng(1).normal(20, 5, count)]


def simple(count: int, tag: str = "site=north", digits: bool = False) -> list[str]:
    values = numbers(count)
    if digits:
        values = [repr(float(value) / 3) for value in values]
    return [
        f"weather,host=device-{n % 100},{tag} temperature={value} {START_NS + n * 1_000_000}"
        for n, value in enumerate(values)
    ]


def wide(count: int, extra: str = "") -> list[str]:
    values = numbers(count)
    return [
        f"cpu,host=device-{n % 100},site=north "
        + ",".join(f"usage_{k}={values[n + k]}" for k in range(10))
        + f"{extra} {START_NS + n * 1_000_000}"
        for n in range(0, count, 10)
    ]


def rows(count: int) -> bytes:
    return json.dumps(
        [
            {"sensor": f"device-{n % 100}", "metric": "weather_temperature",
             "ts": START_NS // 10**6 + n, "value": float(value)}
            for n, value in enumerate(numbers(count))
        ]
    ).encode()  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--json", type=Path)
    chosen = arguments.parse_args()
    count, rounds = (1_000, 5) if chosen.quick else (10_000, 30)
    compile_scan()
    bodies = {
        "simple": simple(count),
        "wide": wide(count),
        "texts": wide(count, ',uptime_format="3 days, 4:05"'),
        "escapes": simple(count, "site=the\\ north"),
        "digits": simple(count, digits=True),
    }
    took: dict[str, list[float]] = {name: [] for name in [*bodies, "json"]}
    others: dict[str, list[float]] = {name: [] for name in bodies}
    size: dict[str, int] = {}
    as_json = rows(count)
    for _ in range(rounds):
        for name, lines in bodies.items():
            body = "\n".join(lines).encode()
            size[name] = len(body)
            batch = parse(body, LINE)
            assert len(batch) == count
            assert not batch.rejects
            took[name].append(seconds(lambda body=body: parse(body, LINE)))
            others[name].append(seconds(lambda lines=lines: [parse_line(line) for line in lines]))
        took["json"].append(seconds(lambda: parse(as_json, JSON)))
    size["json"] = len(as_json)

    def ns(times: list[float]) -> float:
        return round(1e9 * statistics.median(times) / count, 1)

    cases = {
        name: {
            "ns_per_reading": ns(times),
            "other_ns_per_reading": ns(others[name]) if name in others else None,
            "bytes_per_reading": round(size[name] / count, 1),
        }
        for name, times in took.items()
    }
    result = {
        "headline": {
            "simple_ns_per_reading": ns(took["simple"]),
            "simple_times_faster": round(ns(others["simple"]) / ns(took["simple"]), 2),
        },
        "cases": cases,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("atalaia", "line-protocol-parser", "numba")},
        },
    }
    text = json.dumps(result, indent=2)
    if chosen.json is not None:
        chosen.json.write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
