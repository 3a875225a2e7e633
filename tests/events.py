"""What a client of the stream hears, event by event, over a bare socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from tests.answer import Answer, ask
from tests.stack import Stack

Event = tuple[str, str | None, Any]


class Events:
    """What a client hears, event by event; comments as well."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.last_id: str | None = None

    async def next(self) -> Event:
        """(event, id, data)."""
        kind, event_id, data = "", None, ""
        with trio.fail_after(10):
            while (line := await self._answer.line()) is not None:
                if not line:
                    return kind, event_id, json.loads(data) if data else None
                name, _, text = line.partition(": ")
                if name == "event":
                    kind = text
                elif name == "id":
                    event_id = self.last_id = text
                elif name == "data":
                    data += text
                else:
                    kind = kind or name
        return "end", None, None

    async def of_kind(self, kind: str) -> Any:
        while True:
            found, _, data = await self.next()
            if found == kind:
                return data
            assert found != "end", f"no {kind}"


@asynccontextmanager
async def follow(stack: Stack, query: str = "", **headers: str) -> AsyncIterator[Events]:
    headers = headers if "authorization" in headers else {"X-API-Key": stack.api_key} | headers
    async with ask(stack.url, f"/v1/stream{query}", **headers) as answer:
        assert answer.status == 200, await answer.lines()
        assert answer.headers["content-type"] == "text/event-stream"
        events = Events(answer)
        kind, event_id, _ = await events.next()
        assert kind == "retry"
        assert event_id
        yield events
