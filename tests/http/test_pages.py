"""Large pages of readings hold up nobody: not the event loop, and not the database."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from atalaia.http import render
from atalaia.http.pages import LARGE, MOST_AT_ONCE, Pages
from atalaia.model.ids import Micros
from atalaia.model.views import Point
from tests.stack import START_MS, Stack, row

PAGE = "/v1/sensors/s/readings?metric=t&limit="


class Waiting(list[Point]):
    """Readings that can be looked at once the event loop has gone on."""

    def __init__(self, points: list[Point]) -> None:
        super().__init__(points)
        self.went_on = threading.Event()

    def __iter__(self) -> Iterator[Point]:
        assert self.went_on.wait(10), "the event loop is held"
        return super().__iter__()


async def test_a_large_page_is_written_beside_the_event_loop() -> None:
    """Others go on before it is done; and it says the same as a small one would."""
    points = [Point(Micros(n * 1_234_567), n / 3, Micros(n), n % 2 == 0) for n in range(LARGE + 1)]
    waiting = Waiting(points)
    async with trio.open_nursery() as nursery:

        async def go_on() -> None:
            await trio.testing.wait_all_tasks_blocked()
            waiting.went_on.set()

        nursery.start_soon(go_on)
        async with QuartTrio(__name__).app_context():
            answer = await Pages().answer(waiting, "next")
            expected = render.page([render.point(point) for point in points], "next")
    assert json.loads(await answer.get_data()) == expected


@asynccontextmanager
async def readings_held(stack: Stack) -> AsyncIterator[None]:
    """While inside nobody can read readings."""
    holder = await stack.bridge.call(asyncpg.connect, stack.database_url)
    await stack.bridge.call(holder.execute, "BEGIN; LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await stack.bridge.call(holder.execute, "ROLLBACK")
        await stack.bridge.call(holder.close)


@pytest.mark.postgres
async def test_few_large_pages_of_a_tenant_are_read_at_once(stack: Stack) -> None:
    """One too many is refused with a delay; small ones are none of them, and later ones pass."""
    assert (await stack.send([row(START_MS, 1)])).status_code == 200
    answers: list[httpx.Response] = []

    async def read(limit: int) -> None:
        answers.append(await stack.client.get(f"{PAGE}{limit}"))

    async with trio.open_nursery() as nursery, readings_held(stack):
        for _ in range(MOST_AT_ONCE + 1):
            nursery.start_soon(read, LARGE + 1)
        with trio.fail_after(10):
            while not answers:
                await trio.sleep(0.01)
        nursery.start_soon(read, LARGE)
        await trio.sleep(0.2)
        assert [answer.status_code for answer in answers] == [429]
    assert (answers[0].json()["code"], answers[0].headers["retry-after"]) == ("busy", "1")
    assert [answer.status_code for answer in answers[1:]] == [200] * (MOST_AT_ONCE + 1)
    assert (await stack.client.get(f"{PAGE}{LARGE + 1}")).status_code == 200


@pytest.mark.postgres
async def test_the_latest_readings_of_many_metrics_come_in_pages(stack: Stack) -> None:
    """By name, each metric once, so many at a time; one whose reading is gone leaves a gap."""
    names = sorted(f"m{n}" for n in range(105))
    sent = [row(START_MS + n, float(n), metric) for n, metric in enumerate(names)]
    assert (await stack.send(sent)).json()["accepted"] == 105
    latest = "/v1/sensors/s/latest"
    first = (await stack.client.get(latest)).json()
    assert list(first["metrics"]) == names[:100]
    second = (await stack.client.get(f"{latest}?cursor={first['next_cursor']}")).json()
    assert list(second["metrics"]) == names[100:]
    assert second["next_cursor"] is None
    assert "total" not in second
    gone = f"DELETE FROM readings WHERE ts = to_timestamp({START_MS + 41} / 1000.0)"
    await stack.sql(gone)
    response, seen = await stack.client.get(f"{latest}?limit=40&count=true"), []
    sizes = [len(response.json()["metrics"])]
    while True:
        body = response.json()
        seen += [(metric, point["value"]) for metric, point in body["metrics"].items()]
        assert (body["sensor"], body["total"]) == ("s", 105)
        if "next" not in response.links:
            break
        response = await stack.client.get(response.links["next"]["url"])
        sizes.append(len(response.json()["metrics"]))
    assert sizes == [40, 39, 25]
    assert seen == [(metric, float(n)) for n, metric in enumerate(names) if n != 41]
