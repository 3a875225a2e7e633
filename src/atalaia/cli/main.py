"""The console script: commands are imported when they are called, so that help is quick."""

import io
import os
import select
import signal
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

COMMANDS = {
    "up:up": """Start everything and serve until Ctrl-C.

        Without DATABASE_URL an embedded Postgres keeps the data in the data directory.""",
    "simulate:simulate": "Send the readings of simulated sensors until Ctrl-C.",
    "replay:replay": """Send CSV files to a running server.

        The columns are found by looking; the options say otherwise. A batch that is not answered
        is sent again: what is stored already counts as duplicate.""",
    "broker:app": "Set up RabbitMQ: queues, and users for MQTT devices.",
    "dlq:app": "Look at dead letters of RabbitMQ, send them again, drop them.",
    "rules:app": "Check rules, try them on the past, keep a server's in a file.",
    "sensors:app": "Bring a server's register of sensors into a CSV file, and back.",
    "alerts:alerts": "Show the alerts of a running server, or one with its history.",
    "quotas:app": "Show and set how much tenants and keys may send.",
    "tenants:app": "Take all of a tenant with you, or erase it.",
    "users:app": "Let a user choose another password.",
    "audit:app": "Check the record of who did what.",
}
"""Help stands here too, since the list of commands must not import them."""


def _usage(error: CycloptsError) -> str:
    return f"atalaia: {error} See --help."


def show_default(value: object) -> str | None:
    """Nothing for what is off or empty until somebody says otherwise."""
    return None if value is None or value is False or value == () else str(value)


app = App(
    name="atalaia",
    help="A watchtower for sensor data: readings in, rules, alerts out, durable in Postgres.",
    version=version("atalaia"),
    default_parameter=Parameter(negative=(), show_default=show_default),
    error_formatter=_usage,
)
for place, (target, text) in enumerate(COMMANDS.items()):
    name = target.partition(":")[0]
    app.command(f"atalaia.cli.{target}", name=name, help=text, sort_key=place)


CUT = 128 + signal.SIGPIPE
"""What the shell says of a program whose reader is gone."""


def main() -> None:
    """Exit code 0: done; 1: failed; 2: wrong usage; 141: nobody reads on, as after `| head`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # in a pipe, too, errors stand in their place
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what is left in it, while that can still be told apart
    except (BrokenPipeError, BaseExceptionGroup, SystemExit) as end:
        if not _is_cut(end):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):  # else the interpreter complains on its way out
            os.dup2(nowhere, stream.fileno())
        sys.exit(CUT)


def _is_cut(end: BaseException) -> bool:
    """Whether it ended because nobody reads what it prints; not for a connection that broke."""
    if isinstance(end, SystemExit):  # rich makes it of a broken pipe
        return isinstance(end.__context__, BrokenPipeError)
    if isinstance(end, BaseExceptionGroup) and end.split(BrokenPipeError)[1] is not None:
        return False
    printed = select.poll()
    printed.register(sys.stdout, 0)
    printed.register(sys.stderr, 0)
    return any(event & select.POLLERR for _, event in printed.poll(0))
