"""`atalaia alerts`: the alerts of a running server, and one of them with what led to it."""

import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.table import Table

from atalaia.cli.asking import ask, find_rule
from atalaia.cli.connection import USUAL, Connection, Server
from atalaia.cli.tables import table_console
from atalaia.cli.words import count
from atalaia.model.errors import AtalaiaError, Invalid, NotFound

SHORT = 8  # characters of an id: enough for a person's alerts
PAGE = 1_000


def alerts(
    alert: str | None = None,
    /,
    *,
    state: str | None = None,
    rule: str | None = None,
    sensor: str | None = None,
    limit: int = 20,
    json: Annotated[bool, Parameter(negative="")] = False,
    server: Server = USUAL,
) -> int:
    """Show the alerts of a running server, the newest first, or one with its history.

    Parameters
    ----------
    alert
        The beginning of the id of the one to show, or newest: of those that the options leave.
    state
        Only those that are open, or cleared.
    rule
        Only those of the rule with this name.
    sensor
        Only those of this sensor.
    limit
        How many at most.
    json
        Print what the server says, as JSON.
    """
    try:
        connection = server.connect()
        rule_id = None if rule is None else find_rule(connection, rule)
        options = {"state": state, "rule": rule_id, "sensor": sensor}
        asked = {name: value for name, value in options.items() if value}
        if alert is not None:
            one = _find(connection, alert, asked)
            print(_pretty(one) if json else "\n".join(_tell(one)))
            return 0
        found = _page(connection, asked | {"limit": limit})["data"]
    except AtalaiaError as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    if json:
        print(_pretty(found))
    elif found:
        _show(found)
    else:
        print("no alerts")
    return 0


def _page(connection: Connection, asked: dict[str, Any]) -> dict[str, Any]:
    return dict(ask(connection, "GET", "/v1/alerts", params=asked).json())


def _find(connection: Connection, wanted: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The alert with its history, of those asked for. Raises NotFound, Invalid when several fit."""
    if wanted == "newest":
        found = [alert["id"] for alert in _page(connection, asked | {"limit": 1})["data"]]
    else:
        found = _ids(connection, wanted.lower(), asked)
    if not found:
        raise NotFound(f'There is no alert "{wanted}"; `atalaia alerts` lists them.')
    if len(found) > 1:
        raise Invalid(f'The ids of {len(found)} alerts begin with "{wanted}"; give more of it.')
    return dict(ask(connection, "GET", f"/v1/alerts/{found[0]}").json())


def _ids(connection: Connection, beginning: str, asked: dict[str, Any]) -> list[str]:
    found: list[str] = []
    asked = asked | {"limit": PAGE}
    while True:
        page = _page(connection, asked)
        found += [alert["id"] for alert in page["data"] if alert["id"].startswith(beginning)]
        if page["next_cursor"] is None or beginning in found:
            return found
        asked |= {"cursor": page["next_cursor"]}


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _show(found: list[dict[str, Any]]) -> None:
    table = Table("id", "opened", "cleared", "severity", "rule", "sensor", box=None, pad_edge=False)
    for alert in found:
        cleared = "open" if alert["cleared_at"] is None else _moment(alert["cleared_at"])
        table.add_row(
            alert["id"][:SHORT], _moment(alert["opened_at"]), cleared, alert["severity"],
            alert["rule"]["name"], alert["sensor"],
        )  # fmt: skip
    table_console().print(table)


def _tell(alert: dict[str, Any]) -> list[str]:
    """For a person: what, where, when, and by which numbers."""
    rule = alert["rule"]
    lines = [f"{rule['name']} v{rule['version']} at {alert['sensor']}: {alert['state']}", ""]
    lines += [
        f"  {step['kind']:<8} {_second(step['at'])}  {step['severity']:<8}"
        f" {_number(step['value']):>8}   arrived {_second(step['arrival'])}"
        for step in alert["history"]
    ]
    if alert["clear_reason"] not in (None, "condition"):
        lines.append(f"  because: {alert['clear_reason']}")
    lines += ["", "  when it opened"]
    lines += [f"    {each['expression']} = {_number(each['value'])}" for each in alert["evidence"]]
    opening = alert["opening"]
    if opening is not None:
        lines += [f"    {_seen(kept)}" for kept in opening["samples"]]
        lines += ["", f"  what version {opening['rule']['version']} said then"]
        lines += [f"    {line}" for line in opening["rule"]["text"].strip().splitlines()]
    return lines


def _seen(kept: dict[str, Any]) -> str:
    late = f"; {kept['late']} came too late" if kept["late"] else ""
    since, until = _second(kept["from"]), _second(kept["to"])
    return f"{kept['metric']}: {count(kept['count'], 'reading')} after {since} up to {until}{late}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


def _second(text: str) -> str:
    return text[:19].replace("T", " ")
