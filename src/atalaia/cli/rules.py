"""`atalaia rules`: check a file before it is sent, list what a server has."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atalaia.cli.connection import Connection, GaveUp, find_connection, no_answer, parse_page
from atalaia.model.errors import AtalaiaError, Invalid, RuleInvalid
from atalaia.rules.language import parse_rules

app = App(name="rules", help="Check rule files and list a server's rules.")


@app.command
def check(file: Path, /) -> int:
    """Say for each rule of a file whether it can be understood.

    Parameters
    ----------
    file
        A text with one or more rules.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        print(f"atalaia: {file}: {error.strerror}.", file=sys.stderr)
        return 2
    except UnicodeDecodeError:
        print(f"atalaia: {file}: this is no text in UTF-8.", file=sys.stderr)
        return 2
    try:
        rules = parse_rules(text)
    except RuleInvalid as error:
        print(f"{file}:{error.line}:{error.column}: {error.detail}", file=sys.stderr)
        print(error.caret, file=sys.stderr)
        return 1
    for rule in rules:
        windows = {(a.metric, a.window_us) for a in rule.aggregates}
        print(f"ok  {rule.name}: {', '.join(rule.metrics)}; {len(windows)} windows per sensor")
    return 0


@app.command(name="list")
def list_rules(
    *,
    url: str | None = None,
    key: str | None = None,
    data_dir: Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")] = None,
) -> int:
    """Show the rules of a running server.

    Parameters
    ----------
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    try:
        connection = find_connection(url, key, data_dir)
        table = Table("name", "version", "enabled", "text", box=None, pad_edge=False)
        for rule in _rules(connection):
            enabled = "yes" if rule["enabled"] else "no"
            # Text, since markup would swallow what stands in brackets
            table.add_row(rule["name"], str(rule["version"]), enabled, Text(rule["text"]))
    except (AtalaiaError, GaveUp) as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    Console().print(table)
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
