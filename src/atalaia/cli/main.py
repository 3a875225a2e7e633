"""The console script: commands are imported when they are called, so that help is quick."""

import sys
from importlib.metadata import version

from cyclopts import App

app = App(
    name="atalaia",
    help="A watchtower for sensor data: readings in, rules, alerts out, durable in Postgres.",
    version=version("atalaia"),
)
app.command("atalaia.cli.up:up", name="up")
app.command("atalaia.cli.replay:replay", name="replay")
app.command("atalaia.cli.simulate:simulate", name="simulate")
app.command("atalaia.cli.rules:app", name="rules")


def main() -> None:
    """Exit code 0: done; 1: failed; 2: wrong usage."""
    sys.exit(app())
