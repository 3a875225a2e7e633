"""How many requests somebody may make: an address without a credential, a key, a person, a tenant.

Buckets that hold a window's worth and fill evenly (GCRA: all there is of one is when it is full
again). In memory, each process for itself. Those of one kind never crowd out those of another, and
what is full is forgotten.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import attrs

from atalaia.config.settings import RateSettings
from atalaia.http.throttle import network_of
from atalaia.model.errors import TooManyRequests
from atalaia.model.principal import Principal
from atalaia.model.standing import BucketName, Standing

LOOKUPS_PER_S = 100  # of keys that are not kept, of a network from which too many failed
MOST_KEPT = 50_000  # of each kind; 10 MB
ROUNDING_S = 1e-6  # so that whoever waits just as long as told is let in

_WHOSE = {
    "ip": "From this network come requests without a valid credential",
    "key": "This key makes requests",
    "account": "You make requests",
    "tenant": "This tenant makes requests",
}

Fields = list[tuple[bytes, bytes]]


@attrs.define(eq=False)
class Rate:
    """The buckets of one kind, by whose they are."""

    bucket: BucketName
    limit: int
    window_s: float
    full_at: dict[str, float] = attrs.field(factory=dict)
    """When each is full, the one that was asked latest last."""

    def look(self, whose: str, now: float) -> Standing:
        """As it would be after one more; it has to wait where there is no room for it."""
        step_s = self.window_s / self.limit
        after_s = max(self.full_at.get(whose, now), now) + step_s - now
        wait_s = after_s - self.window_s
        if wait_s > ROUNDING_S:
            return Standing(self.bucket, self.limit, self.window_s, 0, after_s - step_s, wait_s)
        left = math.floor((self.window_s - after_s) / step_s + ROUNDING_S)
        return Standing(self.bucket, self.limit, self.window_s, max(0, left), after_s)

    def keep(self, whose: str, standing: Standing, now: float) -> None:
        """What `look` said. Who has to wait stays as it is, and is not forgotten while it asks."""
        self.full_at.pop(whose, None)
        self.full_at[whose] = now + standing.full_s
        while len(self.full_at) > 1:
            oldest = next(iter(self.full_at))
            if self.full_at[oldest] > now and len(self.full_at) <= MOST_KEPT:
                return
            del self.full_at[oldest]


@attrs.define(eq=False)
class Rates:
    """All of them. Credentials that fail do not use up what a network may ask without any: one
    gateway with a wrong key must not keep an office from signing in. Those who look after all
    tenants are not held to a tenant's, which may be what they have come to deal with.
    """

    settings: RateSettings
    _open: Rate = attrs.field(init=False)
    _failed: Rate = attrs.field(init=False)
    _looked: Rate = attrs.field(init=False)
    _key: Rate = attrs.field(init=False)
    _account: Rate = attrs.field(init=False)
    _tenant: Rate = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        ours = self.settings
        self._open = Rate("ip", ours.per_address, ours.window_s)
        self._failed = Rate("ip", ours.per_address, ours.window_s)
        self._looked = Rate("ip", LOOKUPS_PER_S, 1.0)
        self._key = Rate("key", ours.per_key, ours.window_s)
        self._account = Rate("account", ours.per_account, ours.window_s)
        self._tenant = Rate("tenant", ours.per_tenant, ours.window_s)

    def stranger(self, address: str, now: float, *, failed: bool) -> Sequence[Standing]:
        """Count a request of somebody who is not known; failed: though there was a credential. One
        that has to wait is not counted.
        """
        return _count([(self._failed if failed else self._open, network_of(address))], now)

    def lookup(self, address: str, now: float) -> Sequence[Standing]:
        """Count a credential that is looked up, where those of its network fail too often already:
        guesses must not cost a query each, and an honest neighbour's key must still be found.

        What has to be waited for, if there is anything.
        """
        network = network_of(address)
        failing = self._failed.look(network, now)
        if failing.wait_s and _count([(self._looked, network)], now)[0].wait_s:
            return [failing]
        return ()

    def known(self, principal: Principal, now: float) -> Sequence[Standing]:
        """Count a request of somebody who is."""
        person = principal.person
        if person is None:
            asked = [(self._key, principal.key_id)]
        else:
            asked = [(self._account, str(person.user_id))]
        if person is None or not person.platform:
            asked.append((self._tenant, str(principal.tenant_no)))
        return _count(asked, now)


def _count(asked: Sequence[tuple[Rate, str]], now: float) -> Sequence[Standing]:
    found = [rate.look(whose, now) for rate, whose in asked]
    refused = any(standing.wait_s for standing in found)
    for (rate, whose), standing in zip(asked, found, strict=True):
        if standing.wait_s or not refused:
            rate.keep(whose, standing, now)
    return found


def check(standings: Sequence[Standing]) -> None:
    """Raises TooManyRequests for the one that is longest to wait for."""
    worst = max(standings, key=lambda standing: standing.wait_s)
    if worst.wait_s:
        raise TooManyRequests(
            f"{_WHOSE[worst.bucket]} faster than {worst.limit:,} in {worst.window_s:g} s; go on "
            "after the delay.",
            retry_after_s=_seconds(worst.wait_s),
            bucket=worst.bucket,
        )


def fields(standings: Sequence[Standing]) -> Fields:
    """As an answer says it: RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers),
    and X-RateLimit-* of the one with the smallest part left.
    """
    least = min(standings, key=lambda one: one.left / one.limit)
    policy = ", ".join([_policy(one.bucket, one.limit, one.window_s) for one in standings])
    now = ", ".join([f'"{one.bucket}";r={one.left};t={_seconds(one.full_s)}' for one in standings])
    return [
        (b"ratelimit-policy", policy.encode()),
        (b"ratelimit", now.encode()),
        (b"x-ratelimit-limit", b"%d" % least.limit),
        (b"x-ratelimit-remaining", b"%d" % least.left),
        (b"x-ratelimit-reset", b"%d" % _seconds(least.full_s)),
    ]


@lru_cache(maxsize=1_024)
def _policy(bucket: BucketName, limit: int, window_s: float) -> str:
    return f'"{bucket}";q={limit};w={window_s:g}'


def _seconds(wait_s: float) -> int:
    return max(0, math.ceil(wait_s))
