"""A TCP connection to a server that can be cut as a network does it: in silence.

Threads, so that it serves tests and benchmarks alike. While it is cut, connections stand and new
ones are taken, and not a byte passes; mended, everything goes on.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs


@attrs.define(eq=False)
class Wire:
    """Relays 127.0.0.1:port to a unix socket, or to another host and port.

    heard: told what clients send, before it is passed on.
    """

    target: Path | tuple[str, int]
    port: int = 0
    heard: Callable[[bytes], None] = lambda data: None
    _passes: threading.Event = attrs.field(factory=threading.Event)
    _open: list[socket.socket] = attrs.field(factory=list)

    def cut(self) -> None:
        self._passes.clear()

    def mend(self) -> None:
        self._passes.set()

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self._open.append(near)
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._passes.wait()
        try:
            far = self._reach()
        except OSError:
            near.close()
            return
        self._open.append(far)
        threading.Thread(target=self._relay, args=(near, far, self.heard), daemon=True).start()
        self._relay(far, near, lambda data: None)

    def _reach(self) -> socket.socket:
        if isinstance(self.target, tuple):
            return socket.create_connection(self.target)
        far = socket.socket(socket.AF_UNIX)
        far.connect(str(self.target))
        return far

    def _relay(
        self, source: socket.socket, sink: socket.socket, heard: Callable[[bytes], None]
    ) -> None:
        try:
            while data := source.recv(65536):
                self._passes.wait()
                heard(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end_both_ways(end)

    def close(self) -> None:
        self.mend()
        for end in self._open:
            end_both_ways(end)
            end.close()


def end_both_ways(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def open_wire(target: Path | tuple[str, int]) -> Iterator[Wire]:
    """A wire, not cut; leaving closes everything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire(target, listener.getsockname()[1])
        wire.mend()
        threading.Thread(target=wire.serve, args=(listener,), daemon=True).start()
        try:
            yield wire
        finally:
            end_both_ways(listener)
            wire.close()
