"""One request to a running server, and what there is to say when it is not answered as hoped."""

from typing import Any

import httpx

from atalaia.cli.connection import Connection
from atalaia.model.errors import AtalaiaError

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
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Refused(f"{connection.base_url} does not answer: {error}", {}) from error
    if response.is_success:
        return response
    try:
        problem = response.json()
        detail = problem["detail"]
    except (ValueError, LookupError, TypeError):
        problem, detail = {}, "the answer is not one of Atalaia"
    raise Refused(f"{connection.base_url} says {response.status_code}: {detail}", problem)
