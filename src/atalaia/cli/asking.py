"""One request to a running server, and what there is to say when it is not answered as hoped."""

import sys
from pathlib import Path
from typing import Any

import httpx

from atalaia.cli.connection import Connection, Server, no_answer, problem_of
from atalaia.cli.files import write_bytes
from atalaia.model.errors import AtalaiaError, NotFound

TIMEOUT_S = 600.0  # an import commits rule by rule


class Refused(AtalaiaError):
    """The server did not do it. problem: its own words, empty when there are none."""

    def __init__(self, detail: str, problem: dict[str, Any]) -> None:
        super().__init__(detail)
        self.problem = problem


def ask(connection: Connection, method: str, path: str, **options: Any) -> httpx.Response:
    """The answer to a request. Raises Refused for every other end of it."""
    try:
        response = httpx.request(
            method,
            connection.base_url + path,
            headers=connection.headers,
            timeout=httpx.Timeout(TIMEOUT_S, connect=10),
            **options,
        )
    except httpx.TransportError as error:
        raise Refused(no_answer(connection, error), {}) from error
    if response.is_success:
        return response
    try:
        problem = dict(response.json())
    except (ValueError, TypeError):
        problem = {}
    raise Refused(problem_of(response), problem)


def save(server: Server, path: str, file: Path | None) -> int:
    """Write what is at this path into a file, or to standard output. Returns the exit code."""
    try:
        content = ask(server.connect(), "GET", path).content
        if file is not None:
            write_bytes(file, content)
            return 0
    except AtalaiaError as error:
        print(f"atalaia: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(content)
    return 0


def find_rule(connection: Connection, name: str) -> str:
    """The id of the server's rule of this name. Raises NotFound, Refused."""
    cursor: str | None = ""
    while cursor is not None:
        path = f"/v1/rules?limit=1000{cursor and '&cursor=' + cursor}"
        page = ask(connection, "GET", path).json()
        for rule in page["data"]:
            if rule["name"] == name:
                return str(rule["id"])
        cursor = page["next_cursor"]
    raise NotFound(f'The server has no rule named "{name}"; `atalaia rules list` shows them.')
