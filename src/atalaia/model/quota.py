"""How much a tenant may send, and one of its keys."""

import attrs

MAX_RULES = 1_000  # of any tenant, whatever its quota; each costs memory per matching sensor


@attrs.frozen
class Quota:
    """What is written beside a tenant and the key in use; None: as the process says.

    key_id: whose key_readings_per_s and key_bytes_per_s these are; empty without a key.
    waiting_bytes: of bodies that are not answered. suspended: nothing is taken of the
    tenant; who comes with a credential is told so before.
    """

    readings_per_s: int | None = None
    bytes_per_s: int | None = None
    max_rules: int | None = None
    key_readings_per_s: int | None = None
    key_id: str = ""
    suspended: bool = False
    key_bytes_per_s: int | None = None
    waiting_bytes: int | None = None


NO_QUOTA = Quota()
"""Nothing is written: the process decides."""
