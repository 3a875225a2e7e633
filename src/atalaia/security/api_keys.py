"""API keys: `atl_<id>_<secret>`. The id is looked up, the secret is 256 random bits.

A fast hash is right for a random secret: there is nothing to guess. Only the hash is stored.
"""

import hashlib
import hmac
import secrets

import attrs

PREFIX = "atl_"


@attrs.frozen
class NewKey:
    """A key at the only moment its text exists."""

    key_id: str
    text: str
    hash: bytes


@attrs.frozen
class PresentedKey:
    """A key as a client sends it."""

    key_id: str
    secret: str = attrs.field(repr=False)

    def matches(self, stored_hash: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(hash_secret(self.secret), stored_hash)


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def new_key() -> NewKey:
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return NewKey(key_id, f"{PREFIX}{key_id}_{secret}", hash_secret(secret))


def parse_key(text: str) -> PresentedKey | None:
    """None for anything that is not shaped like a key."""
    if not text.startswith(PREFIX):
        return None
    key_id, _, secret = text[len(PREFIX) :].partition("_")
    if len(key_id) != 16 or len(secret) != 64 or not (key_id + secret).isalnum():
        return None
    return PresentedKey(key_id, secret)
