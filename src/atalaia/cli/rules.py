"""`atalaia rules`: check a file before it is sent, list what a server has."""

import sys
from pathlib import Path
from typing import Annotated

import httpx
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from atalaia.cli.connection import find_connection
from atalaia.model.errors import AtalaiaError, RuleInvalid
from atalaia.rules.language import parse_rules

app = App(name="rules", help="Check rule files, try them on the past, list a server's rules.")
app.command("atalaia.cli.backtest:backtest", name="backtest")


@app.command
def check(file: Path) -> int:
    """Say for each rule of a file whether it can be understood.

    Parameters
    ----------
    file
        A text with one or more rules.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        print(f"atalaia: {file}: {error}", file=sys.stderr)
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
        table = Table("name", "version", "enabled", "text", box=None)
        cursor = ""
        with httpx.Client(base_url=connection.base_url, headers=connection.headers) as client:
            while cursor is not None:
                page = client.get(f"/v1/rules?limit=1000{cursor and '&cursor=' + cursor}")
                page.raise_for_status()
                for rule in page.json()["data"]:
                    enabled = "yes" if rule["enabled"] else "no"
                    table.add_row(rule["name"], str(rule["version"]), enabled, rule["text"])
                cursor = page.json()["next_cursor"]
    except AtalaiaError as error:
        print(f"atalaia: {error.detail}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"atalaia: {connection.base_url}: {error}", file=sys.stderr)
        return 1
    Console().print(table)
    return 0
