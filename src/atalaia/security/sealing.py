"""Answers that wait in the database to be given again: nobody reads them there.

They may hold what is shown once, such as a key. Encrypted and authenticated (JWE, `dir` with
A256GCM) under a key made of the token secret.
"""

import hmac
from collections.abc import Sequence

import attrs
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

_HEADER = {"alg": "dir", "enc": "A256GCM"}


@attrs.define(eq=False)
class Seal:
    """secrets: the first seals, all open."""

    secrets: Sequence[bytes] = attrs.field(repr=False)
    _keys: list[OctKey] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._keys = [
            OctKey.import_key(hmac.digest(secret, b"seal", "sha256")) for secret in self.secrets
        ]

    def close(self, data: bytes) -> bytes:
        return jwe.encrypt_compact(_HEADER, data, self._keys[0]).encode()

    def open(self, sealed: bytes) -> bytes | None:
        """None for what none of the secrets has sealed."""
        for key in self._keys:
            try:
                return jwe.decrypt_compact(sealed, key).plaintext
            except (JoseError, ValueError):
                continue
        return None
