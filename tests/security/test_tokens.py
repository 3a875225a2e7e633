"""Access tokens: what we signed and holds is read, everything else is nobody's."""

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import OctKey

from atalaia.security.tokens import (
    KNOWN_SECRETS,
    LEEWAY_S,
    AccessClaims,
    TokenKeys,
    is_weak,
    new_refresh,
)

OURS, OLD, FOREIGN = (bytes([n]) * 8 + b"of thirty-two bytes and more" for n in (1, 2, 3))
NOW_S = 1_800_000_000
CLAIMS = AccessClaims(UUID(int=1), UUID(int=2), 3)
KEYS = TokenKeys([OURS])


def part_of(token: str, number: int) -> dict[str, Any]:
    part = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))  # type: ignore[no-any-return]


def header_of(token: str) -> dict[str, Any]:
    return part_of(token, 0)


HEADER = header_of(KEYS.sign(CLAIMS, now_s=NOW_S, lives_s=900))
PAYLOAD = {
    "iss": "atalaia", "aud": "atalaia", "sub": str(CLAIMS.user_id), "sid": str(CLAIMS.session_id),
    "ver": 3, "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 900,
}  # fmt: skip


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forged(
    header: dict[str, Any], payload: dict[str, Any], secret: bytes = OURS, alg: str | None = None
) -> str:
    """Signed by whoever has the secret, with whatever header."""
    signing = f"{b64(header)}.{b64(payload)}"
    algorithm = jws.JWSRegistry.algorithms[alg or "HS256"]
    return f"{signing}.{b64(algorithm.sign(signing.encode(), OctKey.import_key(secret)))}"


def read(token: str, now_s: int = NOW_S) -> AccessClaims | None:
    return KEYS.read(token, now_s=now_s)


def test_a_token_of_ours_is_read() -> None:
    """As it was signed; and the forging below makes the same one, or its tests said nothing."""
    token = KEYS.sign(CLAIMS, now_s=NOW_S, lives_s=900)
    assert read(token) == CLAIMS
    assert forged(HEADER, PAYLOAD) == token


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "none"},
        HEADER | {"alg": "None"},
        HEADER | {"alg": "HS512"},
        HEADER | {"alg": "RS256"},
        HEADER | {"kid": "nobody"},
        HEADER | {"kid": "../../../dev/null"},
        HEADER | {"kid": "' OR 1=1 --"},
        HEADER | {"typ": "JWT"},
        HEADER | {"typ": "refresh"},
        HEADER | {"crit": ["exp"]},
        HEADER | {"crit": ["x"], "x": 1},
        HEADER | {"jku": "https://evil.example/keys"},
        HEADER | {"x5u": "https://evil.example/cert"},
        HEADER | {"jwk": {"kty": "oct", "k": "AAAA"}},
        HEADER | {"b64": False},
        {name: value for name, value in HEADER.items() if name != "kid"},
        {name: value for name, value in HEADER.items() if name != "typ"},
        {},
    ],
    ids=json.dumps,
)
def test_another_header_is_never_acted_on(header: dict[str, Any]) -> None:
    """Even under our own secret: only headers that we write are read."""
    assert read(forged(header, PAYLOAD)) is None


def test_a_token_without_signature_is_nobodys() -> None:
    """`alg: none` with nothing behind the last dot, and our own header with nothing there."""
    for header in (HEADER | {"alg": "none"}, HEADER):
        assert read(f"{b64(header)}.{b64(PAYLOAD)}.") is None
        assert read(f"{b64(header)}.{b64(PAYLOAD)}") is None


def test_another_algorithm_under_our_header_is_nobodys() -> None:
    """The algorithm is the key's, whatever made the signature."""
    assert read(forged(HEADER, PAYLOAD, alg="HS512")) is None


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in PAYLOAD.items() if key != name}


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD | {"exp": NOW_S - LEEWAY_S - 1},
        PAYLOAD | {"nbf": NOW_S + LEEWAY_S + 1},
        PAYLOAD | {"exp": "tomorrow"},
        PAYLOAD | {"exp": None},
        PAYLOAD | {"iss": "evil"},
        PAYLOAD | {"aud": "another service"},
        PAYLOAD | {"sub": "somebody"},
        PAYLOAD | {"sid": 7},
        PAYLOAD | {"ver": "3"},
        *(without(name) for name in ("iss", "aud", "sub", "sid", "ver", "exp", "nbf")),
        {},
    ],
    ids=json.dumps,
)
def test_claims_that_do_not_hold_are_nobodys(payload: dict[str, Any]) -> None:
    """Expired, not yet valid, of another issuer or audience, or with something missing."""
    assert read(forged(HEADER, payload)) is None


def test_a_token_ends() -> None:
    """After its time, and some seconds for clocks that differ."""
    token = KEYS.sign(CLAIMS, now_s=NOW_S, lives_s=900)
    assert read(token, NOW_S + 900) == CLAIMS
    assert read(token, NOW_S + 900 + LEEWAY_S + 1) is None
    assert read(token, NOW_S - LEEWAY_S - 1) is None


def test_another_secret_is_nobodys() -> None:
    """With our header, and with its own."""
    assert read(forged(HEADER, PAYLOAD, FOREIGN)) is None
    assert read(TokenKeys([FOREIGN]).sign(CLAIMS, now_s=NOW_S, lives_s=900)) is None
    other = jwt.encode(HEADER, PAYLOAD, OctKey.import_key(FOREIGN))
    assert read(other) is None


def test_a_rotation_signs_nobody_out() -> None:
    """The new secret signs, the old one is accepted until it is left out."""
    before = TokenKeys([OLD]).sign(CLAIMS, now_s=NOW_S, lives_s=900)
    during = TokenKeys([OURS, OLD])
    assert during.read(before, now_s=NOW_S) == CLAIMS
    after = during.sign(CLAIMS, now_s=NOW_S, lives_s=900)
    assert (read(after), read(before)) == (CLAIMS, None)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_changed_token_is_nobodys(part: int) -> None:
    """Any character of any part; but for the bits that base64 leaves over at its end."""
    token = KEYS.sign(CLAIMS, now_s=NOW_S, lives_s=900)
    parts = token.split(".")
    for at in range(len(parts[part]) - 1):
        changed = list(parts)
        other = "A" if parts[part][at] != "A" else "B"
        changed[part] = parts[part][:at] + other + parts[part][at + 1 :]
        assert read(".".join(changed)) is None


@given(st.text() | st.from_regex(r"[\w.-]{0,200}"))
def test_anything_else_is_nobodys(text: str) -> None:
    """And raises nothing, also behind our own header."""
    own = KEYS.sign(CLAIMS, now_s=NOW_S, lives_s=900).partition(".")[0]
    assert read(text) is None
    assert read(f"{own}.{text}") is None


def test_what_follows_a_refresh_token_is_one_and_unpredictable() -> None:
    """The same when asked twice; another one for another token or another secret."""
    token = new_refresh()
    follow: Callable[[str], str] = KEYS.next_refresh
    assert follow(token) == follow(token)
    found = {token, follow(token), follow(new_refresh()), TokenKeys([OLD]).next_refresh(token)}
    assert len(found) == 4
    assert {len(one) for one in found} == {len("atr_") + 64}


def test_weak_secrets_are_known() -> None:
    """Too short, from an example, or of one character."""
    assert all(map(is_weak, [b"", b"short", b"a" * 64, b"0123456789abcdef0123456789abcde"]))
    assert all(map(is_weak, KNOWN_SECRETS))
    assert not is_weak(b"0123456789abcdef0123456789abcdef")
