"""Every bad request there is has its answer: what is wrong and what to do; and leaves nothing."""

import re
from collections.abc import Sequence

import pytest

from atalaia.http.access import ROUTES
from tests.http.corpus import CASES, GROUPS
from tests.http.corpus.case import Case
from tests.http.corpus.sockets import MESSAGES
from tests.http.corpus.tenants import SUSPENDED
from tests.http.raw_client import RawClient, Reply
from tests.http.socket_client import connect
from tests.people import add_user, bearer, client, tokens
from tests.stack import START_MS, Stack, row

pytestmark = pytest.mark.postgres

LEAKS = re.compile(
    rb"traceback|\.py\b|line \d+, in |\bselect\b|insert into|\brelation\b|asyncpg|sqlstate"
    rb"|unknown error|postgres|\bpg_|object at 0x|/work|/home|/tmp|/var|/usr"
    rb"|site-packages|valueerror|keyerror|typeerror|msgspec|cattrs",
    re.IGNORECASE,
)
"""What no answer holds, but where it repeats what was sent."""

INFLUX_PATHS = ("POST /write", "POST /api/v2/write")


async def belongings(stack: Stack) -> dict[str, str]:
    """Something of everything that has an id, and the credentials of the callers."""
    await stack.send([row(START_MS, 1, sensor="there")])
    rule = await stack.rule("rule watched on sensors when t > 100")
    key = await stack.client.post("/v1/api-keys", json={"name": "k"})
    user = await add_user(stack, "user@example.org")
    await add_user(stack, "platform@example.org", platform=True)
    person = await tokens(stack, "platform@example.org")
    await stack.client.put("/v1/profiles/there", json={})
    async with client(stack, bearer(person)) as platform:
        tenants = [
            (await platform.post(
                "/v1/admin/tenants", json={"name": name, "admin_email": f"{name}@example.org"}
            )).json()["id"]
            for name in ("Oficina", SUSPENDED)
        ]  # fmt: skip
        await platform.post(f"/v1/admin/tenants/{tenants[1]}/suspend")
    return {
        "rule": rule["id"], "sensor": "there", "key_id": key.json()["id"], "user": str(user),
        "key": stack.api_key, "person": person["access_token"],
        "tenant": tenants[0], "suspended": tenants[1],
    }  # fmt: skip


async def stored(stack: Stack) -> list[str]:
    """All rows of all tables, but for what every request changes."""
    tables = await stack.sql(
        "SELECT relname AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    found = []
    for table in sorted(each["name"] for each in tables):
        rows = await stack.sql(f"SELECT to_jsonb(t) - 'last_used_at' AS row FROM {table} t")
        found += sorted(f"{table} {each['row']}" for each in rows)
    return found


def faults(case: Case, sent: bytes, reply: Reply) -> list[str]:
    """What is wrong with an answer."""
    if reply.status not in case.statuses:
        return [f"{case.name}: {reply.status} {reply.body[:300]!r}, not {set(case.statuses)}"]
    if not case.codes:
        return []
    try:
        said = reply.document
    except ValueError:
        return [f"{case.name}: no JSON: {reply.body[:300]!r}"]
    found = []
    influx = case.line.partition("?")[0] in INFLUX_PATHS
    if said.get("code") not in case.codes:
        found.append(f"code {said.get('code')}, not {set(case.codes)}: {said}")
    if not influx:
        if reply.headers["content-type"] != "application/problem+json":
            found.append(f"type {reply.headers['content-type']}")
        if said.get("status") != reply.status:
            found.append(f"status {said.get('status')}")
        if said.get("request_id") != reply.headers["x-request-id"]:
            found.append("another request_id than the header's")
    advice = said.get("message" if influx else "detail", "")
    if len(advice.split()) < 4:
        found.append(f"says nothing: {advice!r}")
    repeated = sent.lower()
    leaks = {leak.lower() for leak in LEAKS.findall(reply.body)}
    found += [f"leaks {leak!r}: {reply.body[:300]!r}" for leak in leaks if leak not in repeated]
    return [f"{case.name}: {fault}" for fault in found]


async def send_all(stack: Stack, cases: Sequence[Case], known: dict[str, str]) -> list[str]:
    client, found = RawClient(stack), []
    for case in cases:
        sent = case.request(client.host, known)
        if case.leaves:
            await client.leave(sent)
        else:
            found += faults(case, sent, await client.send(sent))
    await client.close()
    return found


@pytest.mark.parametrize("group", GROUPS)
async def test_each_bad_request_has_its_answer_and_leaves_nothing(stack: Stack, group: str) -> None:
    """Never a 5xx; a problem document (or Influx's shape) that names what to do and nothing of
    ours; afterwards all tables are as before, and a good reading is taken.
    """
    known = await belongings(stack)
    before = await stored(stack)
    found = await send_all(stack, GROUPS[group], known)
    assert found == [], "\n".join(["", *found])
    assert await stored(stack) == before
    assert (await stack.send([row(START_MS + 1, 1, sensor="there")])).json()["accepted"] == 1


async def test_each_bad_message_of_a_socket_has_its_answer(stack: Stack) -> None:
    """The same codes as over HTTP; what has no id ends the conversation; nothing is stored."""
    await belongings(stack)
    before, found = await stored(stack), []
    for message in MESSAGES:
        async with connect(stack) as socket:
            await socket.answer()  # the credit
            await socket.send(message.sent)
            if not message.status:
                code = str(await socket.closing_code())
                found += [] if code == message.code else [f"{message.name}: closed with {code}"]
                continue
            said = await socket.answer()
            if (said["status"], said["code"], said["id"]) != (message.status, message.code, "id"):
                found.append(f"{message.name}: {said}")
    assert found == []
    assert await stored(stack) == before


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    """And every route of the table is in it."""
    assert len(CASES) >= 1_500
    assert len({case.name for case in CASES}) == len(CASES)
    asked = {case.name.partition(": ")[0] for case in CASES}
    assert {route for route, access in ROUTES.items() if access.role is not None} <= asked
    ours = [case for case in CASES if max(case.statuses, default=0) >= 500]
    assert {status for case in ours for status in case.statuses} <= {400, 501, 505}, "HTTP's own"
    assert not any(case.codes for case in ours), "what the application answers is never a 5xx"
