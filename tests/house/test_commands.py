"""What the documentation says of the command line is what the command line has."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError, MissingArgumentError

from atalaia.cli.main import app
from tests.house.commands import HEADING, PAGE, ROOT, current_page, leaves

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
SOME_ID = "0198c1d0-0000-7000-8000-000000000000"
COMMAND = re.compile(r"(?:^ *|^ {4}.*? |`)(?:\./)?(atalaia [^`\n]*)", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words after `atalaia` of every command in a code block or between backticks."""
    text = text.replace("\\\n", " ")
    code = re.findall(r"```sh\n.*?```|^    .*$|(?<!`)`[^`\n]+`", text, re.DOTALL | re.MULTILINE)
    found = [match for part in code for match in COMMAND.findall(part)]
    alone = (re.split(r"\s(?:\|\||&&|;|\||&)(?:\s|$)", line)[0] for line in found)
    return [shlex.split(line, comments=True)[1:] for line in alone]


def test_the_reference_is_the_help() -> None:
    """Every command has its section, every option its line, with the words of its help."""
    page = PAGE.read_text()
    assert HEADING.findall(page) == [words for words, _ in leaves()]
    assert page == current_page(page), "run: python -m tests.house.commands"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_understood(page: Path) -> None:
    """Commands of the pages are parsed by the program itself; `test` is the bootstrap's."""
    for words in commands(page.read_text()):
        if words[:1] in ([], ["test"], ["..."]):
            continue
        words = [SOME_ID if word == "$TENANT" else word for word in words]
        try:
            app.parse_args(words, exit_on_error=False, print_error=False)
        except MissingArgumentError:
            continue  # a command that is only named
        except CycloptsError as error:
            pytest.fail(f"{page.name}: atalaia {shlex.join(words)}: {error}")


def test_commands_are_found() -> None:
    """The test before would not notice an expression that finds nothing."""
    text = (
        "    ./atalaia up --x\n    A=b ./atalaia rules y\n"
        "`atalaia z`\n```sh\n./atalaia w \\\n  o # c\n```\n"
        "    atalaia v || test $? -eq 1\n    ./atalaia u &\n"
    )
    assert commands(text) == [["up", "--x"], ["rules", "y"], ["z"], ["w", "o"], ["v"], ["u"]]
    assert sum(len(commands(page.read_text())) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_exists(page: Path) -> None:
    """An option that begins a word between backticks is one of a command or of the bootstrap."""
    known = {"--strict", "--install-deps", "--help", "--version"}
    for _, command in leaves():
        for argument in command.assemble_argument_collection(parse_docstring=False):
            known |= set(argument.names)
    named = set(re.findall(r"`(--[a-z-]+)", page.read_text()))
    assert named - known == set()
