"""The service inside the test process: real Postgres, real sockets, one tenant or more."""

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import trio

from atalaia.bridge import Bridge, open_bridge
from atalaia.config.settings import JwtSettings, ProxySettings, RateSettings
from atalaia.engine.clock import SystemClock, WallClock
from atalaia.engine.engine import open_engine
from atalaia.engine.gate import Gate
from atalaia.engine.limits import EngineLimits
from atalaia.http.app import NO_PROXIES, create_app
from atalaia.http.asgi import Front
from atalaia.http.server import listen, run_server
from atalaia.http.sessions import Sessions
from atalaia.model.ids import TenantNo, uuid7
from atalaia.security.api_keys import new_key, parse_key
from atalaia.security.tokens import TokenKeys
from atalaia.storage.accounts import NewTenant, create_tenant
from atalaia.storage.cluster import SOCKET_NAME, Cluster
from atalaia.storage.database import Database, open_database
from atalaia.storage.embedded import query
from atalaia.storage.engine_store import PostgresEngineStore, open_engine_store
from atalaia.storage.people import PostgresPeople
from atalaia.storage.queries import PostgresQueries
from tests.wire_to import Wire, open_wire

NOW_MS = SystemClock().now_us() // 1000
TEST_SECRET = b"a secret of the tests, and of nobody else"
MANY = RateSettings(per_address=100_000)
"""A sweep asks as a stranger more often than any client would."""
START_MS = NOW_MS - 3_600_000
"""Times of readings in tests: the last hour."""


@attrs.define(eq=False)
class Stack:
    """What a test may touch."""

    url: str
    database_url: str
    bridge: Bridge
    database: Database
    store: PostgresEngineStore
    queries: PostgresQueries
    gate: Gate
    client: httpx.AsyncClient
    api_key: str
    sessions: Sessions
    front: Front

    async def tenant_no(self) -> TenantNo:
        key = parse_key(self.api_key)
        assert key is not None
        record = await self.queries.find_key(key.key_id)
        assert record is not None
        return record.tenant_no

    async def send(self, rows: object, **options: Any) -> httpx.Response:
        return await self.client.post("/v1/readings", json=rows, **options)

    async def rule(self, text: str) -> dict[str, Any]:
        response = await self.client.post("/v1/rules", json={"text": text})
        assert response.status_code == 201, response.text
        return response.json()  # type: ignore[no-any-return]

    async def alerts(self, query: str = "") -> list[dict[str, Any]]:
        response = await self.client.get(f"/v1/alerts?limit=1000{query}")
        assert response.status_code == 200, response.text
        return response.json()["data"]  # type: ignore[no-any-return]

    async def sql(self, statement: str, *args: object) -> list[dict[str, Any]]:
        """Rows as the powerful role sees them."""
        return await self.bridge.call(fetch_aio, self.database_url, statement, args)


async def fetch_aio(url: str, statement: str, args: tuple[object, ...]) -> list[dict[str, Any]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement, *args)]
    finally:
        await connection.close()


async def make_tenant(bridge: Bridge, database_url: str, name: str = "test") -> str:
    """Register a tenant; returns its API key."""
    key = new_key()
    now = SystemClock().now_us()
    tenant = NewTenant(uuid7(now), name, f"{key.key_id}@example.org", "no password", key)
    await create_tenant(bridge, database_url, tenant, now)
    return key.text


def row(ts_ms: int, value: object, metric: str = "t", sensor: str = "s") -> dict[str, Any]:
    return {"sensor": sensor, "metric": metric, "ts": ts_ms, "value": value}


@contextmanager
def new_database(cluster: Cluster) -> Iterator[str]:
    """A fresh database, migrated as the session's template is."""
    name = f"t{secrets.token_hex(6)}"
    query(cluster, f"CREATE DATABASE {name} TEMPLATE template_atalaia")
    yield cluster.url(name)
    query(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def open_stack(
    database_url: str,
    *,
    limits: EngineLimits | None = None,
    api_key: str | None = None,
    clock: WallClock | None = None,
    origins: Iterable[str] = (),
    rates: RateSettings = MANY,
    proxies: ProxySettings = NO_PROXIES,
    mailed: bool = False,
    metrics_token: str | None = None,
) -> AsyncIterator[Stack]:
    """Everything of app.run but signals, credentials and the embedded Postgres."""
    clock = clock or SystemClock()
    async with (
        open_bridge() as bridge,
        open_database(bridge, database_url) as database,
        open_engine_store(database, clock.now_us()) as store,
    ):
        key = api_key or await make_tenant(bridge, database_url)
        async with open_engine(store, clock, limits or EngineLimits()) as gate:
            queries = PostgresQueries(database)
            listener = listen("127.0.0.1", 0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            shutdown = trio.Event()
            async with trio.open_nursery() as nursery:
                people = PostgresPeople(database)
                sessions = Sessions(people, TokenKeys([TEST_SECRET]), JwtSettings(), clock)
                front = create_app(
                    gate,
                    queries,
                    sessions=sessions,
                    origins=origins,
                    rates=rates,
                    proxies=proxies,
                    mailed=mailed,
                    metrics_token=metrics_token,
                )
                await nursery.start(partial(run_server, front, listener, shutdown=shutdown))
                headers = {"X-API-Key": key}
                async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                    yield Stack(
                        url, database_url, bridge, database, store, queries, gate, client, key,
                        sessions, front.app,
                    )  # fmt: skip
                shutdown.set()


@asynccontextmanager
async def wired_stack(database_url: str) -> AsyncIterator[tuple[Stack, Wire]]:
    """The service, whose database is reached over a wire; whole again at the end."""
    parts = urlsplit(database_url)
    sockets = Path(parse_qs(parts.query)["host"][0])
    with open_wire(sockets / SOCKET_NAME) as wire:
        url = f"postgresql://postgres@127.0.0.1:{wire.port}{parts.path}"
        async with open_stack(url) as stack:
            try:
                yield stack, wire
            finally:
                wire.mend()
