"""The whole process on one screen.

Nesting is the shutdown order: Postgres ⊃ bridge ⊃ storage ⊃ engine ⊃ faces (HTTP, and RabbitMQ's
consumer). Leaving unwinds the faces first, then inboxes drain, then the last commit, then the
pools, then the database. Nobody keeps a stop flag.
"""

import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import structlog
import trio

from atalaia.amqp.consumer import Consumer
from atalaia.amqp.forget import QueueForgotten
from atalaia.amqp.intake import QueueIntake
from atalaia.amqp.limits import AmqpLimits
from atalaia.amqp.publisher import open_publisher
from atalaia.bridge import Bridge, open_bridge
from atalaia.config.settings import Credentials, Role, Settings, keep_jwt_secret
from atalaia.demo import DemoTenant, open_demo, run_demo
from atalaia.engine.clock import SystemClock
from atalaia.engine.edits import NoEngine
from atalaia.engine.engine import open_engine
from atalaia.engine.erasing import erasing
from atalaia.engine.gate import Gate
from atalaia.engine.heads import telling_heads
from atalaia.engine.kernels import compile_all
from atalaia.engine.limits import EngineLimits
from atalaia.engine.quota import Quotas
from atalaia.engine.rolling import rolling_up
from atalaia.first_start import open_credentials
from atalaia.http.app import MAX_BODY_BYTES, create_app
from atalaia.http.browsers import Browsers
from atalaia.http.ingest import Take
from atalaia.http.ops import Checks
from atalaia.http.server import listen, run_server
from atalaia.http.sessions import Sessions
from atalaia.http.upkeep import run_upkeep
from atalaia.model.errors import StartupRefused
from atalaia.model.ids import DAY_US
from atalaia.notify.delivery import delivering
from atalaia.security.tokens import MIN_SECRET_BYTES, TokenKeys, is_weak
from atalaia.storage.database import open_database
from atalaia.storage.embedded import open_embedded
from atalaia.storage.engine_store import open_engine_store
from atalaia.storage.people import PostgresPeople
from atalaia.storage.queries import PostgresQueries
from atalaia.storage.rolling import PostgresRollups
from atalaia.storage.token_secrets import agree_on_secrets
from atalaia.telemetry.lag import watch_loop

log = structlog.get_logger()

COLLECT_AFTER = 50_000  # container objects made and not freed; the default is 700


