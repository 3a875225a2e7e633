"""Connections to RabbitMQ, and its errors translated once.

Ours, and not aio-pika's robust ones: those hide an outage from whoever must hold back, and give
messages of a lost channel no end. Runs on the asyncio thread.
"""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ProbableAuthenticationError,
)

from atalaia.amqp.lenient import read_leniently
from atalaia.model.errors import AtalaiaError

T = TypeVar("T")

CONNECT_S = 3.0
HEARTBEAT_S = 5  # a connection that says nothing is given up after three and a half of them
CLOSE_S = 1.0

# Whoever loses a connection says so once; the libraries say it at every try, with tracebacks.
for library in ("aiormq", "aio_pika"):
    logging.getLogger(library).setLevel(logging.CRITICAL)

read_leniently()

DRIVER_ERRORS = (*CONNECTION_EXCEPTIONS, ValueError)  # ValueError: a URL that is none


class BrokerUnavailable(Exception):
    """RabbitMQ cannot be reached, is blocked, or went away; trying again may help."""


class BrokerRefused(AtalaiaError):
    """RabbitMQ does not do this as it stands: somebody must change something there."""


def translate(error: Exception) -> NoReturn:
    """Raise ours for a driver's error, with its cause."""
    if isinstance(error, AuthenticationError | ProbableAuthenticationError):
        raise BrokerRefused(
            f"RabbitMQ refuses the user or password of RABBITMQ_URL ({error})."
        ) from error
    if isinstance(error, ChannelNotFoundEntity):
        raise BrokerRefused(
            f"Something is missing in RabbitMQ ({error}). Run: atalaia broker setup"
        ) from error
    if isinstance(error, ChannelPreconditionFailed):
        raise BrokerRefused(f"RabbitMQ refuses: {error}") from error
    if "Connection.OpenOk" in str(error):  # the driver says no more of it
        raise BrokerRefused(
            "RabbitMQ has no such virtual host as RABBITMQ_URL names, or its user may not use it. "
            "Run: rabbitmqctl add_vhost NAME, and rabbitmqctl set_permissions -p NAME USER."
        ) from error
    if isinstance(error, ValueError):
        raise BrokerRefused(
            f"RABBITMQ_URL is such as amqp://user:password@host:5672/vhost ({error})."
        ) from error
    raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error


async def connect_aio(url: str, name: str) -> AbstractConnection:
    """Raises BrokerUnavailable, BrokerRefused."""
    try:
        connection = aio_pika.Connection(
            aio_pika.connection.make_url(url, heartbeat=HEARTBEAT_S, name=f"atalaia {name}")
        )
    except DRIVER_ERRORS as error:
        translate(error)
    connected = False
    try:
        await connection.connect(timeout=CONNECT_S)
        connected = True
    except DRIVER_ERRORS as error:
        if f"[Errno {errno.ECONNREFUSED}]" in str(error):  # of each address of a name
            at = f"{connection.url.host}:{connection.url.port}"
            raise BrokerUnavailable(f"nothing listens at {at}") from error
        translate(error)
    finally:
        if not connected:  # or its destructor would close it, in no loop at all
            await close_aio(connection)
    return connection


async def close_aio(connection: AbstractConnection) -> None:
    """Bounded, and without complaint: what is closed may be broken already."""
    for _ in range(2):  # the second marks it as closed when the first could not
        try:
            async with asyncio.timeout(CLOSE_S):
                await connection.close()
                return
        except (*DRIVER_ERRORS, asyncio.CancelledError):
            # aiormq ends the futures of a broken connection as cancelled; a real one comes again.
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise


def told(error: Exception) -> str:
    """Some errors of sockets say nothing by themselves."""
    return str(error) or repr(error)


@asynccontextmanager
async def connection_aio(url: str, name: str) -> AsyncIterator[AbstractConnection]:
    """A connection for the length of a command; errors inside are translated too."""
    connection = await connect_aio(url, name)
    try:
        yield connection
    except DRIVER_ERRORS as error:
        translate(error)
    finally:
        await close_aio(connection)


async def within_aio(seconds: float, work: Awaitable[T]) -> T:
    """The result of a driver's call. Raises BrokerUnavailable, also when it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except (AMQPError, *DRIVER_ERRORS) as error:
        translate(error)
