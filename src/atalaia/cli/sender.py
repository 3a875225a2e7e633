"""Sends batches as a good gateway does: the same batch again until it is answered.

Sending again is safe: what is stored already counts as duplicate.
"""

from collections import Counter
from typing import Any

import attrs
import httpx
import msgspec
import trio

from atalaia.cli.connection import Connection

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 5.0


class GaveUp(Exception):
    """The server stayed away, or refused in a way that sending again cannot mend."""


@attrs.define(eq=False)
class Tally:
    """What became of everything that was sent."""

    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    retries: int = 0
    rejected: Counter[str] = attrs.field(factory=Counter)

    def add(self, rows: int, answer: dict[str, Any]) -> None:
        self.sent += rows
        self.accepted += answer["accepted"]
        self.duplicates += answer["duplicates"]
        self.late += answer["late"]
        self.rejected.update(reject["code"] for reject in answer["rejected"])


@attrs.define(eq=False)
class Sender:
    """One connection to the server. Its owner closes the client."""

    connection: Connection
    client: httpx.AsyncClient
    tally: Tally
    give_up_s: float

    async def send(self, rows: list[dict[str, Any]], precision: str = "us") -> None:
        """One batch, until it is answered. Raises GaveUp."""
        body = msgspec.json.encode(rows)
        deadline = trio.current_time() + self.give_up_s
        delay_s = FIRST_DELAY_S
        while True:
            try:
                response = await self.client.post(
                    f"{self.connection.base_url}/v1/readings?precision={precision}",
                    content=body,
                    headers=self.connection.headers,
                )
            except httpx.TransportError as error:
                problem = f"{self.connection.base_url} does not answer ({error})"
            else:
                if response.status_code in (200, 422) and b'"accepted"' in response.content:
                    self.tally.add(len(rows), response.json())
                    return
                problem = f"the server answers {response.status_code}: {_detail(response)}"
                if response.status_code not in (429, 500, 502, 503, 504):
                    raise GaveUp(problem)
                delay_s = max(delay_s, float(response.headers.get("retry-after", 0)))
            if trio.current_time() + delay_s > deadline:
                raise GaveUp(f"{problem}; gave up after {self.give_up_s:.0f} s")
            self.tally.retries += 1
            await trio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_DELAY_S)


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]


async def count_alerts(connection: Connection, client: httpx.AsyncClient) -> int:
    """How many alerts the tenant has, open and cleared."""
    total, cursor = 0, ""
    while True:
        response = await client.get(
            f"{connection.base_url}/v1/alerts?limit=1000{cursor}", headers=connection.headers
        )
        if response.status_code != 200:
            raise GaveUp(f"the server answers {response.status_code}: {_detail(response)}")
        page = response.json()
        total += len(page["data"])
        if page["next_cursor"] is None:
            return total
        cursor = f"&cursor={page['next_cursor']}"
