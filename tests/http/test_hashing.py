"""Hashing passwords stalls nobody."""

import threading

import trio

from atalaia.http.hashing import Hashing
from atalaia.model.errors import Unavailable


async def test_hashing_has_a_line_of_its_own_and_an_end() -> None:
    """Two at a time; beyond the line others are told to come back."""
    hashing = Hashing()
    running, most, refused = 0, 0, 0

    async def one() -> None:
        nonlocal refused
        try:
            await hashing.run(work)
        except Unavailable as error:
            assert error.retry_after_s > 0
            refused += 1

    lock, gate = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(5)
        with lock:
            running -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(one)
        with trio.move_on_after(5):
            while refused < 12 or running < 2:
                await trio.sleep(0.01)
        gate.set()
    assert (most, refused) == (2, 12)
