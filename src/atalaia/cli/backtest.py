"""`atalaia rules backtest`: what a rule would have done, before it is saved."""

import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atalaia.cli.connection import USUAL, Server, no_answer, problem_of
from atalaia.cli.files import read_text
from atalaia.cli.progress import Progress
from atalaia.cli.words import count, paragraph
from atalaia.model.errors import AtalaiaError, Invalid, NotFound, RuleInvalid
from atalaia.rules.language import parse_rules
from atalaia.rules.syntax import parse_duration

SILENCE_S = 90.0  # a chunk is loaded and judged long before
BAR = 40
PLAIN_WIDTH = 120  # of what is not a terminal, which would be taken for 80


def backtest(
    file: Path | None = None,
    /,
    *,
    rule: str | None = None,
    since: Annotated[str | None, Parameter(name="--from")] = None,
    until: Annotated[str | None, Parameter(name="--to")] = None,
    order: str = "event",
    sweep: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    json: Annotated[bool, Parameter(negative="")] = False,
    server: Server = USUAL,
) -> int:
    """Say which alerts a rule would have opened over the readings a server has stored.

    Nothing is changed. A rule from a file is compared with the server's rule of the same name;
    of several rules each is tried by itself, one after the other.

    Parameters
    ----------
    file
        A text with one or more rules.
    rule
        The name of a rule of the server: to try it as it stands, or to compare the file with it.
    since
        Begin here: 2026-01-31, 2026-01-31T12:00:00Z, or how long ago, such as 30d.
        Default: 7 days before the end.
    until
        End here. Default: now.
    order
        event: by time. arrival: as the readings came, which is what live rules saw.
        A rule of silence always goes by arrival.
    sweep
        Try other numbers too: for=1m,2m,5m or threshold=28,30. May be given twice.
        With "no data for 10m", for is how long the silence lasts.
    json
        Print the result as JSON, a line for each rule.
    """
    console = Console(stderr=True, markup=False, highlight=False)
    try:
        if file is None and rule is None:
            raise Invalid("Name a file with a rule, or a rule of the server with --rule.")
        question: dict[str, Any] = {"order": order, "sweep": _sweep(sweep)}
        texts = [None] if file is None else _read(file)
        if rule is not None and len(texts) > 1:
            raise Invalid(f"--rule compares with one rule; {file} has {len(texts)}.")
        for name, moment in (("from", since), ("to", until)):
            if moment is not None:
                question[name] = _moment(moment)
        connection = server.connect()
        with httpx.Client(
            base_url=connection.base_url,
            headers=connection.headers,
            timeout=httpx.Timeout(30.0, read=SILENCE_S),
        ) as client:
            if rule is not None:
                question["rule_id"] = _find(client, rule)
            for text in texts:
                if text is not None:
                    question["text"] = text
                result = _ask(client, question, console)
                if json:
                    print(msgspec.json.encode(result).decode(), flush=True)
                    continue
                if text != texts[0]:
                    print()
                _show(result)
    except AtalaiaError as error:
        if isinstance(error, RuleInvalid):
            print(f"{file}:{error.line}:{error.column}: {error.detail}", file=sys.stderr)
            print(error.caret, file=sys.stderr)
        else:
            console.print(f"atalaia: {error.detail}", style="red")
        return 2 if isinstance(error, Invalid) else 1
    except httpx.HTTPError as error:
        console.print(f"atalaia: {no_answer(connection, error)}", style="red")
        return 1
    except KeyboardInterrupt:
        console.print("stopped, on the server too")
        return 1
    return 0


def _read(file: Path) -> Sequence[str]:
    """The text of each rule. Raises RuleInvalid for one that is none, before anything is sent."""
    text = read_text(file)
    rules = parse_rules(text)
    return [text] if len(rules) == 1 else [rule.text for rule in rules]


