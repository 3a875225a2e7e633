"""The tutorial of a rule is done as it stands, and says what is to be seen.

    .venv/bin/python -m tests.house.test_story

writes what was seen into the page; read it before it is committed.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.house.commands import ROOT
from tests.house.test_docs import run_blocks
from tests.process.server import data_directory, start

PAGE = ROOT / "docs" / "tutorial" / "a-rule-that-does-not-cry-wolf.md"
STEP = re.compile(r"```sh\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
LEFT = "not in the file (--prune deletes them): hot"
END = "@@@ end of a step"

VARYING = (
    (r"(?m)^ *\d+%,? [\d,]+ readings, [\d,]+/s\n", ""),
    (r"readings per second +[\d,]+", "readings per second <n>"),
    (r"about \d+ ns", "about <n> ns"),
    (r"(?!2025-11)\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "<time>"),
    (r"\b[0-9a-f]{8}\b", "<id>"),
    (r" +(?=\n|$)", ""),
    (r" {2,}", "  "),
)
"""What differs from one time to the next: how often progress is said, our speed, how wide its
column is, today, and ids.
"""


def settled(text: str) -> str:
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return text.strip()


def trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


def do_steps(directory: Path, data_dir: Path) -> list[str]:
    """Every step of the page, in one shell where ./atalaia is this program; what each said."""
    (directory / "atalaia").write_text(f'#!/bin/sh\nexec {sys.executable} -m atalaia "$@"\n')
    (directory / "atalaia").chmod(0o755)
    blocks = BLOCK.findall(PAGE.read_text())
    script = "".join(f"{block}\necho '{END}'\n" for block in blocks)
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=directory,
        env=os.environ | {"ATALAIA_DATA_DIR": str(data_dir), "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = done.stdout.split(f"{END}\n")[:-1]
    assert len(said) == len(blocks)
    return said


@pytest.mark.parametrize("before", ["nothing", "first-alert"])
def test_the_story_happens_as_it_is_told(before: str, tmp_path: Path) -> None:
    """Every command in order; every line of output as it is shown. Against a fresh service,
    and against one with the rule and the alert of the first tutorial, which is named where the
    page says so and nowhere else."""
    with data_directory() as data_dir:
        server = start(data_dir)
        if before == "first-alert":
            run_blocks("tutorial/first-alert.md", tmp_path, data_dir)
            (tmp_path / "atalaia").unlink()
        said = do_steps(tmp_path, data_dir)
        server.stop()
    if before == "first-alert":
        assert LEFT in PAGE.read_text()
        assert sum(seen.count(f"{LEFT}\n") for seen in said) == 3
        said = [seen.replace(f"{LEFT}\n", "") for seen in said]
    told = STEP.findall(PAGE.read_text())
    assert len(told) == len(said), "every step shows what it says"
    for (commands, shown), seen in zip(told, said, strict=True):
        assert settled(seen) == settled(shown), commands
    shown_alerts = [
        int(n) for n in re.findall(r"^as written +\w+ +8 +(\d+)", PAGE.read_text(), re.M)
    ]
    assert shown_alerts == [14, 3]


if __name__ == "__main__":
    with data_directory() as where, tempfile.TemporaryDirectory() as room:
        running = start(where)
        seen_now = iter(do_steps(Path(room), where))
        running.stop()
    PAGE.write_text(
        STEP.sub(
            lambda m: f"```sh\n{m[1]}```\n\n```text\n{trimmed(next(seen_now))}\n```",
            PAGE.read_text(),
        )
    )
