"""Tables for a person at a terminal, and for a program behind a pipe."""

import sys

from rich.console import Console

PLAIN_WIDTH = 1_000  # nothing is cut for a program


def table_console() -> Console:
    """On standard output, as wide as the terminal. What stands in brackets is no markup."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(markup=False, highlight=False, width=width)