def _moment(text: str) -> str | int:
    """A time as the server reads it; a day begins at midnight UTC, a duration is that long ago."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return f"{text}T00:00:00Z"
    if not re.fullmatch(r"(\d+(ms|s|m|h|d))+", text):
        return text
    return (time.time_ns() // 1_000 - parse_duration(text)) // 1_000


def _sweep(options: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for option in options:
        name, _, values = option.partition("=")
        try:
            if name not in ("for", "threshold") or not values:
                raise ValueError
            kind = str if name == "for" else float
            found.setdefault(name, []).extend(kind(value.strip()) for value in values.split(","))
        except ValueError as error:
            raise Invalid(
                f'--sweep: write for=1m,2m or threshold=28,30, not "{option}".'
            ) from error
    return found


def _find(client: httpx.Client, name: str) -> str:
    """The id of the server's rule of this name. Raises NotFound."""
    cursor: str | None = ""
    while cursor is not None:
        response = client.get(f"/v1/rules?limit=1000{cursor and '&cursor=' + cursor}")
        _check(response)
        page = response.json()
        for rule in page["data"]:
            if rule["name"] == name:
                return str(rule["id"])
        cursor = page["next_cursor"]
    raise NotFound(f'The server has no rule named "{name}"; `atalaia rules list` shows them.')


def _check(response: httpx.Response) -> None:
    """Raises what the server says instead of what was asked for."""
    if response.status_code == 200:
        return
    response.read()
    kind = Invalid if response.status_code in (400, 422) else AtalaiaError
    raise kind(problem_of(response))


def _ask(client: httpx.Client, question: dict[str, Any], console: Console) -> dict[str, Any]:
    """The result, while its progress is shown."""
    with (
        client.stream("POST", "/v1/rules/backtest", json=question) as response,
        Progress(console, 1.0) as progress,
    ):
        _check(response)
        for said in _lines(response):
            if "result" in said:
                return dict(said["result"])
            if "error" in said:
                raise AtalaiaError(str(said["error"]["detail"]))
            progress.update(said["progress"], f"{said['readings']:,} readings judged")
    raise AtalaiaError("The server broke off the answer; try again.")


def _lines(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        yield msgspec.json.decode(line)


def _show(result: dict[str, Any]) -> None:
    """For a person: a table of variants, the noisiest sensors, what it is compared with."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(markup=False, highlight=False, width=width)
    judged = (
        f"{result['rule']}: {count(result['sensors'], 'sensor')},"
        f" {count(result['readings'], 'reading')} from"
        f" {_minute(result['from'])} to {_minute(result['to'])} UTC, in order of {result['order']}"
    )
    console.print(paragraph(judged), soft_wrap=True)
    variants, live = result["variants"], result["live"]
    compared = any(variant["diff"] for variant in variants)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    for name in ("for", "threshold", "alerts", "a day", "flaps", "open", "firing", "sensors"):
        table.add_column(name, justify="right")
    for name in ("kept", "gone", "new") if compared else ():
        table.add_column(name, justify="right")
    for variant in variants:
        table.add_row(*_row(variant, live, compared))
    console.print(table)
    first = variants[0]
    if first["noisiest"]:
        console.print("\nalerts of the noisiest sensors, the rule as written")
        most = first["noisiest"][0]["opened"]
        bars = Table(box=None, pad_edge=False, show_header=False)
        bars.add_column()
        bars.add_column(justify="right")
        bars.add_column()
        for sensor in first["noisiest"]:
            length = max(1, round(BAR * sensor["opened"] / most))
            bars.add_row(Text(sensor["sensor"]), f"{sensor['opened']:,}", "█" * length)
        console.print(bars)
    minutes = result["flap_within_s"] / 60
    notes = [
        "open: at the end; firing: share of the sensors' time; a flap opens within"
        f" {minutes:.0f} minutes after the sensor's alert cleared."
    ]
    if live is None:
        notes.append(f'The server has no rule named "{result["rule"]}" to compare with.')
    elif compared:
        notes.append(
            "kept, gone: alerts of the live rule"
            + ("" if live["enabled"] else ", disabled now,")
            + " that the variant has at the same time, or has not; new: its own."
        )
    notes += result["notes"]
    console.print("\n" + paragraph(" ".join(notes)), soft_wrap=True)


def _row(variant: dict[str, Any], live: dict[str, Any] | None, compared: bool) -> list[str]:
    name = "as written" if variant["as_written"] else ""
    if variant["live"] and live is not None:
        name = f"live v{live['version']}"
    threshold, difference = variant["threshold"], variant["diff"]
    row = [
        name,
        variant["for"],
        "" if threshold is None else f"{threshold:g}",
        f"{variant['opened']:,}",
        f"{variant['per_day']:,.1f}",
        f"{variant['flaps']:,}",
        f"{variant['open_at_end']:,}",
        f"{variant['firing_share']:.1%}",
        f"{variant['sensors_alerting']:,}",
    ]
    if compared:
        row += [
            "" if difference is None else f"{difference[name]:,}"
            for name in ("kept", "gone", "new")
        ]
    return row


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
