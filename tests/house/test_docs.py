"""The documentation's commands are executed, and its promises about options looked up."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.process.server import data_directory, start

ROOT = Path(__file__).resolve().parents[2]


def test_the_tutorial_runs_as_it_stands() -> None:
    """Every sh block, in one shell, against a fresh service; the alert is the one described."""
    text = (ROOT / "docs" / "tutorial" / "first-alert.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    with data_directory() as directory:
        server = start(directory)
        done = subprocess.run(
            ["sh", "-eu", "-c", "\n".join(blocks)], capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/nonexistent",
                 "ATALAIA_DATA_DIR": str(directory)},
        )  # fmt: skip
        server.stop()
    answers = [json.loads(line) for line in re.sub(r"\}\{", "}\n{", done.stdout).splitlines()]
    assert answers[0]["accepted"] == 3
    (alert,) = answers[-1]["data"]
    assert alert["evidence"] == [{"expression": "avg(temperature, 5m)", "value": 72.0}]


def test_every_row_code_is_documented() -> None:
    """The reference names each code that the source can answer with."""
    reference = (ROOT / "docs" / "reference" / "http.md").read_text()
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    codes = set(re.findall(r'code="([a-z_]+)"', source)) | {"bad_sensor", "bad_metric", "bad_ts"}
    internal = {"startup_refused"}
    assert {code for code in codes - internal if f"`{code}`" not in reference} == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links of every page."""
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
