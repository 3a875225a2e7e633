"""`atalaia rules check`: what is odd about rules and what they cost, before they are sent."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atalaia.cli.asking import Refused, ask
from atalaia.cli.connection import USUAL, Server
from atalaia.cli.files import read_text
from atalaia.cli.words import count
from atalaia.model.errors import AtalaiaError, Invalid, RuleInvalid
from atalaia.rules.language import parse_rules
from atalaia.rules.lints import Lint, Surroundings, find_lints
from atalaia.rules.syntax import RuleSpec, parse_duration
from atalaia.rules.unit_check import check_units


def check(
    file: Path,
    /,
    *,
    interval: str | None = None,
    server: Server = USUAL,
) -> int:
    """Say for each rule of a file whether it can be understood, and what is odd about it.

    With a running server also what it would cost, how many sensors it matches, and whether it
    would be refused as too much for the tenant.

    Parameters
    ----------
    file
        A text with one or more rules.
    interval
        How often the metrics are read, such as 10s; without it some lints are left out.
    """
    try:
        text = read_text(file)
    except Invalid as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 2
    try:
        interval_us = None if interval is None else parse_duration(interval)
    except Invalid as error:
        print(f"atalaia: --interval: {error}", file=sys.stderr)
        return 2
    try:
        rules = parse_rules(text)
    except RuleInvalid as error:
        return _refuse(file, error.line, error.column, error.detail, error.caret)
    try:
        body = {"text": text} if interval is None else {"text": text, "interval": interval}
        connection = server.connect()
        answer = ask(connection, "POST", "/v1/rules/check", json=body).json()
    except AtalaiaError as error:
        problem = error.problem if isinstance(error, Refused) else {}
        if problem.get("code") == "invalid_rule":
            return _refuse(file, *(problem[part] for part in ("line", "column", "detail", "caret")))
        if server.named:
            print(f"atalaia: {error}; so without costs.", file=sys.stderr)
        try:
            check_units(text, rules, {})
        except RuleInvalid as fault:
            return _refuse(file, fault.line, fault.column, fault.detail, fault.caret)
        found = find_lints(text, rules, Surroundings(interval_us=interval_us))
        for rule, lints in zip(rules, found, strict=True):
            _say(file, rule, lints)
        return 0
    for rule, found in zip(rules, answer["rules"], strict=True):
        _say(file, rule, [Lint(**lint) for lint in found["lints"]])
        _say_cost(found)
    for refusal in answer["refusals"]:
        print(f"would be refused: {refusal['detail']} [{refusal['code']}]", file=sys.stderr)
    return 1 if answer["refusals"] else 0


def _refuse(file: Path, line: int, column: int, detail: str, caret: str) -> int:
    print(f"{file}:{line}:{column}: {detail}", file=sys.stderr)
    print(caret, file=sys.stderr)
    return 1


def _say(file: Path, rule: RuleSpec, lints: Sequence[Lint]) -> None:
    windows = {(a.metric, a.window_us) for a in rule.aggregates}
    about = f"{', '.join(rule.metrics)}; {count(len(windows), 'window')} per sensor"
    print(f"ok  {rule.name}: {about if rule.silence is None else rule.silence}")
    for lint in lints:
        print(f"    {file}:{lint.line}:{lint.column}: {lint.message} [{lint.code}]")


def _say_cost(answer: dict[str, Any]) -> None:
    cost = answer["cost"]
    print(
        f"    {count(answer['matches'], 'sensor')} now, {count(cost['new_windows'], 'new window')},"
        f" about {cost['ns_per_reading']:,} ns per reading\n"
        f"    {cost['bytes_per_sensor']:,} bytes per sensor at a reading every {cost['interval']}"
    )
