"""`atalaia rules`: rules of files and of a running server."""

import sys
from collections.abc import Iterator
from typing import Any

import httpx
from cyclopts import App
from rich.table import Table

from atalaia.cli.connection import USUAL, Connection, GaveUp, Server, no_answer, parse_page
from atalaia.cli.tables import table_console
from atalaia.model.errors import AtalaiaError, Invalid

app = App(name="rules", help="Check rules, try them on the past, keep a server's in a file.")
app.command(
    "atalaia.cli.backtest:backtest",
    name="backtest",
    help="Say what a rule would have done over the stored readings.",
)


app.command(
    "atalaia.cli.rule_check:check",
    name="check",
    help="Say what is odd about the rules of a file, and what they cost.",
)
app.command(
    "atalaia.cli.explain:explain",
    name="explain",
    help="Say why a rule has no alert open at a sensor.",
)
app.command(
    "atalaia.cli.rule_files:export_rules",
    name="export",
    help="Write all rules of a server as YAML.",
)
app.command(
    "atalaia.cli.rule_files:import_rules",
    name="import",
    help="Make a server's rules those of a file.",
)
app.command(
    "atalaia.cli.rule_files:diff_rules",
    name="diff",
    help="Compare a file with a server's rules.",
)

app.command(
    "atalaia.cli.rule_packs:pack_of",
    name="pack",
    help="Show rules to begin with, for a kind of sensor.",
)


@app.command(name="list")
def list_rules(
    *,
    server: Server = USUAL,
) -> int:
    """Show the rules of a running server."""
    try:
        connection = server.connect()
        table = Table("name", "version", "enabled", "text", box=None, pad_edge=False)
        for rule in _rules(connection):
            enabled = "yes" if rule["enabled"] else "no"
            table.add_row(rule["name"], str(rule["version"]), enabled, rule["text"])
    except (AtalaiaError, GaveUp) as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    table_console().print(table)
    return 0


def _rules(connection: Connection) -> Iterator[dict[str, Any]]:
    """Raises GaveUp."""
    cursor: str | None = ""
    with httpx.Client(base_url=connection.base_url, headers=connection.headers) as client:
        while cursor is not None:
            try:
                response = client.get(f"/v1/rules?limit=1000{cursor and '&cursor=' + cursor}")
            except httpx.TransportError as error:
                raise GaveUp(no_answer(connection, error)) from error
            page = parse_page(response)
            yield from page["data"]
            cursor = page["next_cursor"]
