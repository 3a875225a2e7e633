"""What a command does when nobody reads what it prints: it ends, without a word."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from tests.cli.runner import Runner
from tests.stack import START_MS, row

pytestmark = pytest.mark.postgres

CUT = 141


async def cut_off(words: Sequence[object], *, stderr: bool = False) -> tuple[int, str]:
    """The command with its output (and its errors) going where nobody reads; code and stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "atalaia", *map(str, words)]
    try:
        if stderr:
            done = await trio.run_process(command, stdout=writing, stderr=writing, check=False)
        else:
            done = await trio.run_process(command, stdout=writing, capture_stderr=True, check=False)
    finally:
        os.close(writing)
    return done.returncode, (done.stderr or b"").decode()


async def test_a_closed_pipe_ends_every_command_quietly(cli: Runner, tmp_path: Path) -> None:
    """As `| head -1` does: no traceback, and the exit code that a shell gives for it."""
    stack = cli.stack
    await stack.rule("rule hot on sensors when t > 20")
    await stack.send([row(START_MS, 30, metric="t")])
    sensor = (await stack.client.get("/v1/alerts")).json()["data"][0]["sensor"]
    file = tmp_path / "cold.rule"
    file.write_text("rule cold on sensors when t < 3")
    readings = tmp_path / "a.csv"
    readings.write_text("time,t\n2026-01-01 00:00:00,3\n")
    server = ["--url", stack.url, "--key", stack.api_key]
    for words in (
        ["rules", "explain", "hot", "--sensor", sensor, *server],
        ["rules", "list", *server],
        ["rules", "export", *server],
        ["rules", "check", file, *server],
        ["rules", "import", file, "--dry-run", *server],
        ["rules", "diff", file, *server],
        ["rules", "backtest", file, *server],
        ["rules", "backtest", file, "--json", *server],
        ["alerts", *server],
        ["alerts", "newest", *server],
        ["replay", readings, *server],
    ):
        assert await cut_off(words) == (CUT, ""), words


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["rules", "pack", "temperature"], ["quotas", "set"]]
)
async def test_a_closed_pipe_of_errors_too(words: list[str]) -> None:
    """2>&1, with what needs no server."""
    assert await cut_off(words, stderr=True) == (CUT, "")


async def test_a_failure_stays_one() -> None:
    """Output that nobody reads is no excuse where nothing was printed."""
    code, said = await cut_off(["rules", "check", "/nowhere.rule"])
    assert (code, said) == (2, "atalaia: /nowhere.rule: No such file or directory.\n")
