"""Gateways as threads: a batch at a time, the same one again until it is answered.

What they saw is in one `Account`; whoever drives them looks there.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from server import Server

GIVE_UP_S = 120.0
TAKEN = (200, 202)  # committed, or held by a queue
REFUSED = (429, 503)

Rows = Sequence[dict[str, object]]


@dataclass(frozen=True)
class Seen:
    """One request, by the clock of this process. status 0: no answer at all."""

    began: float
    ended: float
    status: int


@dataclass
class Account:
    """What the answers said, of all gateways. One lock: they are threads.

    lost: readings that were new when they were sent again after a 200.
    """

    acked: int = 0
    batches: int = 0
    resent: int = 0
    lost: int = 0
    seen: list[Seen] = field(default_factory=list)
    answered: threading.Condition = field(default_factory=threading.Condition)
    last_answer: float = 0.0

    def note(self, seen: Seen) -> None:
        with self.answered:
            self.seen.append(seen)
            if seen.status in TAKEN:
                self.last_answer = seen.ended
                self.answered.notify_all()

    def answer_after(self, moment: float) -> float:
        """Wait for the first answer after this moment; returns when it came."""
        with self.answered:
            if not self.answered.wait_for(lambda: self.last_answer > moment, 60):
                raise AssertionError("nothing was answered for a minute")
            return self.last_answer


class Gateway(threading.Thread):
    """Ends when told to, after its last batch was answered, or after `upto` of them."""

    def __init__(
        self,
        number: int,
        server: Server,
        account: Account,
        batch: Callable[[int, int], Rows],
        *,
        again_s: float,
        pause_s: float = 0.0,
        resend: random.Random | None = None,
        upto: int | None = None,
    ) -> None:
        """batch: the rows of a gateway's nth batch; again_s: from a refusal to the next try.

        resend: decides which tenth of the answered batches is sent once more.
        """
        super().__init__(name=f"gateway-{number}")
        self.number, self.server, self.account, self.batch = number, server, account, batch
        self.again_s, self.pause_s, self.resend, self.upto = again_s, pause_s, resend, upto
        self.ends = threading.Event()
        self.sent = 0
        self.error: Exception | None = None
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        try:
            while not self.ends.is_set() and (self.upto is None or self.sent < self.upto):
                self._next()
                time.sleep(self.pause_s)
        except Exception as error:
            self.error = error

    def _next(self) -> None:
        rows = self.batch(self.number, self.sent)
        answer = self._send(rows)
        if answer["accepted"] + answer["duplicates"] != len(rows):
            raise AssertionError(f"the account of a batch is not exact: {answer}")
        self.sent += 1
        with self.account.answered:
            self.account.acked += len(rows)
            self.account.batches += 1
        if self.resend is not None and self.resend.random() < 0.1:
            again = self._send(rows)
            with self.account.answered:
                self.account.resent += 1
                if again["durability"] == "committed":  # a queue does not know what is new
                    self.account.lost += again["accepted"]

    def _send(self, rows: Rows) -> dict[str, int]:
        body = json.dumps(rows)
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            began, status, text = time.monotonic(), 0, b""
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(*self.server.address, timeout=20)
                self._connection.request(
                    "POST", "/v1/readings", body,
                    {"X-API-Key": self.server.credentials["api_key"]},
                )  # fmt: skip
                response = self._connection.getresponse()
                text, status = response.read(), response.status
                if status not in (*TAKEN, *REFUSED):
                    raise AssertionError(f"{status}: {text[:300]!r}")
                if status in REFUSED and not int(response.headers["Retry-After"]):
                    raise AssertionError("a refusal without a delay")
            except (OSError, http.client.HTTPException):
                self._connection, status = None, 0
            self.account.note(Seen(began, time.monotonic(), status))
            if status in TAKEN:
                answer: dict[str, int] = json.loads(text)
                return answer
            time.sleep(self.again_s)
        raise AssertionError("no answer within two minutes")


def finish(gateways: Sequence[Gateway], *, at_once: bool = True) -> list[int]:
    """Wait for their end, or end them; returns how many batches each has sent.

    Raises what any of them has failed with.
    """
    for gateway in gateways:
        if at_once:
            gateway.ends.set()
    for gateway in gateways:
        gateway.join()
    for gateway in gateways:
        if gateway.error is not None:
            raise gateway.error
    return [gateway.sent for gateway in gateways]
