"""Sends batches as a good gateway does: the same batch again until it is answered, and rows again
that the server could not take yet.

Sending again is safe: what is stored already counts as duplicate.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import httpx
import msgspec
import trio

from atalaia.cli.connection import Connection, GaveUp, no_answer, parse_page, problem_of

FIRST_DELAY_S = 0.2
LAST_DELAY_S = 5.0
NOT_YET = "retry_later"


@attrs.define(eq=False)
class Tally:
    """What became of everything that was sent. details: an example of each code of rejection.

    waiting: rows that the server cannot take yet; they are not among those sent.
    """

    sent: int = 0
    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    retries: int = 0
    waiting: int = 0
    codes: Counter[str] = attrs.field(factory=Counter)
    details: dict[str, str] = attrs.field(factory=dict)

    @property
    def rejected(self) -> int:
        return self.sent - self.accepted - self.duplicates

    @property
    def nothing_stored(self) -> bool:
        """Readings were sent, and the server has none of them."""
        return self.sent > 0 and self.rejected == self.sent

    def add(self, answered: "Answered") -> None:
        answer = answered.answer
        self.sent += answered.settled
        self.accepted += answer["accepted"]
        self.duplicates += answer["duplicates"] - answered.known
        self.late += answer["late"]
        for reject in answer["rejected"]:
            if reject["code"] != NOT_YET:
                self.codes[reject["code"]] += 1
                self.details.setdefault(reject["code"], reject["detail"])

    def reasons(self) -> Iterator[str]:
        """Why rows were rejected, the most frequent first."""
        for code, count in self.codes.most_common():
            yield f"rejected {count:,} as {code}: {self.details[code]}"
        unlisted = self.rejected - self.codes.total()
        if unlisted:  # the server lists as many as an answer may hold
            yield f"rejected {unlisted:,} more that the answers do not list"


@attrs.frozen
class Answered:
    """An answer to some rows, of which `known` were stored by an earlier answer.

    again: the rows to send once more, of which `known_again` are stored by now.
    """

    answer: dict[str, Any]
    rows: int
    known: int
    again: Sequence[dict[str, Any]]
    known_again: int

    @property
    def settled(self) -> int:
        """How many rows need not be sent any more."""
        return self.rows - self.known - (len(self.again) - self.known_again)


def read_answer(rows: Sequence[dict[str, Any]], known: int, answer: dict[str, Any]) -> Answered:
    """Which rows are to be sent again: those that the server could not take yet.

    An answer lists its first 1,000 rejected rows; when it does not list them all, what comes after
    them is sent again as a whole.
    """
    listed = [reject["index"] for reject in answer["rejected"]]
    places = [reject["index"] for reject in answer["rejected"] if reject["code"] == NOT_YET]
    again, stored = [rows[place] for place in places], 0
    unlisted = answer["rejected_count"] - len(listed)
    if places and unlisted:
        rest = rows[listed[-1] + 1 :]
        again, stored = [*again, *rest], len(rest) - unlisted
    return Answered(answer, len(rows), known, again, stored)


@attrs.define(eq=False)
class Sender:
    """One connection to the server. Its owner closes the client.

    on_wait: called before rows wait that the server cannot take yet.
    """

    connection: Connection
    client: httpx.AsyncClient
    tally: Tally
    give_up_s: float
    on_wait: Callable[[], None] = lambda: None

    async def send(self, rows: Sequence[dict[str, Any]]) -> None:
        """One batch, times in µs, until every row is answered for good. Raises GaveUp."""
        known, delay_s = 0, FIRST_DELAY_S
        while rows:
            answered = read_answer(rows, known, await self._post(rows))
            self.tally.add(answered)
            rows, known = answered.again, answered.known_again
            self.tally.waiting += len(rows) - known
            if rows:
                delay_s = FIRST_DELAY_S if answered.settled else min(2 * delay_s, LAST_DELAY_S)
                self.tally.retries += 1
                self.on_wait()
                await trio.sleep(delay_s)
                self.tally.waiting -= len(rows) - known

    async def _post(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer to a batch, which is sent until there is one. Raises GaveUp.

        A server that says when to come again is believed: it may take twice that long.
        """
        body = msgspec.json.encode(rows)
        began, patience_s = trio.current_time(), self.give_up_s
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
                    return dict(response.json())
                problem = problem_of(response)
                if response.status_code not in (429, 500, 502, 503, 504):
                    raise GaveUp(problem)
                asked = response.headers.get("retry-after", "")
                asked_s = float(asked) if asked.isdecimal() else 0.0
                delay_s, patience_s = max(delay_s, asked_s), max(patience_s, 2 * asked_s)
            if trio.current_time() + delay_s > began + patience_s:
                raise GaveUp(f"{problem}; gave up after {patience_s:.0f} s")
            self.tally.retries += 1
            self.on_wait()
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
