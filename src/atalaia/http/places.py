"""Where a stream goes on, as the ids of its events say it."""

from typing import Any

import attrs
import trio

from atalaia.http.errors import encode
from atalaia.model.ids import Micros

LAST_ORDINAL = (1 << 31) - 1


@attrs.frozen
class Place:
    """What a client has seen: steps of alerts up to (arrival, ordinal), readings up to those that
    arrived at `readings` (None: it saw none of them).

    It says when things arrived and nothing else, so that whatever is written into it, a tenant is
    sent what is its own.
    """

    arrival: Micros
    ordinal: int
    readings: Micros | None = None

    def __str__(self) -> str:
        alerts = f"{self.arrival}-{self.ordinal}"
        return alerts if self.readings is None else f"{alerts}-{self.readings}"

    def is_beyond(self, newest: Micros) -> bool:
        """newest: when the last batch was committed. Nothing that came later was ever sent."""
        return max(self.arrival, self.readings or 0) > newest


def parse_place(text: str | None) -> Place | None:
    """What an event's id said. Another text is as good as none: a browser sends what it has."""
    parts = (text or "").split("-")
    if len(parts) not in (2, 3) or not all(_is_number(part) for part in parts):
        return None
    arrival, ordinal, *readings = (int(part) for part in parts)
    if ordinal > LAST_ORDINAL:
        return None
    return Place(Micros(arrival), ordinal, Micros(readings[0]) if readings else None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 17


@attrs.define(eq=False)
class Told:
    """What a client has been told, and how it is told more: every event says where it is then."""

    place: Place
    _heartbeat_s: float
    _at: float = attrs.field(factory=trio.current_time)

    @property
    def readings(self) -> Micros:
        """Up to when readings were sent."""
        return self.place.readings or Micros(0)

    @property
    def is_silent(self) -> bool:
        """Whether something should be said, lest the connection be taken for dead."""
        return trio.current_time() - self._at >= self._heartbeat_s

    def has_read(self, until: Micros) -> None:
        self.place = attrs.evolve(self.place, readings=until)

    def has_step(self, arrival: Micros, ordinal: int) -> None:
        self.place = attrs.evolve(self.place, arrival=arrival, ordinal=ordinal)

    def event(self, kind: str, body: Any) -> bytes:
        """JSON has no line breaks, so that data is one line."""
        self._at = trio.current_time()
        return f"event: {kind}\nid: {self.place}\ndata: ".encode() + encode(body) + b"\n\n"

    def still_here(self) -> bytes:
        """With an id too, so that who wants little of what comes is not taken to be far behind."""
        self._at = trio.current_time()
        return f": still here\nid: {self.place}\n\n".encode()


def last_event(kind: str, detail: str) -> bytes:
    """Why a stream ends. Without an id: the client goes on after what it has seen."""
    return f"event: {kind}\ndata: ".encode() + encode({"detail": detail}) + b"\n\n"
