"""How many requests may come: of strangers, keys, people and tenants."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from atalaia.config.settings import ProxySettings, RateSettings
from atalaia.http import rates
from atalaia.http.rates import Rate, Rates, check, fields
from atalaia.model.errors import TooManyRequests
from atalaia.model.ids import TenantNo
from atalaia.model.principal import Person, Principal
from atalaia.model.views import KeyRecord
from atalaia.security.api_keys import new_key
from atalaia.storage.queries import PostgresQueries
from tests.people import add_key, add_user, bearer, client, login, tokens
from tests.stack import START_MS, Stack, make_tenant, open_stack, row

FEW = RateSettings(per_address=3, per_key=4, per_account=5, per_tenant=6)


def ask(rate: Rate, whose: str, now: float) -> bool:
    """Whether it was let in."""
    standing = rate.look(whose, now)
    rate.keep(whose, standing, now)
    return not standing.wait_s


def key(name: str, tenant_no: int = 1) -> Principal:
    return Principal(TenantNo(tenant_no), UUID(int=tenant_no), name, frozenset())


def person(nr: int, *, platform: bool = False) -> Principal:
    who = Person(UUID(int=nr), "m@example.org", "admin", UUID(int=nr), platform)
    return Principal(TenantNo(1), UUID(int=1), "", frozenset(), person=who)


def test_the_seed_s_numbers_are_the_defaults() -> None:
    """A hundred a minute of whoever shows no valid credential."""
    ours = RateSettings()
    assert (ours.window_s, ours.per_address) == (60.0, 100)


def test_a_window_may_come_at_once_and_then_evenly() -> None:
    """Whoever waits as long as told is let in, and not before."""
    rate = Rate("key", 100, 60.0)
    assert sum(ask(rate, "a", 0.0) for _ in range(500)) == 100
    refused = rate.look("a", 0.0)
    assert (refused.left, round(refused.wait_s, 6), round(refused.full_s, 6)) == (0, 0.6, 60.0)
    assert not ask(rate, "a", 0.59)
    assert ask(rate, "a", refused.wait_s)
    assert not ask(rate, "a", refused.wait_s)
    assert ask(rate, "b", 0.0), "another's bucket"
    assert sum(ask(rate, "a", 1_000.0) for _ in range(500)) == 100


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 20), st.floats(0.1, 10))
def test_in_no_window_come_more_than_twice_the_limit(
    pauses: list[float], limit: int, window_s: float
) -> None:
    """What was saved up and what fills meanwhile; and `left` is true."""
    rate, now = Rate("key", limit, window_s), 0.0
    admitted: list[float] = []
    for pause in pauses:
        now += pause
        said = rate.look("a", now)
        if ask(rate, "a", now):
            admitted.append(now)
            after = said.left
            assert sum(ask(rate, "a", now) for _ in range(after)) == after
            admitted += [now] * after
            assert not ask(rate, "a", now)
        begin = now - window_s
        assert sum(at > begin for at in admitted) <= 2 * limit + 1


def test_memory_follows_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is full is forgotten; of what is not there is a bound, and the oldest goes first."""
    rate = Rate("ip", 10, 60.0)
    for n in range(1_000):
        ask(rate, str(n), 0.0)
    assert len(rate.full_at) == 1_000
    ask(rate, "new", 7.0)
    assert list(rate.full_at) == ["new"]
    monkeypatch.setattr(rates, "MOST_KEPT", 5)
    for n in range(20):
        ask(rate, str(n), 7.0)
        ask(rate, "new", 7.0)
    assert len(rate.full_at) <= 6
    assert "new" in rate.full_at, "whoever asks on stays"
    assert not ask(rate, "new", 7.0)


def test_who_is_counted_where() -> None:
    """A key and a person each by themselves, and all of a tenant's together; who looks after all
    tenants not with those of one.
    """
    ours = Rates(FEW)

    def empties(who: Principal) -> str:
        for _ in range(10):
            ours.known(who, 0.0)
        with pytest.raises(TooManyRequests) as caught:
            check(ours.known(who, 0.0))
        return str(caught.value.bucket)

    assert empties(key("a")) == "key"
    assert empties(key("b")) == "tenant"
    assert empties(key("c", tenant_no=2)) == "key"
    assert empties(person(1)) == "tenant"
    assert empties(person(2, platform=True)) == "account"


