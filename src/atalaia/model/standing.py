"""Where somebody stands with a bound on how much may come."""

from typing import Literal, NamedTuple

BucketName = Literal[
    "ip", "key", "account", "tenant", "readings", "bytes", "key-readings", "key-bytes"
]
"""The first four count requests; of readings and bytes first the tenant's, then the key's own."""


class Standing(NamedTuple):
    """Of one bucket: `limit` in `window_s`, `left` of them now, full again in `full_s`.

    wait_s: until the next one may come; 0: at once. Made for every batch, and a tuple is made in a
    third of the time.
    """

    bucket: BucketName
    limit: int
    window_s: float
    left: int
    full_s: float
    wait_s: float = 0.0
