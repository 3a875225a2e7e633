"""`atalaia sensors`: a tenant's register of sensors as CSV."""

import sys
from pathlib import Path

from cyclopts import App

from atalaia.cli.asking import ask, save
from atalaia.cli.connection import USUAL, Server
from atalaia.cli.files import read_bytes
from atalaia.cli.words import count
from atalaia.model.errors import AtalaiaError

app = App(name="sensors", help="Bring a server's register of sensors into a CSV file, and back.")


@app.command(name="export")
def export_sensors(file: Path | None = None, /, *, server: Server = USUAL) -> int:
    """Write all sensors of a running server as CSV.

    Parameters
    ----------
    file
        Where to; default: standard output.
    """
    return save(server, "/v1/sensors:export", file)


@app.command(name="import")
def import_sensors(file: Path, /, *, server: Server = USUAL) -> int:
    """Make and change sensors as a CSV file says. Doing it again changes nothing.

    Exit code 1 when a line was not taken; the others are.

    Parameters
    ----------
    file
        CSV as `export` writes it, with any of its columns.
    """
    try:
        content = read_bytes(file)
        answer = ask(server.connect(), "POST", "/v1/sensors:import", content=content).json()
    except AtalaiaError as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 1
    for fault in answer["rejected"]:
        print(f"{file}:{fault['line']}: {fault['column']}: {fault['detail']}", file=sys.stderr)
    print(
        f"{count(answer['created'], 'sensor')} created, {answer['changed']} changed, "
        f"{answer['unchanged']} unchanged, {len(answer['rejected'])} rejected"
    )
    return int(bool(answer["rejected"]))
