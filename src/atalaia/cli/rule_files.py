"""`atalaia rules export`, `import` and `diff`: rules under version control."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from atalaia.cli.asking import Refused, ask
from atalaia.cli.connection import find_connection
from atalaia.model.errors import AtalaiaError

Flag = Annotated[bool, Parameter(negative="")]
DataDir = Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")]


def export_rules(
    file: Path | None = None,
    /,
    *,
    url: str | None = None,
    key: str | None = None,
    data_dir: DataDir = None,
) -> int:
    """Write all rules of a running server as YAML.

    Parameters
    ----------
    file
        Where to; default: standard output.
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    try:
        content = ask(find_connection(url, key, data_dir), "GET", "/v1/rules:export").content
        if file is None:
            sys.stdout.buffer.write(content)
        else:
            file.write_bytes(content)
    except (AtalaiaError, OSError) as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 1
    return 0


def import_rules(
    file: Path,
    /,
    *,
    dry_run: Flag = False,
    prune: Flag = False,
    url: str | None = None,
    key: str | None = None,
    data_dir: DataDir = None,
) -> int:
    """Make a server's rules those of a YAML file. Doing it again changes nothing.

    Parameters
    ----------
    file
        As `export` writes it.
    dry_run
        Only say what would be done.
    prune
        Delete rules that the file lacks.
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    try:
        answer = _send(file, url, key, data_dir, dry_run=dry_run, prune=prune)
    except (AtalaiaError, OSError) as error:
        _complain(file, error)
        return 1
    _show(answer, diffs=dry_run)
    return 0


def diff_rules(
    file: Path,
    /,
    *,
    prune: Flag = False,
    url: str | None = None,
    key: str | None = None,
    data_dir: DataDir = None,
) -> int:
    """Compare a YAML file with a server's rules. Exit code 0: equal, 1: they differ, 2: trouble.

    Parameters
    ----------
    file
        As `export` writes it.
    prune
        Rules that the file lacks are a difference.
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    try:
        answer = _send(file, url, key, data_dir, dry_run=True, prune=prune)
    except (AtalaiaError, OSError) as error:
        _complain(file, error)
        return 2
    _show(answer, diffs=True)
    return int(any(change["action"] != "unchanged" for change in answer["changes"]))


def _send(
    file: Path, url: str | None, key: str | None, data_dir: Path | None, **options: bool
) -> dict[str, Any]:
    """Raises OSError for a file that cannot be read, AtalaiaError for the rest."""
    content = file.read_bytes()
    answer: dict[str, Any] = ask(
        find_connection(url, key, data_dir),
        "POST",
        "/v1/rules:import",
        params={name: str(on).lower() for name, on in options.items()},
        content=content,
    ).json()
    return answer


def _complain(file: Path, error: Exception) -> None:
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
    print(f"{len(changes)} {'to do' if planned else 'edits'}, {unchanged} rules unchanged")
    if answer["left"]:
        print(f"not in the file (--prune deletes them): {', '.join(answer['left'])}")
