"""One pipeline, whoever speaks."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import structlog

from atalaia.telemetry.logging import configure_logging


@contextmanager
def configured(style: Literal["console", "json"] | None = None) -> Iterator[None]:
    """Leaves both logging systems as other tests expect them."""
    handlers, level = logging.root.handlers[:], logging.root.level
    if style is not None:
        configure_logging(style)
    yield
    logging.root.handlers[:], logging.root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    with configured():
        yield


SECRETS = {
    "key": f"atl_{'0' * 16}_{'1' * 64}", "refresh": f"atr_{'2' * 64}",
    "ticket": f"att_{'3' * 64}",
    "access": "eyJhbGci.eyJzdWIi.c2ln",
    "dsn": "postgresql://owner:hunter2@db", "bcrypt": "$2b$12$" + "x" * 53,
}  # fmt: skip


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_is_logged_whatever_it_is_in(
    style: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    """In an event, in what is within it, in an object, in a traceback; or under such a name."""
    configure_logging(style)
    log, row = structlog.get_logger(), "sesame"
    for secret in SECRETS.values():
        log.error("said", text=f"of {secret}.", deep={"a": [{"b": (secret, {secret})}]})
        log.error(f"said {secret}", error=ValueError(secret))
        try:
            raise ValueError("\n".join((secret, f"DETAIL:  Failing row contains (a, {row}).")))
        except ValueError:
            log.exception("failed")
    log.error("said", password="sesame", headers={"Authorization": "sesame", "Cookie": "sesame"})
    log.error("said", body={"refresh_token": "sesame", "n": [{"client_secret": "sesame"}]})
    log.error("said", ticket="sesame")
    said = capsys.readouterr().err
    assert said.count("failed") >= len(SECRETS)
    assert "Traceback" in said
    assert "[redacted]" in said
    for secret in ("sesame", "hunter2", *SECRETS.values()):
        assert secret not in said


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
