"""Requests that say by a key that they may be sent again, and are to be carried out once."""

from uuid import UUID

import attrs


@attrs.frozen
class Claim:
    """Whoever holds it carries the request out, and nobody else meanwhile.

    key_hash: of the key and whose it is. fingerprint: of the whole request. claim: of this try.
    """

    key_hash: bytes
    fingerprint: bytes
    claim: UUID


@attrs.frozen
class Claimed:
    """What there is under a key. fingerprint: of its request. answer: sealed; None: not yet.
    left_s: how long its claim still keeps others out.
    """

    fingerprint: bytes
    answer: bytes | None
    left_s: int