def test_a_refusal_costs_nothing() -> None:
    """Neither in the bucket that is empty nor in the other."""
    ours = Rates(FEW)
    for _ in range(100):
        ours.known(key("a"), 0.0)
    assert ours.known(key("b"), 0.0)[1].left == 1, "of six, four and this one are gone"


def test_a_network_is_a_subscriber_s(autojump_clock: MockClock) -> None:
    """Of IPv6 a /64; and credentials that fail leave room to sign in."""
    ours = Rates(FEW)
    for n in range(3):
        assert not ours.stranger(f"2001:db8::{n}", 0.0, failed=True)[0].wait_s
    assert ours.stranger("2001:db8::ffff", 0.0, failed=True)[0].wait_s
    assert not ours.stranger("2001:db8:0:1::1", 0.0, failed=True)[0].wait_s
    assert not ours.stranger("2001:db8::1", 0.0, failed=False)[0].wait_s


def test_what_an_answer_says() -> None:
    """The draft's fields for every bucket, the older ones for the one with the least left."""
    ours = Rates(FEW)
    ours.known(key("a"), 0.0)
    said = {name.decode(): text.decode() for name, text in fields(ours.known(key("a"), 0.0))}
    assert said == {
        "ratelimit-policy": '"key";q=4;w=60, "tenant";q=6;w=60',
        "ratelimit": '"key";r=2;t=30, "tenant";r=4;t=20',
        "x-ratelimit-limit": "4", "x-ratelimit-remaining": "2", "x-ratelimit-reset": "30",
    }  # fmt: skip


@asynccontextmanager
async def strict(database_url: str, hops: int = 0) -> AsyncIterator[Stack]:
    async with open_stack(database_url, rates=FEW, proxies=ProxySettings(hops)) as running:
        yield running


@pytest.mark.postgres
async def test_a_key_beyond_its_rate_is_told_which_bucket_and_how_long(database_url: str) -> None:
    """429 with the bucket's name; another tenant goes on; readings are not counted here."""
    async with strict(database_url) as stack:
        for left in (3, 2, 1, 0):
            answer = await stack.client.get("/v1/sensors")
            assert answer.headers["ratelimit"].startswith(f'"key";r={left};')
        refused = await stack.client.get("/v1/sensors")
        said = refused.json()
        assert (refused.status_code, said["code"], said["bucket"]) == (
            429, "too_many_requests", "key",
        )  # fmt: skip
        assert 1 <= int(refused.headers["retry-after"]) <= 15
        assert refused.headers["x-ratelimit-remaining"] == "0"
        for _ in range(10):
            sent = await stack.send([row(START_MS, 1)])
            assert sent.status_code == 200
        assert "ratelimit" not in sent.headers
        other = await make_tenant(stack.bridge, stack.database_url, "other")
        answer = await stack.client.get("/v1/sensors", headers={"x-api-key": other})
        assert answer.status_code == 200
        for _ in range(3):
            second = await add_key(stack, "read")
            answer = await stack.client.get("/v1/sensors", headers={"x-api-key": second})
        assert (answer.status_code, answer.json()["bucket"]) == (429, "tenant")


