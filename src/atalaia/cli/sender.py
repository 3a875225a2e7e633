"""Sends batches as a good gateway does: the same batch again until it is answered.

Sending again is safe: what is stored already counts as duplicate.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import msgspec
import trio

from atalaia.cli.connection import Connection, GaveUp, no_answer, parse_page, problem_of

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 5.0


@attrs.define(eq=False)
class Tally:
    """What became of everything that was sent. details: an example of each code of rejection."""

    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    retries: int = 0
    codes: Counter[str] = attrs.field(factory=Counter)
    details: dict[str, str] = attrs.field(factory=dict)

    @property
    def rejected(self) -> int:
        return self.sent - self.accepted - self.duplicates

    @property
    def nothing_stored(self) -> bool:
        """Readings were sent, and the server has none of them."""
        return self.sent > 0 and self.rejected == self.sent

    def add(self, rows: int, answer: dict[str, Any]) -> None:
        self.sent += rows
        self.accepted += answer["accepted"]
        self.duplicates += answer["duplicates"]
        self.late += answer["late"]
        for reject in answer["rejected"]:
            self.codes[reject["code"]] += 1
            self.details.setdefault(reject["code"], reject["detail"])

    def reasons(self) -> Iterator[str]:
        """Why rows were rejected, the most frequent first."""
        for code, count in self.codes.most_common():
            yield f"rejected {count:,} as {code}: {self.details[code]}"
        unlisted = self.rejected - self.codes.total()
        if unlisted:  # the server lists as many as an answer may hold
            yield f"rejected {unlisted:,} more that the answers do not list"


@attrs.define(eq=False)
class Sender:
    """One connection to the server. Its owner closes the client."""

    connection: Connection
    client: httpx.AsyncClient
    tally: Tally
    give_up_s: float

    async def send(self, rows: list[dict[str, Any]]) -> None:
        """One batch, times in µs, until it is answered. Raises GaveUp."""
        body = msgspec.json.encode(rows)
        deadline = trio.current_time() + self.give_up_s
        delay_s = FIRST_DELAY_S
        while True:
            try:
                response = await self.client.post(
                    f"{self.connection.base_url}/v1/readings?precision=us",
                    content=body,
                    headers=self.connection.headers,
                )
            except httpx.TransportError as error:
                problem = no_answer(self.connection, error)
            else:
                if response.status_code in (200, 202, 422) and b'"accepted"' in response.content:
                    self.tally.add(len(rows), response.json())
                    return
                problem = problem_of(response)
                if response.status_code not in (429, 500, 502, 503, 504):
                    raise GaveUp(problem)
                asked = response.headers.get("retry-after", "")
                delay_s = max(delay_s, float(asked) if asked.isdecimal() else 0.0)
            if trio.current_time() + delay_s > deadline:
                raise GaveUp(f"{problem}; gave up after {self.give_up_s:.0f} s")
            self.tally.retries += 1
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_DELAY_S)


async def count_alerts(connection: Connection, client: httpx.AsyncClient) -> int:
    """How many alerts the tenant has, open and cleared. Raises GaveUp."""
    total, cursor = 0, ""
    while True:
        try:
            response = await client.get(
                f"{connection.base_url}/v1/alerts?limit=1000{cursor}", headers=connection.headers
            )
        except httpx.TransportError as error:
            raise GaveUp(no_answer(connection, error)) from error
        page = parse_page(response)
        total += len(page["data"])
        if page["next_cursor"] is None:
            return total
        cursor = f"&cursor={page['next_cursor']}"
