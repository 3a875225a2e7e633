"""The service against its own document, by schemathesis.

Its command line runs as a process of its own: its own transport knows asyncio alone.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = Path(__file__).parent / "schemathesis.toml"
PHASES = ("examples", "coverage", "fuzzing", "stateful")
ENDLESS = "stream"
"""Its answer has no end to judge; tests/http/test_stream.py and its example do."""


@attrs.frozen
class Verdict:
    """What was found. faults: by kind and route, as schemathesis words them."""

    cases: int
    operations: int
    server_errors: int
    faults: Sequence[str]
    took_s: float
    log: str = attrs.field(repr=False)


async def judge(
    url: str,
    headers: Mapping[str, str],
    tenant_id: str,
    *,
    cases: int,
    phases: Sequence[str] = PHASES,
    seed: int | None = None,
) -> Verdict:
    """Every operation, asked by whoever the headers say. tenant_id: theirs.

    cases: of each operation at most, in the phases that draw them.
    """
    with tempfile.TemporaryDirectory(prefix="contract-") as directory:
        report = Path(directory) / "report.json"
        configuration = Path(directory) / "schemathesis.toml"
        told = f'\n[parameters]\n"header.X-Tenant-Id" = "{tenant_id}"\n'
        configuration.write_text(CONFIGURATION.read_text() + told)
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file", str(configuration), "run", f"{url}/openapi.json",
            "--max-examples", str(cases), "--phases", ",".join(phases),
            "--exclude-operation-id", ENDLESS, "--no-color",
            "--report", "json", "--report-json-path", str(report),
        ]  # fmt: skip
        for name, value in headers.items():
            command += ["--header", f"{name}: {value}"]
        if seed is not None:
            command += ["--seed", str(seed)]
        # In the directory: it keeps what it found where it runs.
        done = await trio.run_process(
            command, cwd=directory, check=False, capture_stdout=True, capture_stderr=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        log = done.stdout.decode() + done.stderr.decode()
        if not report.exists():
            raise RuntimeError(log)
        return _verdict(json.loads(report.read_text()), log)


def _verdict(report: Mapping[str, Any], log: str) -> Verdict:
    faults = [
        f"{one.get('operation') or one.get('label')}: {one.get('title')}: {one.get('message')}"
        for one in (*report["failures"], *report["errors"])
    ]
    if not report["complete"]:
        faults.append(f"it ended before its end: {report['stop_reason']}")
    return Verdict(
        cases=report["test_cases"]["generated"],
        operations=report["operations"]["tested"],
        server_errors=sum("erver error" in fault for fault in faults),
        faults=faults,
        took_s=report["running_time"],
        log=log,
    )
