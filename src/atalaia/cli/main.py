"""The console script: commands are imported when they are called, so that help is quick."""

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
    "alerts:alerts": "Show the alerts of a running server, or one with its history.",
    "quotas:app": "Show and set how much tenants and keys may send.",
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


def main() -> None:
    """Exit code 0: done; 1: failed; 2: wrong usage."""
    sys.exit(app())
