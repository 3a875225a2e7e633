"""The engine's bounds, each with its unit and reason."""

import attrs

from atalaia.model.ids import MINUTE_US, Micros


@attrs.frozen
class EngineLimits:
    """Defaults fit one small machine; see bench/README.md for the measurements behind them."""

    inbox_rows: int = 200_000  # per tenant: some seconds of work, then 429
    total_rows: int = 1_000_000  # all inboxes: about 50 MB of columns, then 503
    inbox_edits: int = 32  # per tenant, of rules, tags, lateness: each rebuilds it; then 429
    group_rows: int = 20_000  # beyond it a COPY gains little and everybody waits longer
    item_steps: int = 256  # of alerts in one item: some 15 ms of a commit, which others wait for
    unsettled_steps: int = 2_048  # per tenant, before it judges on: about 10 MB of evidence
    group_items: int = 500  # batches of one row: the state rows cost more than the readings
    turn_rows: int = 5_000  # a tenant's turn in a group while others wait: some 13 ms of a commit
    recoveries: int = (
        4  # at once: a crowd that returns waits here, and leaves connections to others
    )
    idle_s: float = 300.0  # then an actor writes a snapshot and leaves memory
    snapshot_every: int = 256  # deltas that recovery may have to read
    commit_retry_s: float = 8.0  # below the faces' answer deadline of 10 s
    drain_s: float = 20.0  # at shutdown, for inboxes and the last commit
    future_skew_us: int = 5 * MINUTE_US  # devices' clocks run ahead by seconds, not hours
    keep_groups_us: int = 15 * MINUTE_US  # far beyond any retry of a group
    crashes: int = 5  # within crash_window_s, then quarantine
    crash_window_s: float = 60.0
    quarantine_s: float = 300.0
    tenant_bytes: int = 256 << 20  # of windows and states; at 1 Hz 15 million readings of windows
    retention_us: int | None = None  # None keeps everything

    def oldest(self, now: Micros) -> int:
        """Event times before this are refused as too old."""
        return -(1 << 62) if self.retention_us is None else now - self.retention_us
