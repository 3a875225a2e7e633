"""Secrets that are known, sent to every route in every place: nothing says them again.

The routes are those of the table; one that is new is asked too.
"""

import io
import re
import sys
import traceback
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import attrs
import httpx
import pytest

from atalaia.http import login as login_module
from atalaia.http.access import ROUTES
from atalaia.ports import StoreRefused
from atalaia.security.passwords import hash_password
from atalaia.storage.database import translate
from tests.http.test_matrix import MORE_BODIES
from tests.http.test_walls import BODIES
from tests.people import add_user, bearer, client, post, tokens
from tests.stack import Stack, make_tenant
from tests.telemetry.test_logging import configured

pytestmark = pytest.mark.postgres

PASSWORD = "canary: the password of somebody"
LINK = "canary-of-a-link-0123456789-abcdefghijklmno"
DSN = "postgresql://owner:canary-dsn@db.example/atalaia"
BROKER = "amqp://user:canary-amqp@mq.example/"
EMAIL = "canary@example.org"


@attrs.frozen
class Secrets:
    """All of them, by what they are."""

    access: str
    refresh: str
    key: str
    ticket: str
    password: str = PASSWORD
    link: str = LINK
    dsn: str = DSN
    broker: str = BROKER

    @property
    def canaries(self) -> dict[str, str]:
        """What may be found nowhere: of each that part which is secret."""
        return {
            "access": self.access.rpartition(".")[2],
            "refresh": self.refresh,
            "key": self.key.rpartition("_")[2],
            "ticket": self.ticket.rpartition("_")[2],
            "password": self.password,
            "link": self.link,
            "dsn": "canary-dsn",
            "broker": "canary-amqp",
        }

    def found_in(self, text: str) -> list[str]:
        return [name for name, canary in self.canaries.items() if canary in text]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Everything that was said so far, at every level, a line for each request."""
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stderr", heard)
    with configured("json"):
        yield heard.getvalue


@pytest.fixture
async def secrets(stack: Stack) -> Secrets:
    """Of somebody who may do everything."""
    await add_user(stack, EMAIL, platform=True)
    await stack.sql("UPDATE users SET password_hash = $1 WHERE email = $2",
                    hash_password(PASSWORD), EMAIL)  # fmt: skip
    signed_in = await tokens(stack, EMAIL, PASSWORD)
    asked = await stack.client.post("/v1/tickets")
    return Secrets(
        signed_in["access_token"],
        signed_in["refresh_token"],
        stack.api_key,
        asked.json()["ticket"],
    )


def everywhere(route: str, secrets: Secrets) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Where a secret can stand in a request to a route: the place, the target, the rest."""
    method, _, rule = route.partition(" ")
    plain = re.sub("<[^>]+>", str(uuid4()), rule)
    for name, secret in attrs.asdict(secrets).items():
        shown = quote(secret, safe="")
        if "<" in rule and "<token>" not in rule:
            yield f"path {name}", re.sub("<[^>]+>", shown, rule), {}
        for part in ("cursor", "sensor", "metric", "from", "device", "ticket", name):
            yield f"query {part} {name}", f"{plain}?{part}={shown}", {}
        for header in ("cookie", "referer", "x-request-id", "x-tenant-id"):
            yield f"header {header} {name}", plain, {"headers": {header: secret}}
        if method != "GET":
            yield f"no JSON {name}", plain, {"content": b'{"x":"' + secret.encode() + b'"'}
            yield f"a text {name}", plain, {"json": secret}
            body = {"password": secret, "token": secret, "refresh_token": secret, "more": secret}
            yield f"other fields {name}", plain, {"json": body}
            good = (BODIES | MORE_BODIES).get(route) or {"name": "", "text": "", "email": ""}
            yield f"own fields {name}", plain, {"json": dict.fromkeys(good, secret)}


async def status(asking: httpx.AsyncClient, route: str, target: str, more: Any) -> tuple[int, str]:
    method = route.partition(" ")[0]
    headers = {**asking.headers, **more.pop("headers", {})}
    async with asking.stream(method, target, headers=headers, **more) as response:
        if response.headers.get("content-type") == "text/event-stream":  # without end
            return response.status_code, ""
        return response.status_code, text_of(await response.aread()) + str(response.headers)


def text_of(answer: bytes) -> str:
    """All that can be read in it: of an archive each of its files."""
    if not answer.startswith(b"PK"):
        return answer.decode("utf-8", "replace")
    with zipfile.ZipFile(io.BytesIO(answer)) as archive:
        return "".join(archive.read(name).decode() for name in archive.namelist())


def is_secret(route: str, place: str) -> bool:
    """Whether what stands there is meant as one. A link's token and a password look like any text:
    sent as a name or a line of readings they are repeated to who sent them, and as a profile's name
    they are in the archive.
    """
    if route == "GET /v1/tenant/export":
        return False
    return place.startswith("header") or (
        place.startswith("other fields") and "write" not in route and "import" not in route
    )


async def kept(stack: Stack) -> str:
    """The audit trail, and what the metrics say."""
    trail = await stack.sql("SELECT a::text FROM audit a")
    return str(trail) + (await stack.client.get("/metrics")).text


