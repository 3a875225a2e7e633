"""Requests that are sent again with their key: carried out once, answered the same, for a day."""

import json
import re
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
import trio

from atalaia.http import once, upkeep
from atalaia.http.incoming import Receive, Scope, Send
from atalaia.http.once import LAPSES_S, ROUTES, Once
from atalaia.http.upkeep import forget
from atalaia.model.errors import Unavailable
from atalaia.model.repeats import Claim
from atalaia.security.sealing import Seal
from atalaia.storage import repeats
from tests.people import add_key, add_user, bearer, client, tokens
from tests.stack import Stack, make_tenant

pytestmark = pytest.mark.postgres

RULE = {"text": "rule hot on sensors when t > 10"}
KEYED = {"idempotency-key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}


async def post(
    stack: Stack, path: str, body: object, key: str | None = None, **headers: str
) -> httpx.Response:
    sent = headers | (KEYED if key is None else {"idempotency-key": key})
    return await stack.client.post(path, json=body, headers=sent)


def coded(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_the_same_request_again_is_the_same_answer(stack: Stack) -> None:
    """Status, body and headers; a rule, a sensor, a user, a key, another key, a link, made once."""
    user = await add_user(stack, "who@example.org")
    keys = await stack.client.get("/v1/api-keys")
    for path, body in (
        ("/v1/rules", RULE),
        ("/v1/sensors", {"name": "s1"}),
        ("/v1/users", {"email": "new@example.org"}),
        ("/v1/api-keys", {"name": "gateway"}),
        (f"/v1/users/{user}/link", {}),
        (f"/v1/api-keys/{keys.json()['data'][0]['id']}/rotate", {"overlap": "1h"}),
    ):
        first, again = [await post(stack, path, body) for _ in range(2)]
        assert first.status_code in (200, 201), first.text
        assert (again.status_code, again.content) == (first.status_code, first.content)
        for name in ("content-type", "location"):
            assert again.headers.get(name) == first.headers.get(name)
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        made = await post(stack, path, body, key="another")
        assert made.content != first.content, "without the key it is another request"
        await stack.sql("DELETE FROM idempotency_keys")
    assert len((await stack.client.get("/v1/rules")).json()["data"]) == 1


async def test_a_tenant_is_made_once(stack: Stack) -> None:
    """By those who look after all of them."""
    await add_user(stack, "boss@example.org", platform=True)
    boss = bearer(await tokens(stack, "boss@example.org"))
    body = {"name": "Padaria", "admin_email": "ze@example.org"}
    async with client(stack, boss) as asking:
        first, again = [
            await asking.post("/v1/admin/tenants", json=body, headers=KEYED) for _ in range(2)
        ]
    assert (first.status_code, again.content) == (201, first.content)
    assert len(await stack.sql("SELECT FROM tenants WHERE name = 'Padaria'")) == 1


async def test_every_route_that_makes_something_takes_a_key(stack: Stack) -> None:
    """Those that the service has: whoever adds one decides."""
    posts = {
        rule.rule
        for rule in cast("Any", stack.front.app).url_map.iter_rules()
        if "POST" in rule.methods
    }
    others = {
        "/api/v1/<token>/telemetry", "/api/v2/write", "/v1/readings", "/write",  # stored once
        "/v1/auth/login", "/v1/auth/logout", "/v1/auth/password", "/v1/auth/password/forgot",
        "/v1/auth/password/reset", "/v1/auth/refresh",  # of sessions
        "/v1/admin/tenants/<tenant>/erase",  # goes on where it was
        "/v1/admin/tenants/<tenant>/resume", "/v1/admin/tenants/<tenant>/suspend",
        "/v1/rules/<rule>/disable", "/v1/rules/<rule>/enable",  # switches
        "/v1/query", "/v1/rules/backtest", "/v1/rules/check",  # questions
        "/v1/tickets",  # used once, and gone in half a minute
        "/v1/rules:import", "/v1/sensors:import",  # the same file again does what is left
    }  # fmt: skip
    assert posts - others == set(ROUTES)


async def test_another_request_under_the_same_key_is_refused(stack: Stack) -> None:
    """422: another body, another path, another parameter; and nothing is made."""
    await post(stack, "/v1/rules", RULE)
    for path, body in (
        ("/v1/rules", {"text": "rule cold on sensors when t < 0"}),
        ("/v1/sensors", RULE),
        ("/v1/rules?x=1", RULE),
    ):
        assert coded(await post(stack, path, body)) == (422, "idempotency_key_reused")
    assert len((await stack.client.get("/v1/rules")).json()["data"]) == 1


async def test_quotes_are_not_part_of_a_key(stack: Stack) -> None:
    """The draft's structured text and what most clients send are one and the same."""
    await post(stack, "/v1/rules", RULE, key='"abc"')
    again = await post(stack, "/v1/rules", RULE, key="abc")
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("key", ["", '""', "a b", '"a', 'a"b', "é", '"a\\"b"', "x" * 256, "a,\tb"])
async def test_keys_that_are_none_are_refused(stack: Stack, key: str) -> None:
    """400, and nothing is made."""
    sent = [("idempotency-key", key.encode())]
    response = await stack.client.post("/v1/rules", json=RULE, headers=sent)  # type: ignore[arg-type]
    assert coded(response) == (400, "bad_idempotency_key")
    twice = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert coded(await stack.client.post("/v1/rules", json=RULE, headers=twice)) == (
        400, "bad_idempotency_key",
    )  # fmt: skip
    assert (await stack.client.get("/v1/rules")).json()["data"] == []


async def test_what_is_refused_leaves_the_key_free(stack: Stack) -> None:
    """Nothing was done: whoever corrects the request may send it under the same key."""
    assert coded(await post(stack, "/v1/rules", {"text": "rule"})) == (422, "invalid_rule")
    assert (await post(stack, "/v1/rules", RULE)).status_code == 201


async def test_of_two_at_once_one_is_carried_out(stack: Stack) -> None:
    """The other is told that it is under way, or gets the first one's answer."""
    answers: list[httpx.Response] = []

    async def send() -> None:
        answers.append(await post(stack, "/v1/api-keys", {"name": "gateway"}))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(send)
    made = [answer for answer in answers if answer.status_code == 201]
    waiting = [answer for answer in answers if answer.status_code != 201]
    assert len({answer.content for answer in made}) == 1
    for answer in waiting:
        assert coded(answer) == (409, "idempotency_in_progress")
        assert 0 < int(answer.headers["retry-after"]) <= LAPSES_S
    assert len(await stack.sql("SELECT FROM api_keys WHERE name = 'gateway'")) == 1


async def test_a_client_that_leaves_gets_its_answer_later(stack: Stack) -> None:
    """What was begun is done and remembered: the point of sending again."""
    host, port = stack.url.removeprefix("http://").split(":")
    body = json.dumps({"name": "gateway"}, separators=(",", ":"))
    head = (
        f"POST /v1/api-keys HTTP/1.1\r\nhost: x\r\nx-api-key: {stack.api_key}\r\n"
        f"idempotency-key: k\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all((head + body).encode())
        with trio.fail_after(10):
            while not await stack.sql("SELECT FROM idempotency_keys"):
                await trio.sleep(0.001)
    with trio.fail_after(10):
        while (again := await post(stack, "/v1/api-keys", {"name": "gateway"}, key="k")).is_error:
            await trio.sleep(0.02)
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await stack.sql("SELECT FROM api_keys WHERE name = 'gateway'")) == 1


async def test_a_crash_midway_leaves_no_key_stuck(stack: Stack) -> None:
    """For a minute it is held, since somebody might be at it; then the same request, and no other,
    may try again.
    """
    tenant_no = await stack.tenant_no()

    async def dies(scope: Scope, receive: Receive, send: Send) -> None:
        raise Unavailable

    dying = Once(dies, stack.sessions.people, Seal([b"x"]))
    await _asked(dying, stack)
    assert coded(await post(stack, "/v1/rules", RULE)) == (409, "idempotency_in_progress")
    await stack.sql(
        "UPDATE idempotency_keys SET claimed_at = claimed_at - $1 * interval '1 second'", LAPSES_S
    )
    other = {"text": "rule cold on sensors when t < 0"}
    assert coded(await post(stack, "/v1/rules", other)) == (422, "idempotency_key_reused")
    assert (await post(stack, "/v1/rules", RULE)).status_code == 201
    assert (await post(stack, "/v1/rules", RULE)).headers["idempotency-replayed"] == "true"
    assert await stack.sql("SELECT FROM idempotency_keys WHERE tenant_id = $1", tenant_no)


async def _asked(app: Once, stack: Stack) -> list[dict[str, Any]]:
    """The request of `post(stack, "/v1/rules", RULE)`, to an app that is not served."""
    principal = await stack.front.authenticator.principal(
        {"headers": [(b"x-api-key", stack.api_key.encode())], "path": "/v1/rules"}
    )
    scope = {
        "method": "POST", "path": "/v1/rules", "query_string": b"",
        "headers": [(b"idempotency-key", KEYED["idempotency-key"].encode())],
        "state": {"principal": principal, "request_id": "r"},
    }  # fmt: skip
    request = httpx.Request("POST", stack.url, json=RULE)
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": request.content, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        said.append(event)

    await app(scope, receive, send)
    return said


async def test_no_request_runs_longer_than_its_key_is_held(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no two of the same ever run at once; and nobody knows what came of the one cut off."""
    assert once.RUNS_S + once.KEEPING_S < LAPSES_S
    monkeypatch.setattr(once, "RUNS_S", 0.05)

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    said = await _asked(Once(hangs, stack.sessions.people, Seal([b"x"])), stack)
    assert said[0]["status"] == 503
    assert coded(await post(stack, "/v1/rules", RULE)) == (409, "idempotency_in_progress")


async def test_whoever_took_over_is_not_overwritten(stack: Stack) -> None:
    """The answer of a try whose claim lapsed meanwhile is not kept."""
    await post(stack, "/v1/rules", RULE)
    people, tenant_no = stack.sessions.people, await stack.tenant_no()
    (row,) = await stack.sql("SELECT key_hash, fingerprint, answer FROM idempotency_keys")
    late = Claim(row["key_hash"], row["fingerprint"], uuid4())
    assert not await people.keep_answer(tenant_no, late, b"another")
    await people.release(tenant_no, late)
    assert (await stack.sql("SELECT answer FROM idempotency_keys"))[0]["answer"] == row["answer"]


async def test_nobody_reads_the_answer_in_the_database(stack: Stack) -> None:
    """Neither a key's text nor anything else of it is there."""
    made = await post(stack, "/v1/api-keys", {"name": "gateway"})
    (row,) = await stack.sql("SELECT answer, key_hash FROM idempotency_keys")
    secret = made.json()["key"].rsplit("_", 1)[1]
    assert secret.encode() not in row["answer"]
    assert b"gateway" not in row["answer"]
    assert Seal([b"another secret"]).open(row["answer"]) is None
    assert Seal([b"new", *stack.sessions.keys.secrets]).open(row["answer"]) is not None


async def test_an_answer_that_no_secret_opens_is_said_to_be_lost(stack: Stack) -> None:
    """409: it was done; doing it again is for its sender to decide."""
    await post(stack, "/v1/api-keys", {"name": "gateway"})
    await stack.sql("UPDATE idempotency_keys SET answer = 'x'")
    lost = await post(stack, "/v1/api-keys", {"name": "gateway"})
    assert coded(lost) == (409, "idempotency_answer_lost")
    assert len(await stack.sql("SELECT FROM api_keys WHERE name = 'gateway'")) == 1


async def test_a_key_is_its_senders_alone(stack: Stack) -> None:
    """Neither another tenant nor another credential of the same one sees an answer by it; nor does
    whoever may no longer do that.
    """
    made = await post(stack, "/v1/api-keys", {"name": "gateway"})
    body = {"name": "gateway"}
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    for credential in (other, await add_key(stack, "admin")):
        answer = await post(stack, "/v1/api-keys", body, **{"x-api-key": credential})
        assert answer.status_code == 201
        assert answer.json()["id"] != made.json()["id"]
    reader = await add_key(stack, "read")
    refused = await post(stack, "/v1/api-keys", body, **{"x-api-key": reader})
    assert coded(refused) == (403, "forbidden")
    await stack.sql("UPDATE api_keys SET scopes = '{read}'")
    stack.front.authenticator._known.clear()
    assert coded(await post(stack, "/v1/api-keys", body)) == (403, "forbidden")


async def test_answers_are_kept_for_a_day(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the key is a new one, and what is a day old goes."""
    await post(stack, "/v1/rules", RULE)
    old = "UPDATE idempotency_keys SET claimed_at = now() - interval '23 hours 59 minutes'"
    await stack.sql(old)
    await forget(stack.sessions)
    assert (await post(stack, "/v1/rules", RULE)).headers["idempotency-replayed"] == "true"
    await stack.sql(old.replace("23 hours 59", "24 hours 1"))
    assert coded(await post(stack, "/v1/rules", RULE)) == (409, "name_taken")
    assert await stack.sql("SELECT FROM idempotency_keys") == []
    await post(stack, "/v1/sensors", {"name": "s"})
    await stack.sql(old.replace("23 hours 59", "24 hours 1"))
    monkeypatch.setattr(upkeep, "EVERY_S", 0.01)
    monkeypatch.setattr(upkeep, "SWEEP_S", 0.02)
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(upkeep.run_upkeep, stack.front.authenticator, shutdown)
        with trio.fail_after(10):
            while await stack.sql("SELECT FROM idempotency_keys"):
                await trio.sleep(0.02)
        shutdown.set()


async def test_a_tenant_keeps_so_many_and_no_more(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 for one too many; those that are there are still answered."""
    assert repeats.MOST_KEPT <= 10_000
    monkeypatch.setattr(repeats, "MOST_KEPT", 2)
    for name in ("a", "b"):
        assert (await post(stack, "/v1/sensors", {"name": name}, key=name)).status_code == 201
    full = await post(stack, "/v1/sensors", {"name": "c"}, key="c")
    assert coded(full) == (429, "too_many_idempotency_keys")
    assert int(full.headers["retry-after"]) > 0
    again = await post(stack, "/v1/sensors", {"name": "a"}, key="a")
    assert again.headers["idempotency-replayed"] == "true"
    other = await make_tenant(stack.bridge, stack.database_url, "other")
    assert (
        await post(stack, "/v1/sensors", {"name": "c"}, key="c", **{"x-api-key": other})
    ).status_code == 201


def test_no_pattern_of_a_route_reaches_further() -> None:
    """What is matched is what the router would match."""
    for pattern, route in once._PATTERNS:
        path = re.sub("<[a-z]+>", "x", route)
        assert pattern.fullmatch(path)
        assert not pattern.fullmatch(path + "/y")
