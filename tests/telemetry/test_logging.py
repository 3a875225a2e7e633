"""One pipeline, whoever speaks."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from atalaia.telemetry.logging import configure_logging


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    """Leave both logging systems as other tests expect them."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    structlog.reset_defaults()


def test_libraries_speak_through_our_pipeline_and_cannot_flood(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line a second, no traceback, no secret; what was left out is counted."""
    configure_logging("json")
    library = logging.getLogger("asyncpg.pool")
    for _ in range(100):
        try:
            raise OSError("postgresql://owner:hunter2@db is down")
        except OSError:
            library.exception("cannot connect")
    library.info("never said")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["library"], event["said"]) == ("asyncpg.pool", "cannot connect")
    assert (event["level"], event["event"]) == ("error", "library_said")
    assert "OSError" in event["error"]
    assert "hunter2" not in line
    assert "Traceback" not in line


def test_a_warning_that_repeats_is_said_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """To a person; other warnings are not held back by it."""
    configure_logging("console")
    for _ in range(50):
        structlog.get_logger().warning("actor_stopped")
    structlog.get_logger().warning("commit_retried")
    said = capsys.readouterr().err
    assert (said.count("actor_stopped"), said.count("commit_retried")) == (1, 1)
