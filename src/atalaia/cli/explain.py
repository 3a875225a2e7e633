"""`atalaia rules explain`: why a rule has no alert open at a sensor, or why it has."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from atalaia.cli.asking import ask, find_rule
from atalaia.cli.connection import find_connection
from atalaia.model.errors import AtalaiaError, Invalid

TRUTH = {True: "holds", False: "does not hold", None: "unknown"}


def explain(
    name: str,
    /,
    *,
    sensor: str,
    json: Annotated[bool, Parameter(negative="")] = False,
    url: str | None = None,
    key: str | None = None,
    data_dir: Annotated[Path | None, Parameter(env_var="ATALAIA_DATA_DIR")] = None,
) -> int:
    """Say why a rule has no alert open at a sensor: state, what is missing, what suppresses it.

    Parameters
    ----------
    name
        The rule's name.
    sensor
        The sensor's name.
    json
        Print the answer as JSON.
    url
        The server; default from ATALAIA_URL or credentials.json.
    key
        The API key; default from ATALAIA_API_KEY or credentials.json.
    data_dir
        Where credentials.json is.
    """
    try:
        connection = find_connection(url, key, data_dir)
        rule_id = find_rule(connection, name)
        path = f"/v1/rules/{rule_id}/explain"
        told = ask(connection, "GET", path, params={"sensor": sensor}).json()
    except AtalaiaError as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    if json:
        print(msgspec.json.encode(told).decode())
    else:
        _show(told)
    return 0


def _show(told: dict[str, Any]) -> None:
    """For a person: the sentence first, then what it stands on."""
    rule = told["rule"]
    print(told["summary"])
    print()
    print(f"rule       {rule['name']}, version {rule['version']}")
    print(f"sensor     {told['sensor']}")
    state = told["state"]
    if told["since"] is not None:
        state += f" since {_time(told['since'])}"
    if told["level"] is not None:
        state += f", {told['level']}"
    print(f"state      {state}")
    if told["judged_at"] is not None:
        print(f"judged at  {_time(told['judged_at'])}")
    if told["silence"] is not None:
        print(f"silent     since {_time(told['silence']['since'])}")
        print(f"deadline   {_time(told['silence']['deadline'])}")
    _show_clause("when", told["condition"])
    if told["clear_when"] is not None:
        _show_clause("clear when", told["clear_when"])
    for level in told["levels"]:
        _show_clause(level["severity"], level)
    earliest = told["earliest"]
    print(f"earliest   {'' if earliest['at'] is None else _time(earliest['at']) + '. '}", end="")
    print(earliest["note"])
    for obstacle in told["suppressed_by"]:
        print(f"[{obstacle['code']}] {obstacle['detail']}")


def _show_clause(name: str, clause: dict[str, Any]) -> None:
    print(f"{name:10} {clause['text']}: {TRUTH[clause['truth']]}")
    for one in clause["comparisons"]:
        said = TRUTH[one["truth"]]
        if one["unknown_because"] is not None:
            said += f": {one['unknown_because']}"
        else:
            said += f": {one['expression']} is {one['value']:.6g}"
        distance = one["distance"]
        if distance is not None and one["truth"] is not one["needs"]:
            said += f", {distance:.6g} to go"
        print(f"           {one['text']} {said}")


def _time(text: str) -> str:
    """`2026-01-31 12:00:00.5 UTC`: zeros at the end of a fraction are left out."""
    day, _, clock = text.removesuffix("Z").partition("T")
    return f"{day} {clock.rstrip('0').rstrip('.') if '.' in clock else clock} UTC"
