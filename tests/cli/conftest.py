"""The real command, run against the real service, and a file with the faults of real ones."""

from pathlib import Path

import pytest

from tests.cli.runner import PUMP, Here, Runner
from tests.stack import Stack


@pytest.fixture
def pump(tmp_path: Path) -> Path:
    path = tmp_path / "valve 1.csv"
    path.write_text(PUMP)
    return path


@pytest.fixture
async def cli(stack: Stack) -> Runner:
    return Runner(stack)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    monkeypatch.setenv("ATALAIA_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ATALAIA_API_KEY", "none")
    return Here(capsys)