@pytest.mark.postgres
async def test_strangers_are_held_to_the_rate_of_their_network(database_url: str) -> None:
    """Signing in, and credentials that fail, each; whoever has a good key is not held up."""
    async with strict(database_url) as stack, client(stack) as stranger:
        await add_user(stack, "m@example.org")
        for _ in range(3):
            answer = await stranger.get("/v1/sensors", headers={"x-api-key": "atl_x_y"})
            assert answer.status_code == 401
            assert answer.headers["ratelimit"].startswith('"ip";r=')
        answer = await stranger.get("/v1/sensors", headers={"authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["bucket"]) == (429, "ip")
        sent = await stranger.post("/v1/readings", json=[], headers={"x-api-key": "no"})
        assert (sent.status_code, sent.json()["bucket"]) == (429, "ip")
        signed_in = bearer(await tokens(stack, "m@example.org"))
        statuses = [(await login(stack, "m@example.org")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await stranger.get("/v1/me", headers=signed_in)).status_code == 200
        assert (await stack.client.get("/v1/me")).status_code == 200
        for _ in range(10):
            assert (await stranger.get("/health/live")).status_code == 200
            assert (await stranger.get("/metrics")).status_code == 200


@pytest.mark.postgres
async def test_guesses_cost_few_queries(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that guesses; a neighbour's good key is found all the same, and one that is
    kept is not held up.
    """
    monkeypatch.setattr(rates, "LOOKUPS_PER_S", 1)
    looked: list[str] = []
    find = PostgresQueries.find_key

    async def counted(queries: PostgresQueries, key_id: str) -> KeyRecord | None:
        looked.append(key_id)
        return await find(queries, key_id)

    async with strict(database_url) as stack, client(stack) as stranger:
        assert (await stack.client.get("/v1/me")).status_code == 200
        monkeypatch.setattr(PostgresQueries, "find_key", counted)
        neighbour, began = await add_key(stack, "ingest"), trio.current_time()
        for n in range(40):
            answer = await stranger.get("/v1/me", headers={"x-api-key": new_key().text})
            assert answer.status_code == (401 if n < 3 else 429)
        assert len(looked) <= 3 + 1 + 1 + (trio.current_time() - began)
        assert (await stack.client.get("/v1/me")).status_code == 200
        await trio.sleep(1.0)
        body = [row(START_MS, 1)]
        sent = await stranger.post("/v1/readings", json=body, headers={"x-api-key": neighbour})
        assert sent.status_code == 200


@pytest.mark.postgres
async def test_a_person_has_a_rate_of_their_own(database_url: str) -> None:
    """Whatever sessions they have."""
    async with strict(database_url) as stack, client(stack) as asking:
        await add_user(stack, "m@example.org")
        sessions = [bearer(await tokens(stack, "m@example.org")) for _ in range(2)]
        answers = [await asking.get("/v1/me", headers=sessions[n % 2]) for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert answers[-1].json()["bucket"] == "account"


@pytest.mark.postgres
async def test_readings_say_where_their_quota_stands(stack: Stack) -> None:
    """The tenant's and the key's, in readings and bytes a second; nothing where there is none."""
    sent = await stack.send([row(START_MS, 1)])
    assert not {name for name in sent.headers if "ratelimit" in name}
    await stack.sql("UPDATE tenants SET readings_per_s = 1000")
    await stack.sql("UPDATE api_keys SET bytes_per_s = 1000000")
    stack.front.authenticator._known.clear()
    sent = await stack.send([row(START_MS + n, 1) for n in range(100)])
    policy = '"readings";q=1000;w=1, "key-bytes";q=1000000;w=1'
    assert sent.headers["ratelimit-policy"] == policy
    said = re.match(r'"readings";r=(\d+);', sent.headers["ratelimit"])
    assert said is not None
    assert int(said[1]) < 2_000  # 100 of them gone, and back by the millisecond
    await stack.send([row(START_MS + n, 1) for n in range(5_000)])
    refused = await stack.send([row(START_MS, 1)])
    assert (refused.status_code, refused.json()["bucket"]) == (429, "readings")
    assert refused.headers["ratelimit"].startswith('"readings";r=0;t=')
    assert refused.headers["x-ratelimit-limit"] == "1000"


@pytest.mark.postgres
async def test_a_socket_s_handshake_is_counted_when_it_fails(database_url: str) -> None:
    """As HTTP is."""
    async with strict(database_url) as stack:
        host, port = stack.url.removeprefix("http://").split(":")
        statuses = []
        for _ in range(4):
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(
                    b"GET /v1/ingest HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
                    b"connection: upgrade\r\nsec-websocket-version: 13\r\n"
                    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nx-api-key: no\r\n\r\n"
                )
                statuses.append((await stream.receive_some())[9:12])
    assert statuses == [b"401"] * 3 + [b"429"]
