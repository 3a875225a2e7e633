"""How fast somebody may try to sign in. In memory: after a restart everybody begins anew.

Failures count for an account from a network, for the network, and for the account. Beyond a few,
the next try must wait, twice as long each time up to a minute. The last two hold back networks from
which the account never signed in: so who guesses cannot keep its owner out where the owner is used
to be; and who comes from elsewhere may choose a new password by mail, which counts as having signed
in. Nothing here depends on whether the account exists.
"""

import hashlib
import ipaddress
import math

import attrs
import trio

from atalaia.model.errors import Throttled

FREE_TRIES = 5  # of an account from a network
FREE_NETWORK = 50  # an office behind one address
FREE_ACCOUNT = 100
LONGEST_S = 60.0
FORGET_S = 900.0  # after so long without a failure
MOST_KEPT = 50_000

Key = tuple[str, ...]


@attrs.define(eq=False)
class _Failures:
    count: int = 0
    last: float = 0.0

    def wait_s(self, free: int, now: float) -> float:
        if self.count < free or now - self.last > FORGET_S:
            return 0.0
        pause = min(LONGEST_S, 2.0 ** min(self.count - free, 10))
        return self.last + pause - now


@attrs.define(eq=False)
class Throttle:
    """Asked before a password is looked at, and told of how it went."""

    _failures: dict[Key, _Failures] = attrs.field(factory=dict)
    _used: dict[Key, None] = attrs.field(factory=dict)
    """Accounts with the networks from which they signed in, the latest last."""

    def check(self, email: str, address: str) -> None:
        """Raises Throttled. Counts the try as a failure until `passed` takes it back: else many at
        once would pass together.
        """
        now, keys = trio.current_time(), self._counted(email, address)
        waits = [self._failures[key].wait_s(n, now) for key, n in keys if key in self._failures]
        if (wait := max(waits, default=0.0)) > 0:
            raise Throttled(retry_after_s=math.ceil(wait))
        for key, _ in keys:
            self._count(key, now)

    def _counted(self, email: str, address: str) -> list[tuple[Key, int]]:
        """What a try counts for, and how many of each are free."""
        network, account = network_of(address), _account(email)
        keys: list[tuple[Key, int]] = [((account, network), FREE_TRIES)]
        if (account, network) not in self._used:
            keys += [((network,), FREE_NETWORK), ((account,), FREE_ACCOUNT)]
        return keys

    def not_tried(self, email: str, address: str) -> None:
        """We could not look whether the password was right: it does not count."""
        for key, _ in self._counted(email, address):
            if (found := self._failures.get(key)) is not None:
                found.count -= 1

    def passed(self, email: str, address: str) -> None:
        """The password was right, or was chosen anew by a link from a mail."""
        network, account = network_of(address), _account(email)
        known = (account, network)
        if known not in self._used:
            for key in ((network,), (account,)):
                if (found := self._failures.get(key)) is not None:
                    found.count -= 1
        self._failures.pop(known, None)
        self._used.pop(known, None)
        self._used[known] = None
        if len(self._used) > MOST_KEPT:
            del self._used[next(iter(self._used))]

    def _count(self, key: Key, now: float) -> None:
        found = self._failures.pop(key, None)
        if found is None or now - found.last > FORGET_S:
            found = _Failures()
        found.count += 1
        found.last = now
        self._failures[key] = found
        if len(self._failures) > MOST_KEPT:
            del self._failures[next(iter(self._failures))]  # the one that failed longest ago


def network_of(address: str) -> str:
    """The address, or the /64 that one subscriber has of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _account(email: str) -> str:
    """As long for every address, however long that is."""
    return "account:" + hashlib.sha256(email.encode()).hexdigest()
