"""One log pipeline: one line per event on stderr, readable for a person, JSON for a machine.

What libraries say through the standard library's logging goes through it too, at most one line a
second: a driver that cannot connect says so with a traceback at every try.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal

import structlog

from atalaia.telemetry.secrets import redacted

QUIET_S = 1.0


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """No secret reaches a log."""
    return {name: redacted(name, value) for name, value in event.items()}


class Quiet:
    """Drops a warning that was said within QUIET_S; the next one says how often."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}

    def __call__(
        self, _: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        if method != "warning":
            return event
        now = time.monotonic()
        quiet_until, unsaid = self._said.get(event["event"], (0.0, 0))
        if now < quiet_until:
            self._said[event["event"]] = (quiet_until, unsaid + 1)
            raise structlog.DropEvent
        self._said[event["event"]] = (now + QUIET_S, 0)
        return event if not unsaid else {**event, "unsaid_before": unsaid}


class LibraryLines(logging.Handler):
    """Standard log records as events of ours; those within QUIET_S of the last are counted."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until = 0.0
        self._unsaid = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now < self._quiet_until:
            self._unsaid += 1
            return
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library_said",
            library=record.name,
            said=record.getMessage(),
            error=None if error is None else repr(error),
            unsaid_before=self._unsaid,
        )
        self._quiet_until = now + QUIET_S
        self._unsaid = 0


def configure_logging(style: Literal["console", "json"]) -> None:
    """Called once, before anything else starts.

    A machine gets a line for every request and commit (debug), a person their sum once a second.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    quiet = [Quiet()] if style == "console" else []
    structlog.configure(
        processors=[
            *quiet,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # before secrets are looked for
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if style == "json" else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[LibraryLines()], level=logging.WARNING, force=True)
