"""When we could hear: what silence is measured against, besides the sensors themselves.

Silence goes by arrival, and time in which nothing could arrive is nobody's. Everybody is unheard
while a commit stalls or the database does not answer; one tenant, while its actor does not serve or
is full, or while it is suspended. Such time is left out of a silence and does not end it, or
whoever makes us stall often enough would keep every alert of silence from opening. In memory only:
a process that begins has heard nobody before `since`.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import attrs
import numpy as np
import trio

from atalaia.engine.clock import WallClock
from atalaia.model.ids import Micros, TenantNo
from atalaia.rules.absence import Span, passed_over

DEAF_S = 2.0
"""A commit or a recovery may take so long, as it does under load; what is beyond is deafness. So
silence goes on even where one slow commit follows the other."""

MOST_SPANS = 256
MOST_REFUSED = 10_000


@attrs.define(eq=False)
class Deafness:
    """Spans of time in which nothing could be heard: those that are over, and one that lasts."""

    _clock: WallClock
    _spans: list[Span] = attrs.field(factory=list)
    _begins: float | None = None

    @property
    def lasts(self) -> bool:
        return self._begins is not None and trio.current_time() > self._begins

    def begin(self, at: float) -> None:
        """From this moment of trio's clock on, unless it ends before."""
        self._begins = at if self._begins is None else min(at, self._begins)

    def end(self) -> None:
        if self.lasts:
            self._spans.append(self._now())
        self._begins = None
        if len(self._spans) > MOST_SPANS:
            # The oldest two as one that is as long and ends as late.
            (began, ended), (next_began, next_ended), *_ = self._spans
            self._spans[:2] = [(Micros(next_began - (ended - began)), next_ended)]

    def spans(self) -> Sequence[Span]:
        """Up to now."""
        return [*self._spans, self._now()] if self.lasts else self._spans

    def _now(self) -> Span:
        """How long it has lasted is not asked of the wall clock, which may have been set."""
        now = self._clock.now_us()
        lasted_s = trio.current_time() - (self._begins or 0.0)
        return Micros(now - round(1e6 * lasted_s)), now


@attrs.define(eq=False)
class Hearing:
    """How a tenant is heard. own: when nobody of it could be, for reasons of its own; suspended:
    because nothing was taken of it.
    """

    _listening: "Listening"
    own: Deafness
    suspended: Deafness
    since: Micros
    refused: dict[str, Micros] = attrs.field(factory=dict)
    """When readings of a sensor were refused last: it is not silent."""

    @property
    def deaf(self) -> bool:
        return any(one.lasts for one in self._all)

    @property
    def _all(self) -> Sequence[Deafness]:
        return self.own, self.suspended, self._listening.stalls, self._listening.outage

    def refuse(self, sensors: Iterable[str]) -> None:
        """A batch with readings of these was refused just now."""
        now = self._listening.clock.now_us()
        self.refused |= dict.fromkeys(sensors, now)
        if len(self.refused) > MOST_REFUSED:
            self.since = now
            self.refused.clear()

    def spans(self) -> list[Span]:
        """When nobody of the tenant could be heard, up to now: in order, and apart."""
        found: list[Span] = []
        for began, ended in sorted(chain.from_iterable(one.spans() for one in self._all)):
            if found and began <= found[-1][1]:
                found[-1] = (found[-1][0], max(ended, found[-1][1]))
            else:
                found.append((began, ended))
        return found

    def silent_since(self, sensor: str, heard: Micros) -> Micros:
        """From when the silence of a sensor counts that was heard of then."""
        begins = max(heard, self.since, self.refused.get(sensor, heard))
        (since,) = passed_over(np.array([begins]), self.spans())
        return Micros(int(since))


@attrs.define(eq=False)
class Listening:
    """since: nobody's silence began before it. stalls: of commits."""

    clock: WallClock
    since: Micros
    stalls: Deafness = attrs.field(init=False)
    outage: Deafness = attrs.field(init=False)
    _answered: float = attrs.field(factory=trio.current_time)
    _tenants: dict[TenantNo, Hearing] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.stalls, self.outage = Deafness(self.clock), Deafness(self.clock)

    def begin_commit(self) -> None:
        self.stalls.begin(trio.current_time() + DEAF_S)

    def end_commit(self) -> None:
        """Done or failed."""
        self.stalls.end()

    def answered(self) -> None:
        """The database did."""
        self.outage.end()
        self._answered = trio.current_time()

    def unanswered(self) -> None:
        """It did not: for how long it has not, nobody knows, and senders may have been turned away
        before they came to the engine.
        """
        self.outage.begin(self._answered)

    def of(self, tenant_no: TenantNo) -> Hearing:
        """The tenant's, which outlives its actors, until it is forgotten."""
        if tenant_no not in self._tenants:
            self._tenants[tenant_no] = self._new()
        return self._tenants[tenant_no]

    def look(self, tenant_no: TenantNo) -> Hearing:
        """The tenant's, to be asked only."""
        return self._tenants.get(tenant_no) or self._new()

    def forget(self, tenant_no: TenantNo) -> None:
        """It rests: nobody of it is waited for."""
        self._tenants.pop(tenant_no, None)

    def _new(self) -> Hearing:
        return Hearing(self, Deafness(self.clock), Deafness(self.clock), self.since)
