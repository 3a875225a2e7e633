"""What a call of a port raises when it did not do what it says."""


class StoreUnavailable(Exception):
    """The database cannot be reached or answers too late; the outcome may be unknown."""


class StoreSlow(StoreUnavailable):
    """The statement took longer than it may, and was given up."""


class StoreRefused(Exception):
    """The database refuses the data itself: trying again would fail again."""


class TenantGone(StoreRefused):
    """The tenant is being erased, or was: nothing of it is loaded or stored any more."""


class Fenced(Exception):
    """Another process has taken this shard over; nothing more may be committed here."""
