"""A tenant where everything is that the examples of the API's document are about."""

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import attrs
import httpx
import msgspec
import trio
import yaml

from atalaia.http.errors import PROBLEM_JSON
from atalaia.http.openapi import ids
from atalaia.http.openapi.document import build, operations
from atalaia.http.openapi.operation import JSON, Answer, Example, Operation
from atalaia.http.openapi.parameters import SHOWN
from atalaia.http.openapi.subjects.rules import HOT, YAML
from tests.people import add_user, bearer, client, tokens
from tests.stack import Stack

BOSS, MARIA, PAT = "boss@example.org", "maria@example.org", "pat@example.org"
NEAR_S = 45 * 86_400
NOW = "2026-01-31T12:00:05.000000Z"
"""What stands in recorded answers for times at which they were recorded."""
SOMETHING = "019c13a8-5800-7000-8000-0000000000ff"
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_KEY = re.compile(r"\b[0-9a-f]{16}\b")
_PLACE = re.compile(r"\bid: \d+-\d+")
_SECRETS = {
    "request_id": "0123456789abcdef0123456789abcdef",
    "access_token": "eyJhbGciOi…",
    "refresh_token": ids.REFRESH_TOKEN,
    "token": ids.LINK_TOKEN,
    "ticket": ids.TICKET,
    "key": ids.API_KEY,
    "next_cursor": "b3BhcXVl",
    "hash": "0123456789abcdef" * 4,
}
_LAST = {"disableRule": 0.5}
STREAM, NOTHING = "text/event-stream", Answer("")


@attrs.define(eq=False)
class World:
    """known: what the document calls something, by what it is really called here."""

    stack: Stack
    boss: httpx.AsyncClient
    pat: httpx.AsyncClient
    nobody: httpx.AsyncClient
    known: dict[str, str]

    async def execute(self, route: str, told: Operation, example: Example) -> httpx.Response:
        """Send it as somebody who may; of an answer without an end its beginning."""
        method, _, rule = route.partition(" ")
        path = re.sub(
            r"<(?:path:)?(\w+)>",
            lambda name: quote(example.path.get(name[1]) or SHOWN[name[1]], safe=""),
            rule,
        )
        query = {
            name: ",".join(value) if isinstance(value, list) else value
            for name, value in example.query.items()
        }
        headers = dict(example.headers)
        content = None
        if example.body is not None:
            headers["content-type"] = example.content_type
            text = example.body
            if not isinstance(text, str):  # JSON is YAML too
                text = msgspec.json.encode(text).decode()
            content = (await self._really(text)).encode()
        asking = self._who(told, rule)
        request = asking.build_request(
            method, await self._really(path), params=query, headers=headers, content=content
        )
        if STREAM in told.answers.get(200, NOTHING).content_types:
            return await trio.to_thread.run_sync(_beginning, request)
        return await asking.send(request)

    def _who(self, told: Operation, rule: str) -> httpx.AsyncClient:
        if told.name == "changePassword":
            return self.pat
        return self.nobody if "<token>" in rule else self.boss

    async def _really(self, text: str) -> str:
        """With what there is in the place of what the document calls so."""
        if ids.REFRESH_TOKEN in text:
            fresh = await tokens(self.stack, MARIA)
            text = text.replace(ids.REFRESH_TOKEN, fresh["refresh_token"])
        for told, real in self.known.items():
            text = text.replace(quote(told, safe=""), real).replace(told, real)
        return text

    def told(self, response: httpx.Response) -> Any:
        """The answer as the document has it: the same whenever it is recorded."""
        text = response.text
        for told, real in self.known.items():
            text = text.replace(real, told)
        text = _UUID.sub(lambda m: m[0] if m[0] in self.known else SOMETHING, text)
        text = _TIME.sub(_time, text)
        text = _KEY.sub(ids.KEY_ID, text)
        text = _PLACE.sub("id: 1769860805000000-0", text)
        kind = response.headers.get("content-type", "")
        if kind == YAML:
            return yaml.safe_load(text)
        return _without_secrets(msgspec.json.decode(text)) if kind in (JSON, PROBLEM_JSON) else text


