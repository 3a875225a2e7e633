"""`atalaia rules export`, `import` and `diff`: rules under version control."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from atalaia.cli.asking import Refused, ask, save
from atalaia.cli.connection import USUAL, Server
from atalaia.cli.files import read_bytes, read_text
from atalaia.cli.words import count
from atalaia.model.errors import AtalaiaError, RuleInvalid
from atalaia.rules.language import parse_rules

Flag = Annotated[bool, Parameter(negative="")]

PLAIN = re.compile(rb"(\s|#[^\n]*(\n|$))*rule\s")
"""How a file of rules begins that is not YAML, which begins with `rules:`."""
REMARK = re.compile(r"[ \t]*#[^\n]*")


def export_rules(
    file: Path | None = None,
    /,
    *,
    server: Server = USUAL,
) -> int:
    """Write all rules of a running server as YAML.

    Parameters
    ----------
    file
        Where to; default: standard output.
    """
    return save(server, "/v1/rules:export", file)


def import_rules(
    file: Path,
    /,
    *,
    dry_run: Flag = False,
    prune: Flag = False,
    server: Server = USUAL,
) -> int:
    """Make a server's rules those of a file. Doing it again changes nothing.

    Parameters
    ----------
    file
        YAML as `export` writes it, or a plain text with one or more rules.
    dry_run
        Only say what would be done.
    prune
        Delete rules that the file lacks.
    """
    try:
        answer = _send(file, server, dry_run=dry_run, prune=prune)
    except AtalaiaError as error:
        _complain(file, error)
        return 1
    _show(answer, diffs=dry_run)
    return 0


def diff_rules(
    file: Path,
    /,
    *,
    prune: Flag = False,
    server: Server = USUAL,
) -> int:
    """Compare a file with a server's rules. Exit code 0: equal, 1: they differ, 2: trouble.

    Parameters
    ----------
    file
        YAML as `export` writes it, or a plain text with one or more rules.
    prune
        Rules that the file lacks are a difference.
    """
    try:
        answer = _send(file, server, dry_run=True, prune=prune)
    except AtalaiaError as error:
        _complain(file, error)
        return 2
    _show(answer, diffs=True)
    return int(any(change["action"] != "unchanged" for change in answer["changes"]))


def _send(file: Path, server: Server, **options: bool) -> dict[str, Any]:
    """Raises AtalaiaError."""
    content = read_bytes(file)
    if PLAIN.match(content):
        content = _as_yaml(read_text(file))
    answer: dict[str, Any] = ask(
        server.connect(),
        "POST",
        "/v1/rules:import",
        params={name: str(on).lower() for name, on in options.items()},
        content=content,
    ).json()
    return answer


def _as_yaml(text: str) -> bytes:
    """The rules of a plain text, each with the comments before it. Raises RuleInvalid."""
    return msgspec.json.encode({"rules": [{"text": rule} for rule in _split(text)]})


def _split(text: str) -> Iterator[str]:
    rules, begin = parse_rules(text), 0
    for rule in rules:
        end = text.index(rule.text, begin) + len(rule.text)
        remark = REMARK.match(text, end)
        end = end if remark is None else remark.end()
        yield text[begin : len(text) if rule is rules[-1] else end].strip()
        begin = end


def _complain(file: Path, error: AtalaiaError) -> None:
    if isinstance(error, RuleInvalid):
        print(f"{file}:{error.line}:{error.column}: {error.detail}", file=sys.stderr)
        print(error.caret, file=sys.stderr)
        return
    problem = error.problem if isinstance(error, Refused) else {}
    for fault in problem.get("problems", ()):
        rule = "" if fault["rule"] is None else f"{fault['rule']}: "
        print(f"{file}:{fault['line']}:{fault['column']}: {rule}{fault['detail']}", file=sys.stderr)
    if "changes" in problem:
        _show(problem, diffs=False)
    if "problems" not in problem:
        print(f"atalaia: {error}", file=sys.stderr)


def _show(answer: dict[str, Any], *, diffs: bool) -> None:
    changes = [change for change in answer["changes"] if change["action"] != "unchanged"]
    planned = answer.get("dry_run", False)
    for change in changes:
        notes = ["closes open alerts"] if change["closes_alerts"] else []
        if not planned and not change["done"]:
            notes.append("not done")
        noted = f" ({', '.join(notes)})" if notes else ""
        print(f"{change['action']:<8} {change['name']}{noted}")
        if diffs and change["diff"]:
            print(change["diff"])
    unchanged = len(answer["changes"]) - len(changes)
    done = "to do" if planned else "edit" if len(changes) == 1 else "edits"
    print(f"{len(changes)} {done}, {count(unchanged, 'rule')} unchanged")
    if answer["left"]:
        print(f"not in the file (--prune deletes them): {', '.join(answer['left'])}")
