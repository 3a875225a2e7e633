"""Whether the database answers, known before anybody has to wait for it.

It is asked all the time, over a connection of its own. When it stops answering, whatever is under
way is told at once and its connections are cut (over a dead network not even a rollback ends);
until it answers again nothing else is tried. A stall of this process is no stall of the
database: patience is counted in short waits, of which a late one counts once, and between them
the thread that would hear the answer must have had its turn.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import attrs
import structlog
import trio

from atalaia.bridge import Bridge
from atalaia.ports import StoreUnavailable

log = structlog.get_logger()

PERIOD_S = 0.2
WAIT_S = 0.05
WAITS = 10  # with the period: whoever waits is told in less than a second
CONNECT_TIMEOUT_S = 2.0
CONNECT_WAITS = round(CONNECT_TIMEOUT_S / WAIT_S)  # TLS over a distance takes its time

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@attrs.define(eq=False)
class Pulse:
    """`open_pulse` keeps it beating. On the trio thread but for `borrowed`."""

    _bridge: Bridge
    _pools: tuple[asyncpg.Pool, ...]
    answers: bool = True
    _calls: set[trio.CancelScope] = attrs.field(factory=set)
    _borrowed: set[asyncpg.Connection] = attrs.field(factory=set)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around whatever waits for the database. Raises StoreUnavailable when it stops
        answering, or does not answer to begin with.
        """
        if not self.answers:
            raise StoreUnavailable("the database does not answer")
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            try:
                yield
            finally:
                self._calls.discard(scope)
        if scope.cancelled_caught:
            raise StoreUnavailable("the database stopped answering")

    @contextmanager
    def borrowed(self, connection: asyncpg.Connection) -> Iterator[None]:
        """On the asyncio thread: this connection is cut when the database stops answering."""
        self._borrowed.add(connection)
        try:
            yield
        finally:
            self._borrowed.discard(connection)

    async def beat(self, connect: Connect) -> None:
        """Ask again and again, for ever."""
        question = _Question(connect)
        try:
            while True:
                answers = await self._ask(question)
                if self.answers and not answers:
                    await self._stop()
                elif answers and not self.answers:
                    self.answers = True
                    log.warning("database_answers_again")
                await trio.sleep(PERIOD_S)
        finally:
            with trio.CancelScope(shield=True):
                await self._bridge.call(question.close_aio)

    async def _ask(self, question: "_Question") -> bool:
        answered, over = False, trio.Event()

        async def ask() -> None:
            nonlocal answered
            answered = await self._bridge.call(question.answered_aio)
            over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            for _ in range(WAITS if question.connected else CONNECT_WAITS):
                with trio.move_on_after(WAIT_S):
                    await over.wait()
                    break
                await self._bridge.call(_awake_aio)
            if not answered:
                await self._bridge.call(question.close_aio)
                nursery.cancel_scope.cancel()
        return answered

    async def _stop(self) -> None:
        log.error("database_stopped_answering", calls=len(self._calls))
        self.answers = False
        await self._bridge.call(self._cut_aio)
        for scope in self._calls:
            scope.cancel()

    async def _cut_aio(self) -> None:
        for connection in self._borrowed:
            connection.terminate()
        for pool in self._pools:  # what rests there may be dead too, and would not say so
            await pool.expire_connections()


async def _awake_aio() -> None:
    """Comes back when what kept the thread busy is done."""


@attrs.define(eq=False)
class _Question:
    """The smallest one there is, over a connection kept for it."""

    _connect: Connect
    _connection: asyncpg.Connection | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def answered_aio(self) -> bool:
        try:
            if self._connection is None:
                self._connection = await self._connect()
            await self._connection.fetchval("SELECT 1")
        except (
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ):
            return False
        return True

    async def close_aio(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


@asynccontextmanager
async def open_pulse(
    bridge: Bridge, pools: tuple[asyncpg.Pool, ...], connect: Connect
) -> AsyncIterator[Pulse]:
    """A pulse that beats while inside."""
    pulse = Pulse(bridge, pools)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pulse.beat, connect)
        try:
            yield pulse
        finally:
            nursery.cancel_scope.cancel()
