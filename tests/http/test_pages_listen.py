"""Pages in a real browser: one of a listed origin hears and sends with tickets, another does not.

What the page does is what the how-to tells it to.
"""

import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
from playwright.sync_api import Page

from atalaia.engine import broadcast
from tests.browser import Told, look
from tests.http.test_tickets import ticket
from tests.stack import START_MS, Stack, open_stack, row

pytestmark = pytest.mark.postgres

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "charts-and-exports.md"
HEARD = "heard.some(([kind, data]) => kind === 'readings' && data.some(r => r.value === {}))"
LISTEN = """([script, url, key]) => {
  globalThis.heard = [];
  globalThis.opened = 0;
  const setup = `const url = ${JSON.stringify(url)};
    const headers = {"X-API-Key": ${JSON.stringify(key)}};
    const show = (kind, data) => heard.push([kind, data]);
    class EventSource extends globalThis.EventSource {
      constructor(address) { super(address); this.onopen = () => opened++; }
    }`;
  new Function(setup + script + "listen();")();
}"""
FOREIGN = """async ({url, tickets}) => {
  const asked = fetch(`${url}/v1/tickets`, {method: "POST"});
  const fetched = await asked.then(answer => answer.status, () => "no");
  const source = new EventSource(`${url}/v1/stream?ticket=${tickets[0]}`);
  const heard = await new Promise(done => {
    source.onopen = () => done("opened");
    source.onerror = () => done(source.readyState);
  });
  const socket = new WebSocket(url.replace("http", "ws") + "/v1/ingest?ticket=" + tickets[1]);
  const closed = await new Promise(done => {
    socket.onopen = () => done("opened");
    socket.onclose = event => done(event.code);
  });
  return [fetched, heard, closed];
}"""
SEND = """async ({url, shown, body}) => {
  const socket = new WebSocket(url.replace("http", "ws") + "/v1/ingest?ticket=" + shown);
  return await new Promise((done, failed) => {
    socket.onerror = () => failed(new Error("refused"));
    socket.onmessage = event => {
      const said = JSON.parse(event.data);
      if (said.credit) socket.send("a\\n" + body);
      else done(said.status);
    };
  });
}"""


class Blank(BaseHTTPRequestHandler):
    """A page with nothing in it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,>")

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    """Another origin: a server of pages on a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Blank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def ours() -> Iterator[str]:
    with site() as origin:
        yield origin


@pytest.fixture
def others() -> Iterator[str]:
    with site() as origin:
        yield origin


@pytest.fixture
async def stack(database_url: str, ours: str) -> AsyncIterator[Stack]:
    async with open_stack(database_url, origins=[ours]) as running:
        yield running


def told_to_pages() -> str:
    """The script of the how-to."""
    found = re.search(r"```js\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def test_a_page_of_ours_hears_and_sends_and_comes_back(
    stack: Stack, ours: str, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after its stream broke off: with another ticket, and what it missed meanwhile."""
    monkeypatch.setattr(broadcast, "MOST_ROWS", 100)
    shown = await ticket(stack)

    def send(rows: object) -> None:
        trio.from_thread.run(stack.send, rows)

    def visit(page: Page) -> int:
        page.goto(ours)
        page.evaluate(LISTEN, [told_to_pages(), stack.url, stack.api_key])
        page.wait_for_function("opened === 1")
        body = f'[{{"sensor":"s","metric":"t","ts":{START_MS},"value":1}}]'
        status = page.evaluate(SEND, {"url": stack.url, "shown": shown, "body": body})
        until(page, 1)
        send([row(START_MS + 1000, 2)])
        until(page, 2)
        send([row(START_MS + 2000 + n, 3) for n in range(101)])  # more than it may fall behind
        until(page, 3)
        send([row(START_MS + 9000, 4)])
        until(page, 4)
        return int(status)

    def until(page: Page, value: int) -> None:
        page.wait_for_function(HEARD.format(value))

    status, told = await look(chromium, visit)
    assert status == 200
    asked = [url for url in told.asked if "/v1/stream" in url]
    assert len(asked) == 2, "it came back"
    assert len({url.partition("&")[0] for url in asked}) == len(asked), "each with its own ticket"
    assert "&last_event_id=" in asked[1]


async def test_a_page_of_others_hears_and_sends_nothing(
    stack: Stack, others: str, chromium: str
) -> None:
    """Not even with tickets that hold; and they hold afterwards as before."""
    tickets = [await ticket(stack) for _ in range(2)]

    def visit(page: Page) -> list[Any]:
        page.goto(others)
        return list(page.evaluate(FOREIGN, {"url": stack.url, "tickets": tickets}))

    found: tuple[list[Any], Told] = await look(chromium, visit)
    closed_for_good, abnormal = 2, 1006
    assert found[0] == ["no", closed_for_good, abnormal]
    assert len(await stack.sql("SELECT FROM tickets")) == 2
