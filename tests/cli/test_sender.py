"""Sending rows again that the server cannot take yet, against the real service."""

import httpx
import pytest

from atalaia.cli.connection import Connection
from atalaia.cli.sender import Sender, Tally
from tests.cli.runner import Runner

pytestmark = pytest.mark.postgres

MONTH_US = 31 * 86_400_000_000
LONG_AGO_US = 1_000_000_000_000_000  # 2001


def rows(months: int, each: int) -> list[dict[str, object]]:
    return [
        {"sensor": "s", "metric": f"m{n}", "ts": LONG_AGO_US + month * MONTH_US, "value": 1.5}
        for month in range(months)
        for n in range(each)
    ]


@pytest.mark.parametrize("each", [1, 120])
async def test_rows_of_many_months_are_all_stored_in_the_end(cli: Runner, each: int) -> None:
    """Each counted once, with bad and repeated ones between them; also beyond the 1,000 rejected
    rows that an answer lists.
    """
    good = rows(30, each)
    bad = [good[n * len(good) // 7] | {"value": "x"} for n in range(7)]
    sent = [*good[: len(good) // 2], *bad, *good[len(good) // 2 :], *good[:5], *bad]
    tally, waited = Tally(), list[int]()
    connection = Connection(cli.stack.url, cli.stack.api_key)
    async with httpx.AsyncClient() as client:
        sender = Sender(connection, client, tally, 30, lambda: waited.append(tally.waiting))
        await sender.send(sent)
    assert (tally.accepted, tally.duplicates, tally.rejected) == (len(good), 5, 14)
    assert (tally.sent, tally.waiting, tally.codes) == (len(sent), 0, {"bad_value": 14})
    assert waited == sorted(waited, reverse=True)
    assert len(waited) == tally.retries >= 3
    stored = await cli.stack.sql("SELECT count(*) AS n FROM readings")
    assert stored[0]["n"] == len(good)
