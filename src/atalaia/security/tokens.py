"""Access tokens, and the secrets of sessions and links. Knows no clock: `now_s` comes in.

An access token is a JWT (RFC 9068's `at+jwt`, HS256). Its header is looked up and never read: it
must be, byte for byte, one that this service writes. So no algorithm, key id, `crit` or `jku` of
somebody else's choosing is ever acted on (RFC 8725, 3.1 to 3.10).

A refresh token is 256 random bits at first, and each after it a function of the one before: who
asks twice, because an answer was lost, gets the same one.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from uuid import UUID

import attrs
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

ISSUER = AUDIENCE = "atalaia"
ALGORITHM = "HS256"
LEEWAY_S = 5  # of clocks of several processes
MIN_SECRET_BYTES = 32
MAX_TOKEN_CHARS = 2_048
REFRESH_PREFIX, TICKET_PREFIX = "atr_", "att_"
INVITATION_LIVES_S, RESET_LIVES_S = 7 * 86_400, 3_600
TICKET_LIVES_S = 30  # from when a page asks for one until it connects

_TICKET = re.compile(f"{TICKET_PREFIX}[0-9a-f]{{64}}")

KNOWN_SECRETS = frozenset({b"chave-super-secreta-de-producao-256-bits", b"0" * 32, b"x" * 32})
"""Of examples: long enough, and everybody has them."""


@attrs.frozen
class AccessClaims:
    """Whose session a token speaks for. version: of the user's credentials when it was made."""

    user_id: UUID
    session_id: UUID
    version: int


@attrs.frozen
class _Key:
    kid: str
    jwk: OctKey = attrs.field(repr=False)

    @property
    def header(self) -> dict[str, str]:
        return {"alg": ALGORITHM, "kid": self.kid, "typ": "at+jwt"}


@attrs.define(eq=False)
class TokenKeys:
    """secrets: the first signs, all are accepted, so that changing it signs nobody out."""

    secrets: Sequence[bytes] = attrs.field(repr=False)
    _by_header: dict[str, _Key] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        keys = [_key(secret) for secret in self.secrets]
        self._by_header = {
            jwt.encode(key.header, {}, key.jwk, [ALGORITHM]).partition(".")[0]: key for key in keys
        }

    @property
    def ids(self) -> frozenset[str]:
        """Of the secrets, as they stand in the headers of tokens."""
        return frozenset(key.kid for key in self._by_header.values())

    def sign(self, claims: AccessClaims, *, now_s: int, lives_s: int) -> str:
        key = next(iter(self._by_header.values()))
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(claims.user_id),
            "sid": str(claims.session_id),
            "ver": claims.version,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + lives_s,
        }
        return jwt.encode(key.header, payload, key.jwk, [ALGORITHM])

    def read(self, token: str, *, now_s: int, begun: bool = False) -> AccessClaims | None:
        """None for whatever is not a token of ours that holds now. begun: or may have held, when a
        request was let in with it that goes on.
        """
        key = self._by_header.get(token.partition(".")[0])
        if key is None or len(token) > MAX_TOKEN_CHARS:
            return None
        must: jwt.ClaimsOption = {"essential": True}
        registry = jwt.JWTClaimsRegistry(
            now=now_s,
            leeway=now_s if begun else LEEWAY_S,
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub=must,
            sid=must,
            exp=must,
            nbf=must,
        )
        try:
            claims = jwt.decode(token, key.jwk, [ALGORITHM]).claims
            registry.validate(claims)
            version = claims["ver"]
            if not isinstance(version, int):
                return None
            return AccessClaims(UUID(claims["sub"]), UUID(claims["sid"]), version)
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def next_refresh(self, token: str) -> str:
        """The one refresh token that may follow this one."""
        mac = hmac.digest(self.secrets[0], b"refresh:" + token.encode(), "sha256")
        return REFRESH_PREFIX + mac.hex()


def _key(secret: bytes) -> _Key:
    """The id says nothing of the secret, and is the same in every process that has it."""
    kid = hashlib.sha256(b"kid:" + secret).hexdigest()[:16]
    return _Key(kid, OctKey.import_key(secret))


def is_weak(secret: bytes) -> bool:
    """Too short, in an example, or with hardly any variety."""
    return len(secret) < MIN_SECRET_BYTES or secret in KNOWN_SECRETS or len(set(secret)) < 8


def new_refresh() -> str:
    return REFRESH_PREFIX + secrets.token_hex(32)


def new_link() -> str:
    """What a link holds that lets somebody choose a password: 256 random bits."""
    return secrets.token_urlsafe(32)


def new_ticket() -> str:
    """What stands in an address once, where a browser can send no header: 256 random bits."""
    return TICKET_PREFIX + secrets.token_hex(32)


def is_ticket(text: str) -> bool:
    """Whether it has a ticket's form, and is worth a look."""
    return _TICKET.fullmatch(text) is not None
