"""Signing in, staying signed in, and whom an access token speaks for.

What the store says of a session is kept for a moment: another password, another role, a disabled
user, a suspended tenant take effect within KEEP_S.
"""

from uuid import UUID, uuid4

import attrs
import structlog
import trio

from atalaia.config.settings import JwtSettings
from atalaia.engine.clock import WallClock
from atalaia.http.hashing import Hashing
from atalaia.http.throttle import Throttle
from atalaia.model.errors import Suspended, Unauthenticated, Unavailable
from atalaia.model.people import LoginRecord, NewSession, Rotation, SessionRecord
from atalaia.model.principal import Principal
from atalaia.people import People
from atalaia.ports import StoreUnavailable
from atalaia.security.api_keys import hash_secret
from atalaia.security.passwords import hash_password, needs_rehash, password_matches
from atalaia.security.tokens import AccessClaims, TokenKeys, new_refresh

log = structlog.get_logger()

KEEP_S = 5.0
KEEP_SESSIONS = 20_000
MAX_EMAIL_CHARS = 254
WRONG = "The e-mail address or the password is wrong."
EXPIRED = "The access token does not hold (any more); refresh it, or sign in again."
MOST_NOTED = 1_000


@attrs.frozen
class Tokens:
    """What somebody who signed in carries. *_s: how long each holds."""

    access: str = attrs.field(repr=False)
    access_s: int
    refresh: str = attrs.field(repr=False)
    refresh_s: int


@attrs.define(eq=False)
class Sessions:
    """One per process."""

    people: People
    keys: TokenKeys
    settings: JwtSettings
    clock: WallClock
    hashing: Hashing = attrs.field(factory=Hashing)
    throttle: Throttle = attrs.field(factory=Throttle)
    failures: dict[str, int] = attrs.field(factory=dict)
    """By e-mail address, since they were written down last."""
    _kept: dict[UUID, tuple[float, SessionRecord | None]] = attrs.field(factory=dict)

    async def principal(self, token: str, *, begun: bool = False) -> Principal:
        """begun: for a request that was let in and goes on, as long as the session does, and not
        the token. Raises Unauthenticated, Suspended.
        """
        claims = self.keys.read(token, now_s=self._now_s(), begun=begun)
        if claims is None:
            raise Unauthenticated(EXPIRED)
        record = await self._find(claims.session_id)
        if record is None or (record.person.user_id, record.version) != (
            claims.user_id,
            claims.version,
        ):
            raise Unauthenticated(EXPIRED)
        return _principal(record)

    async def holder(self, session_id: UUID) -> Principal:
        """Whose session it is, of one that was shown before. Raises Unauthenticated, Suspended."""
        record = await self._find(session_id)
        if record is None:
            raise Unauthenticated(EXPIRED)
        return _principal(record)

    async def _find(self, session_id: UUID) -> SessionRecord | None:
        now = trio.current_time()
        kept = self._kept.get(session_id)
        if kept is not None and kept[0] > now:
            return kept[1]
        record = await self.people.find_session(session_id)
        if len(self._kept) >= KEEP_SESSIONS:
            self._kept.clear()
        self._kept[session_id] = now + KEEP_S, record  # only ids that we signed come here
        return record

    def drop_stale(self) -> None:
        """Nothing is kept of a session that nobody uses."""
        now = trio.current_time()
        for session_id in [one for one, (until, _) in self._kept.items() if until <= now]:
            del self._kept[session_id]

    async def sign_in(self, email: str, password: str, address: str) -> Tokens:
        """Raises Throttled, Unavailable, Suspended; Unauthenticated, the same whatever is wrong."""
        email = plain(email)
        login = await self.check_password(email, password, address)
        if login.suspended:
            raise Suspended
        rehashed = None
        if needs_rehash(login.password_hash):
            rehashed = await self.hashing.run(hash_password, password)
        refresh = new_refresh()
        session = NewSession(uuid4(), hash_secret(refresh), self.settings.refresh_s, address)
        if not await self.people.begin_session(login, session, rehashed):
            raise Unauthenticated(WRONG, code="login_refused")
        claims = AccessClaims(login.user_id, session.session_id, login.version)
        return self._tokens(claims, refresh, self.settings.refresh_s)

    async def check_password(self, email: str, password: str, address: str) -> LoginRecord:
        """Raises Throttled, Unavailable, Unauthenticated."""
        self.throttle.check(email, address)
        try:
            login = await self.people.find_login(email) if is_email(email) else None
            stored = None if login is None else login.password_hash
            right = await self.hashing.run(password_matches, password, stored)
        except (Unavailable, StoreUnavailable):
            self.throttle.not_tried(email, address)
            raise
        if login is None or not right:
            if is_email(email) and len(self.failures) < MOST_NOTED:
                self.failures[email] = self.failures.get(email, 0) + 1
            raise Unauthenticated(WRONG, code="login_refused")
        self.throttle.passed(email, address)
        return login

    async def refresh(self, token: str) -> Tokens:
        """Raises Unauthenticated, Suspended."""
        following = self.keys.next_refresh(token)
        rotation = await self.people.rotate(hash_secret(token), hash_secret(following))
        if rotation is None:
            raise Unauthenticated("The refresh token does not hold (any more); sign in again.")
        return self._tokens(_claims(rotation), following, rotation.left_s)

    def _tokens(self, claims: AccessClaims, refresh: str, left_s: int) -> Tokens:
        lives_s = max(1, min(self.settings.access_s, left_s))
        access = self.keys.sign(claims, now_s=self._now_s(), lives_s=lives_s)
        return Tokens(access, lives_s, refresh, left_s)

    def _now_s(self) -> int:
        return self.clock.now_us() // 1_000_000


def _principal(record: SessionRecord) -> Principal:
    if record.suspended:
        raise Suspended
    return Principal(
        record.tenant_no, record.tenant_id, "", frozenset(), record.quota, record.person
    )


def _claims(rotation: Rotation) -> AccessClaims:
    return AccessClaims(rotation.user_id, rotation.session_id, rotation.version)


def plain(email: str) -> str:
    """As it is stored."""
    return email.strip().lower()


def is_email(text: str) -> bool:
    """Whether a mail could go there; what else there is to know only a mail tells."""
    local, at, domain = text.rpartition("@")
    return bool(
        len(text) <= MAX_EMAIL_CHARS
        and text.isprintable()
        and not any(mark in text for mark in ' ,;<>"()[]\\')
        and at
        and local
        and domain.strip(".") == domain
        and domain
        and "@" not in local
    )