def _beginning(request: httpx.Request) -> httpx.Response:
    """The first bytes of an answer without an end."""
    with httpx.Client() as asking:
        response = asking.send(request, stream=True)
        response._content = next(response.iter_raw())
        response.close()
        return response


def _time(found: re.Match[str]) -> str:
    at = datetime.fromisoformat(found[0]).astimezone(UTC).timestamp()
    return NOW if abs(at - time.time()) < NEAR_S else found[0]


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _SECRETS[name]
            if name in _SECRETS and isinstance(one, str)
            else _without_secrets(one)
            for name, one in value.items()
        }
    return [_without_secrets(one) for one in value] if isinstance(value, list) else value


@asynccontextmanager
async def open_world(stack: Stack) -> AsyncIterator[World]:
    """Everything that examples look at, change, or take away."""
    await add_user(stack, BOSS, platform=True)
    await add_user(stack, MARIA)
    await add_user(stack, PAT)
    sam = await add_user(stack, "sam@example.org", "viewer")
    async with (
        client(stack, bearer(await tokens(stack, BOSS))) as boss,
        client(stack, bearer(await tokens(stack, PAT))) as pat,
        client(stack) as nobody,
    ):
        rule = await stack.rule(HOT)
        rows = [
            {"sensor": ids.SENSOR, "metric": ids.METRIC, "ts": f"2026-01-31T11:{minute}:00Z",
             "value": value}
            for minute, value in ((40, 64.0), (45, 71.5), (50, 73.0), (55, 74.5))
        ]  # fmt: skip
        assert (await stack.send(rows)).json()["accepted"] == len(rows)
        (alert,) = await stack.alerts()
        for path, body in (
            (f"/v1/profiles/{ids.PROFILE}", {"description": "Boilers"}),
            (f"/v1/metrics/{ids.METRIC}", {"unit": "°C"}),
            (f"/v1/sensors/{ids.SENSOR}/tags", {"tags": {"group": "north"}}),
        ):
            assert (await boss.put(path, json=body)).status_code == 200
        key = (await boss.post("/v1/api-keys", json={"name": "gateway 1"})).json()
        tenant = {"name": "Oficina", "admin_email": "ana@example.org"}
        made = (await boss.post("/v1/admin/tenants", json=tenant)).json()
        leaving = {"name": ids.LEAVING_NAME, "admin_email": "rui@example.org"}
        left = (await boss.post("/v1/admin/tenants", json=leaving)).json()["id"]
        assert (await boss.post(f"/v1/admin/tenants/{left}/suspend")).status_code == 200
        invited = (await boss.post("/v1/users", json={"email": "lu@example.org"})).json()
        known: Mapping[str, str] = {
            ids.API_KEY: stack.api_key,
            ids.RULE_ID: rule["id"],
            ids.ALERT_ID: alert["id"],
            ids.USER_ID: str(sam),
            ids.TENANT_ID: made["id"],
            ids.LEAVING_ID: left,
            ids.KEY_ID: key["id"],
            ids.LINK_TOKEN: invited["link"]["token"],
        }
        yield World(stack, boss, pat, nobody, dict(known))


def examples() -> list[tuple[str, Operation, Example]]:
    """All of the document; those that take something away come last."""
    told = [
        (route, operation, example)
        for route, (_, operation) in operations().items()
        for example in operation.examples
    ]
    return sorted(told, key=lambda one: _LAST.get(one[1].name, one[0].startswith("DELETE")))


def strict_document() -> dict[str, Any]:
    """The document with every object closed: what an answer holds and nobody tells is a fault."""
    document = build()
    _close(document["components"]["schemas"])
    return document


def _close(schema: Any) -> None:
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for one in schema.values():
            _close(one)
    elif isinstance(schema, list):
        for one in schema:
            _close(one)