async def test_no_secret_is_said_again(stack: Stack, secrets: Secrets, said: Any) -> None:
    """In paths, queries, headers and bodies, by a person and by a key: neither the answer repeats
    it, nor a log, a metric or the audit trail.
    """
    found, asked = [], 0
    async with (
        client(stack, bearer({"access_token": secrets.access})) as person,
        client(stack, {"x-api-key": secrets.key}) as key,
    ):
        for route in ROUTES:
            if route == "POST /v1/auth/logout":  # the session is needed
                continue
            for place, target, more in everywhere(route, secrets):
                asking = (person, key)[asked % 2]
                asked += 1
                got, text = await status(asking, route, target, more)
                assert got < 500, (route, place, text)
                own = set() if is_secret(route, place) else {"password", "link"}
                found += [(route, place, one) for one in {*secrets.found_in(text)} - own]
    log = said()
    assert log.count("request_answered") >= asked
    assert found == [], "\n".join(["", *map(str, found)])
    assert secrets.found_in(log) == []
    assert secrets.found_in(await kept(stack)) == []
    assert asked > 2_000


WRITES: Mapping[str, str] = {
    "sessions": "POST /v1/auth/login", "refresh_tokens": "POST /v1/auth/refresh",
    "user_links": "POST /v1/users", "outbox_mails": "POST /v1/users",
    "users": "POST /v1/admin/tenants", "api_keys": "POST /v1/api-keys",
    "tickets": "POST /v1/tickets",
    "audit": "POST /v1/users/{}/link",
}  # fmt: skip
"""Tables whose rows hold what is secret, or its hash, and who writes them."""


async def test_a_row_that_the_database_refuses_is_not_repeated(
    stack: Stack, secrets: Secrets, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail with its link, a hash: the log says which constraint it was and nothing of the row."""
    monkeypatch.setattr(login_module, "new_link", lambda: LINK)
    spare = await add_user(stack, "spare@example.org")
    bodies = {
        "POST /v1/auth/login": {"email": EMAIL, "password": PASSWORD},
        "POST /v1/auth/refresh": {"refresh_token": secrets.refresh},
        "POST /v1/users": {"email": "new@example.org"},
        "POST /v1/admin/tenants": {"name": "n", "admin_email": "n@example.org"},
        "POST /v1/api-keys": {"name": "k"},
    }
    for table, route in WRITES.items():
        await stack.sql(f"ALTER TABLE {table} ADD CONSTRAINT canary CHECK (false) NOT VALID")
        path = route.partition(" ")[2].format(spare)
        headers = {} if "/auth/" in path else bearer({"access_token": secrets.access})
        async with client(stack, headers) as asking:
            answer = await asking.post(path, json=bodies.get(route))
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error"), table
        assert secrets.found_in(answer.text) == []
        await stack.sql(f"ALTER TABLE {table} DROP CONSTRAINT canary")
    log = said()
    assert log.count("request_failed") == len(WRITES)
    assert log.count("violates check constraint") >= len(WRITES), "the reason is said"
    assert "Failing row" not in log
    assert "DETAIL" not in log
    assert "$2b$" not in log
    assert secrets.found_in(log) == []


async def test_what_a_driver_says_of_a_row_is_dropped(stack: Stack) -> None:
    """Row-level security keeps Postgres from repeating it; where that does not apply, we do."""
    await stack.sql("ALTER TABLE users ADD CONSTRAINT canary CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError, match="Failing row") as told:
        await stack.sql("UPDATE users SET email = $1", EMAIL)
    with pytest.raises(StoreRefused, match="violates check constraint") as refused:
        translate(told.value)
    assert "Failing row" not in "".join(traceback.format_exception(refused.value))
    assert EMAIL not in str(refused.value)


async def test_a_visit_writes_no_secret_down(stack: Stack, secrets: Secrets) -> None:
    """The audit of the visited tenant has the path, without a key that was pasted into it."""
    await make_tenant(stack.bridge, stack.database_url, "other")
    (other,) = await stack.sql("SELECT tenant_uuid AS id FROM tenants ORDER BY tenant_id OFFSET 1")
    headers = bearer({"access_token": secrets.access}) | {"x-tenant-id": str(other["id"])}
    async with client(stack, headers) as visitor:
        for text in (secrets.key, secrets.access, secrets.refresh, DSN):
            answer = await visitor.get(f"/v1/profiles/{quote(text, safe='')}")
            assert answer.status_code == 404
    trail = await kept(stack)
    assert trail.count("tenant.visited") == 4
    assert "/v1/profiles/[redacted]" in trail
    assert secrets.found_in(trail) == []


async def test_signing_in_and_out_says_nothing(stack: Stack, secrets: Secrets, said: Any) -> None:
    """The right ones as well as those that were right once."""
    async with client(stack) as page:  # it holds, and then no more
        for _ in range(2):
            target = f"/v1/stream?ticket={secrets.ticket}&sensor={secrets.ticket}"
            await status(page, "GET /v1/stream", target, {})
    for path, body in (
        ("login", {"email": EMAIL, "password": PASSWORD}),
        ("login", {"email": EMAIL, "password": PASSWORD + "!"}),
        ("password/reset", {"token": LINK, "password": PASSWORD}),
        ("refresh", {"refresh_token": secrets.refresh}),
        ("logout", {"refresh_token": secrets.refresh}),
        ("refresh", {"refresh_token": secrets.refresh}),
    ):
        await post(stack, f"/v1/auth/{path}", body)
    assert secrets.found_in(said()) == []
    assert secrets.found_in(await kept(stack)) == []
    assert "canary" not in " ".join(sys.argv)
