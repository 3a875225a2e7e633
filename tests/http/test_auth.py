"""The cache of keys: short, bounded, and not to be emptied from outside."""

from typing import Any, cast
from uuid import UUID

import attrs
import pytest
import trio

from atalaia.http import auth, sessions
from atalaia.http.auth import BELIEVE_S, KEEP_S, Authenticator, require
from atalaia.model.errors import Unauthenticated
from atalaia.model.ids import TenantNo
from atalaia.model.views import KeyRecord
from atalaia.ports import Queries, StoreSlow, StoreUnavailable
from atalaia.security.api_keys import NewKey, new_key


@attrs.define(eq=False)
class Keys:
    """The one question that is asked of `Queries`, counted."""

    known: dict[str, KeyRecord] = attrs.field(factory=dict)
    asked: int = 0
    away: type[StoreUnavailable] | None = None
    left_s: float | None = None

    def add(self) -> NewKey:
        key = new_key()
        self.known[key.key_id] = KeyRecord(
            TenantNo(1), UUID(int=1), key.hash, frozenset({"ingest"}), left_s=self.left_s
        )
        return key

    async def find_key(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        if self.away is not None:
            raise self.away
        return self.known.get(key_id)


def scope(key: NewKey) -> dict[str, Any]:
    headers = [(b"x-api-key", key.text.encode())]
    return {"type": "http", "method": "GET", "path": "/", "headers": headers}


async def test_guesses_never_crowd_out_a_key_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, the known key costs one query."""
    monkeypatch.setattr(auth, "KEEP_KEYS", 3)
    keys = Keys()
    authenticator = Authenticator(cast("Queries", keys))
    mine = keys.add()
    for _ in range(10):
        await authenticator.principal(scope(mine))
        with pytest.raises(Unauthenticated):
            await authenticator.principal(scope(new_key()))
    assert keys.asked == 11


async def test_a_revoked_key_stops_and_a_new_one_starts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Within the time for which answers are kept, and neither costs a query per request."""
    keys = Keys()
    authenticator = Authenticator(cast("Queries", keys))
    key = keys.add()
    await authenticator.principal(scope(key))
    record = keys.known.pop(key.key_id)
    await trio.sleep(KEEP_S)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await authenticator.principal(scope(key))
    keys.known[key.key_id] = record
    await trio.sleep(KEEP_S)
    for _ in range(5):
        await authenticator.principal(scope(key))
    assert keys.asked == 3


async def test_a_good_key_is_believed_while_the_database_is_away(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """For an hour; nobody else's is, nor one that was revoked before."""
    keys = Keys()
    authenticator = Authenticator(cast("Queries", keys))
    key, revoked = keys.add(), keys.add()
    for known in (key, revoked):
        await authenticator.principal(scope(known))
    keys.known.pop(revoked.key_id)
    await trio.sleep(KEEP_S)
    with pytest.raises(Unauthenticated):
        await authenticator.principal(scope(revoked))
    keys.away = StoreUnavailable
    for _ in range(2):
        authenticator.drop_stale()
        assert (await authenticator.principal(scope(key))).key_id == key.key_id
        await trio.sleep(BELIEVE_S - KEEP_S - 1)
        for stranger in (revoked, new_key()):
            with pytest.raises(StoreUnavailable):
                await authenticator.principal(scope(stranger))
        keys.away = None
        await authenticator.principal(scope(key))
        keys.away = StoreUnavailable
    await trio.sleep(KEEP_S + BELIEVE_S)
    with pytest.raises(StoreUnavailable):
        await authenticator.principal(scope(key))
    authenticator.drop_stale()
    assert authenticator._known == {}


async def test_a_key_is_believed_no_longer_than_it_holds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its end was known before the outage; and a slow database is no outage."""
    keys = Keys(left_s=60.0)
    authenticator = Authenticator(cast("Queries", keys))
    key = keys.add()
    await authenticator.principal(scope(key))
    keys.away = StoreUnavailable
    await trio.sleep(59)
    await authenticator.principal(scope(key))
    keys.away = StoreSlow
    with pytest.raises(StoreSlow):
        await authenticator.principal(scope(key))
    keys.away = StoreUnavailable
    await trio.sleep(1)
    with pytest.raises(StoreUnavailable):
        await authenticator.principal(scope(key))


def test_what_is_kept_is_kept_for_less_than_ten_seconds() -> None:
    """So long a revoked key, a role, a suspension may still be what they were."""
    assert max(KEEP_S, sessions.KEEP_S) < 10


def test_nobody_may_do_nothing() -> None:
    """A request that no key was checked for is refused, not an internal error."""
    with pytest.raises(Unauthenticated):
        require(None, "read")