async def run(
    settings: Settings,
    *,
    announce: Callable[[Credentials, DemoTenant | None], None],
    progress: Callable[[str], None],
    limits: EngineLimits | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; then drain and return.

    progress hears what is being done during the start; announce is called once when requests
    are answered. limits: the defaults, but for whoever embeds this; settings decide the
    retention either way. Raises StartupRefused with one sentence that says what to do.
    """
    clock = SystemClock()
    retention_us = settings.retention_days and settings.retention_days * DAY_US
    limits = attrs.evolve(limits or EngineLimits(), retention_us=retention_us)
    if settings.tenant_memory_bytes is not None:
        limits = attrs.evolve(limits, tenant_bytes=settings.tenant_memory_bytes)
    _make_data_dir(settings.data_dir)
    token_keys = _token_keys(settings)
    with listen(settings.host, settings.port) as listener:
        base_url = _base_url(settings.host, listener.getsockname()[1])
        async with AsyncExitStack() as stack:
            progress("compiling the rule kernel (some seconds the first time)")
            await trio.to_thread.run_sync(compile_all)
            progress("starting Postgres" if settings.database_url is None else "asking Postgres")
            url = await stack.enter_async_context(_database(settings))
            bridge = await stack.enter_async_context(open_bridge())
            database = await stack.enter_async_context(open_database(bridge, url))
            await _agree_on_secrets(bridge, url, token_keys, settings.role)
            credentials = await open_credentials(
                bridge, url, base_url, settings.data_dir, clock, leave=settings.role == "http"
            )
            queries = PostgresQueries(database)
            people = PostgresPeople(database)
            sessions = Sessions(people, token_keys, settings.jwt, clock)
            demo = None
            consumer = None
            if settings.role == "http":
                front = await stack.enter_async_context(
                    _queue_face(settings, bridge, queries, sessions, limits)
                )
            else:
                store = await stack.enter_async_context(open_engine_store(database, clock.now_us()))
                gate = await stack.enter_async_context(
                    open_engine(store, clock, limits, settings.quota)
                )
                await stack.enter_async_context(
                    rolling_up(PostgresRollups(database), clock, settings.rollup_us)
                )
                checks = {}
                if settings.rabbitmq_url is not None:
                    consumer = Consumer(bridge, settings.rabbitmq_url, gate, queries, people, clock)
                    checks["broker"] = consumer.check
                queue = QueueForgotten(bridge, settings.rabbitmq_url)
                await stack.enter_async_context(erasing(people, gate.forget, queue.forget))
                await stack.enter_async_context(telling_heads(people))
                await stack.enter_async_context(delivering(people, settings.mail, clock))
                front = _face(settings, gate, queries, sessions, checks)
                if settings.demo:
                    demo = await open_demo(bridge, url, queries, gate, settings.data_dir, clock)
            shutdown = trio.Event()
            async with trio.open_nursery() as faces:
                faces.start_soon(_watch_signals, shutdown)
                faces.start_soon(watch_loop, shutdown)
                await faces.start(partial(run_server, front, listener, shutdown=shutdown))
                faces.start_soon(run_upkeep, front.app.authenticator, shutdown)
                _calm_collector()
                if consumer is not None:
                    faces.start_soon(consumer.run, shutdown)
                if demo is not None:
                    faces.start_soon(run_demo, gate, demo, clock, shutdown)
                announce(credentials, demo)
                await shutdown.wait()
                progress("draining: open requests, then inboxes, then the last commit")
                # run_server ends by itself now; a second signal is no longer ours to catch.
        progress("stopped; every answered reading is committed")


@asynccontextmanager
async def _queue_face(
    settings: Settings,
    bridge: Bridge,
    queries: PostgresQueries,
    sessions: Sessions,
    limits: EngineLimits,
) -> AsyncIterator[Browsers]:
    """The face of the role `http`: readings go to RabbitMQ, questions to the database."""
    url = settings.rabbitmq_url or ""
    async with open_publisher(bridge, url, AmqpLimits()) as publisher:
        gate = NoEngine(limits.retention_us, Quotas(settings.quota))
        take = QueueIntake(publisher, gate, sessions.clock, limits, MAX_BODY_BYTES)
        checks = {"broker": publisher.check}
        yield _face(settings, gate, queries, sessions, checks, take)


def _face(
    settings: Settings,
    gate: Gate | NoEngine,
    queries: PostgresQueries,
    sessions: Sessions,
    checks: Checks,
    take: Take | None = None,
) -> Browsers:
    return create_app(
        gate,
        queries,
        sessions=sessions,
        take=take,
        checks=checks,
        origins=settings.origins,
        rates=settings.rates,
        proxies=settings.proxies,
        mailed=settings.mail is not None,
        metrics_token=settings.metrics_token,
    )


def _token_keys(settings: Settings) -> TokenKeys:
    """Raises StartupRefused for a secret that could be guessed."""
    secrets = settings.jwt.secrets or (keep_jwt_secret(settings.data_dir),)
    if any(is_weak(secret.encode()) for secret in secrets):
        raise StartupRefused(
            f"ATALAIA_JWT_SECRETS: each has {MIN_SECRET_BYTES} random bytes at least, and is not "
            "one of an example. Make one with: openssl rand -hex 32"
        )
    return TokenKeys([secret.encode() for secret in secrets])


async def _agree_on_secrets(bridge: Bridge, url: str, keys: TokenKeys, role: Role) -> None:
    """With the database's other processes. Raises StartupRefused at the role `http`, which is
    never alone; another one may have lost its data directory, and then goes on with a new secret.
    """
    if not await agree_on_secrets(bridge, url, keys.ids, replace=role != "http"):
        log.warning(
            "token_secret_replaced",
            advice="nobody's session goes on here; processes beside this one need the same "
            "ATALAIA_JWT_SECRETS, or sign its people out",
        )


def _calm_collector() -> None:
    """Leave the libraries' half a million objects out of every garbage collection.

    A body of 1,000 rows makes enough short-lived tuples for several collections; what they are
    part of is freed by counting references alone. Measured in bench/README.md.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def _watch_signals(shutdown: trio.Event) -> None:
    """The first SIGINT or SIGTERM drains; after it the second ends the process at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            shutdown.set()
            return


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The powerful role's URL: what was given, or our own Postgres while inside."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    async with open_embedded(settings.data_dir) as url:
        yield url


def _make_data_dir(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        probe = data_dir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartupRefused(
            f"The data directory {data_dir} cannot be written: {error.strerror}. "
            "Choose another with --data-dir, or change its owner."
        ) from error


def _base_url(host: str, port: int) -> str:
    """How a client on this machine reaches the listener."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    return f"http://{reachable}:{port}"
