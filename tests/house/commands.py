"""The reference of the command line, as the command line itself has it.

    .venv/bin/python -m tests.house.commands

writes the tables of docs/reference/command-line.md; a test finds when they are out of date.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App

from atalaia.cli.main import app, show_default

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "command-line.md"
HEADING = re.compile(r"^## atalaia (.+)$", re.MULTILINE)
HEAD = "| option | default | |\n"
TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)*")


def leaves(parent: App = app, path: str = "") -> Iterator[tuple[str, App]]:
    """Every command that does something, with its words."""
    for name in parent:
        if name.startswith("-"):
            continue
        command, words = parent[name], f"{path} {name}".strip()
        if command.default_command is not None:
            yield words, command
        else:
            yield from leaves(command, words)


def table(command: App) -> str:
    """The arguments and options of a command with what its help says of them."""
    lines = [HEAD, "|---|---|---|\n"]
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.names[0] == "*":  # several options at once, which follow
            continue
        default = argument.field_info.default
        shown = None if default is argument.field_info.empty else show_default(default)
        text = " ".join(str(argument.parameter.help).split()).replace("|", "\\|")
        if argument.parameter.env_var:
            text += f" Environment: `{', '.join(argument.parameter.env_var)}`."
        lines.append(f"| `{argument.names[0]}` | {f'`{shown}`' if shown else ''} | {text} |\n")
    return "".join(lines)


def current_page(text: str) -> str:
    """The page with every table as it should be."""
    parts = HEADING.split(text)
    commands = dict(leaves())
    sections = zip(parts[1::2], parts[2::2], strict=True)
    return parts[0] + "".join(_section(words, body, commands[words]) for words, body in sections)


def _section(words: str, body: str, command: App) -> str:
    return f"## atalaia {words}{TABLE.sub(lambda _: table(command), body)}"


if __name__ == "__main__":
    PAGE.write_text(current_page(PAGE.read_text()))
