"""The socket that listens, and Hypercorn behind it, from the first connection to the last."""

import errno
import socket
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from atalaia.http.browsers import Browsers
from atalaia.http.connection import use_connection
from atalaia.http.patience import Patience
from atalaia.http.sockets import MAX_MESSAGE_BYTES
from atalaia.model.errors import StartupRefused

GRACEFUL_S = 10.0
NOTICE_S = 1.0  # from the signal to end until idle connections are closed
STALL_S, LAST_STALL_S = 30.0, 5.0
KEEP_ALIVE_S = 75.0  # above the 60 s of common proxies, so that they close first
BACKLOG = 1024
PING_S = 20.0  # of sockets: below the idle time of common proxies
REQUESTS_PER_CONNECTION = 100_000  # a gateway keeps one connection for days


def listen(host: str, port: int) -> socket.socket:
    """Take the address now, before anything slow starts; port 0 takes any free one.

    Raises StartupRefused when it is taken, unknown, no address at all, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        advice = (
            f"Port {port} on {host} is taken. Choose another with --port, or stop what uses it."
            if getattr(error, "errno", None) == errno.EADDRINUSE
            else f"Cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}. "
            "Check --host, and --port (0 to 65535)."
        )
        raise StartupRefused(advice) from error
    listener.setblocking(False)
    return listener


async def run_server(
    front: Browsers,
    listener: socket.socket,
    *,
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on the listener until `shutdown` is set and the open requests are answered.

    For NOTICE_S more, while anybody is connected, whoever asks is told that this is the end.
    Closes the listener. task_status reports when connections are accepted.
    """
    patience = Patience(STALL_S, LAST_STALL_S)
    crowd = use_connection(patience, proxied=front.app.peers.proxies.hops > 0)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = GRACEFUL_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.backlog = BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    config.websocket_max_message_size = MAX_MESSAGE_BYTES
    config.websocket_ping_interval = PING_S

    async def leave() -> None:
        try:
            await shutdown.wait()
        finally:
            patience.hurry()
        front.app.close()
        with trio.move_on_after(NOTICE_S):
            await crowd.emptied()

    serving: Any = serve  # its own types know only one kind of ASGI callable
    await serving(front, config, shutdown_trigger=leave, mode="asgi", task_status=task_status)
